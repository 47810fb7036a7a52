"""A module that is only read."""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--data")
print(parser.parse_args())
