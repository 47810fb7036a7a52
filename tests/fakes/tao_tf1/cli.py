"""flags"""

import argparse

TYPES = {"int": int, "float": float}


def add_flags(parser: argparse.ArgumentParser, flags: list) -> None:
    """Give the parser the real script's flags, as recorded in flags.json."""
    for flag in flags:
        told = {key: value for key, value in flag.items() if key != "flags"}
        if "type" in told:
            told["type"] = TYPES[told["type"]]
        parser.add_argument(*flag["flags"], **told)
