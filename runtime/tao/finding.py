"""What a check found: an error stops a run before it starts, a warning is only told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runtime.errors import BadInput, Problem


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say; `warning` when TAO may run well all the same."""

    problem: Problem
    warning: bool = False


def error(port: str, value: object, wrong: str, todo: str) -> Finding:
    """A finding that stops a run."""
    return Finding(Problem(port, value, wrong, todo))


def warning(port: str, value: object, wrong: str, todo: str) -> Finding:
    """A finding that is told and no more."""
    return Finding(Problem(port, value, wrong, todo), warning=True)


def raise_errors(findings: Iterable[Finding]) -> None:
    """Raise all errors at once as one `BadInput`; nothing happens when there is none."""
    problems = [f.problem for f in findings if not f.warning]
    if problems:
        raise BadInput(problems)
