"""A script that is only read."""

import typer


def main(data: str, batch_size: int = 8) -> None:
    print(data, batch_size)


if __name__ == "__main__":
    typer.run(main)
