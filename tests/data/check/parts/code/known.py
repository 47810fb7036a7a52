"""Takes more than it declares, so nothing can be said of its arguments."""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--data")
arguments, rest = parser.parse_known_args()
