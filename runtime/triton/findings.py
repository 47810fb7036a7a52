"""What the checks of a repository share: a finding about one file, and a remark that is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from runtime.errors import Problem

PORT = "repository"

# What is wrong and what to do, of a config whose path the caller knows.
Finding = tuple[str, str]
Rule = Callable[[Any], Iterator[Finding]]


def problem(path: Path, wrong: str, todo: str) -> Problem:
    """A finding about a file or folder of the repository."""
    return Problem(PORT, path, wrong, todo)


def at(path: Path, findings: Iterator[Finding]) -> Iterator[Problem]:
    """The findings of a config as problems of its file."""
    for wrong, todo in findings:
        yield problem(path, wrong, todo)
