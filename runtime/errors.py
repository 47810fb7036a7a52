"""What can go wrong, as one line a problem: `<component>: <port>=<value>: <what is wrong>; <what to do>`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime.redact import redacted

TAIL_LINES = 20
SHOWN_CHARS = 1000  # of a value in an error
LINE_CHARS = 200  # of what somebody else's exception says


def summary(error: BaseException) -> str:
    """What an exception says first, without the secrets of addresses; its type where it says nothing."""
    said = redacted(str(error)).strip().splitlines()
    return said[0][:LINE_CHARS] if said else type(error).__name__


@dataclass(frozen=True)
class Spot:
    """Where in a file a problem is (line and column from 1), and the rule of `ngcrun check` that it breaks."""

    place: str
    line: int
    column: int
    rule: str = ""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one port (or with a file, where `port` names the place in it)."""

    port: str
    value: object
    wrong: str
    todo: str
    spot: Spot | None = None

    def line(self, component: str = "") -> str:
        """The problem as one line; control characters in the value are escaped, secrets of addresses hidden."""
        where = f"{component}: " if component else ""
        return f"{where}{self.port}={self.shown()}: {self.wrong}; {self.todo}"

    def shown(self) -> str:
        """The value as it stands in a line."""
        value = repr(redacted(str(self.value)) if isinstance(self.value, Path | str) else self.value)
        if len(value) > SHOWN_CHARS:
            value = f"{value[: SHOWN_CHARS // 2]}... ({len(value)} characters)"
        return value


class NgcrunError(Exception):
    """Root of the errors that are not bugs of ours; each kind has its own exit status."""

    exit_code = 1

    def lines(self, component: str = "") -> list[str]:
        """The text for the screen, one problem a line."""
        return [f"{component}: {self}" if component else str(self)]


class BadInput(NgcrunError):
    """What the caller gave cannot work. Raised with every problem found, before anything costly starts."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(p.line() for p in self.problems))

    @classmethod
    def of(cls, port: str, value: object, wrong: str, todo: str) -> BadInput:
        """A `BadInput` with a single problem."""
        return cls([Problem(port, value, wrong, todo)])

    def lines(self, component: str = "") -> list[str]:  # noqa: D102 - as in the root
        return [p.line(component) for p in self.problems]

    def __reduce__(self) -> tuple[type[BadInput], tuple[list[Problem]]]:
        return type(self), (self.problems,)  # it may be raised in a worker's process


class ToolFailed(NgcrunError):
    """A vendor's program, or the machine below it, failed: says what it said last and where its log is."""

    exit_code = 3

    def __init__(self, what: str, log: Path | None = None, tail: str = "") -> None:
        self.what, self.log, self.tail = what, log, tail
        super().__init__(what)

    def lines(self, component: str = "") -> list[str]:  # noqa: D102 - as in the root
        first = f"{component}: {self.what}" if component else self.what
        if self.log is not None:
            first += f"; log: {self.log}"
        return [first, *(f"  | {line}" for line in self.tail.splitlines()[-TAIL_LINES:])]


class MissingOutput(NgcrunError):
    """A program ended well but a declared output is absent or empty, so it has failed all the same."""

    exit_code = 4


class OutputsElsewhere(NgcrunError):
    """This node of a job on several has done its part, and another one writes the outputs: a good end."""

    exit_code = 0


def nearest(word: str, known: Iterable[str]) -> str:
    """What to do about an unknown `word`: the closest of `known`, and the list of all when it is short."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    listed = f"known: {', '.join(names)}" if 0 < len(names) <= 20 else "see `ngcrun show`"
    return f"did you mean {close[0]!r}? {listed}" if close else (listed if names else "none is known here")
