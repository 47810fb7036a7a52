"""`ngcrun check FILE|FOLDER...`: checks AzureML YAML without an account; needs nothing but PyYAML."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from runtime.check import formats
from runtime.check.rules import RULES
from runtime.check.whole import Report, check


def build_parser() -> argparse.ArgumentParser:
    """The command line of `ngcrun check`."""
    parser = argparse.ArgumentParser("ngcrun check", description="Find what is wrong with AzureML YAML, without Azure.")
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE|FOLDER")
    parser.add_argument("--format", choices=("text", "json", "sarif"), default="text")
    parser.add_argument("--strict", action="store_true", help="warnings count as errors for the exit status")
    parser.add_argument("--notes", action="store_true", help="also show what was not looked into")
    parser.add_argument(
        "--map", type=Path, metavar="FILE", help="YAML: reference to a registry or workspace: local file"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the report there; the screen gets the summary"
    )
    parser.add_argument("--rules", action="store_true", help="list the rules")
    return parser


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status: 0, or 2 when there are errors (with --strict, warnings)."""
    started = time.perf_counter()
    parser = build_parser()
    arguments = parser.parse_args(list(words))
    if arguments.rules:
        width = max(map(len, RULES))
        print("\n".join(f"{r.id:<{width}}  {r.severity:<7}  {r.looks_for}" for r in RULES.values()))
        return 0
    if not arguments.paths:
        parser.error("name a FILE or a FOLDER")
    report = check(arguments.paths, arguments.map)
    seconds = time.perf_counter() - started
    _write(report, arguments, seconds)
    return 2 if report.count("error") or (arguments.strict and report.count("warning")) else 0


def _write(report: Report, arguments: argparse.Namespace, seconds: float) -> None:
    made = {
        "text": lambda: formats.text(report, seconds, notes=arguments.notes),
        "json": lambda: formats.as_json(report, seconds),
        "sarif": lambda: formats.sarif(report),
    }[arguments.format]()
    if arguments.output is None:
        print(made)
        return
    arguments.output.write_text(made + "\n", encoding="utf-8")
    print(formats.summary(report, seconds, notes=True), file=sys.stderr)
