"""A script that is only read."""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--model", "-m")
    parser.add_argument("--fast", action="store_true")
    print(parser.parse_args())


if __name__ == "__main__":
    main()
