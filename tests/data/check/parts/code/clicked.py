"""A script that is only read."""

import click


@click.command()
@click.option("--data", required=True)
@click.option("--fast/--slow", default=False)
def main(data: str, fast: bool) -> None:
    print(data, fast)


if __name__ == "__main__":
    main()
