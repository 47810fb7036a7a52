"""Items that failed while the rest went on: as a file, on the screen, and when they are too many."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.errors import ToolFailed
from runtime.triton.picture_files import write_json

SHOWN = 5


@dataclass(frozen=True)
class Failure:
    """One item that gave nothing, and why, in one line."""

    item: str
    error: str


def judged(port: str, failures: Sequence[Failure], count: int, allowed: float, report: Path) -> None:
    """Write the failures to `report` and the first few to the screen.

    Raises:
        ToolFailed: when their share is more than `allowed`, or all failed.
    """
    write_json(report, [asdict(failure) for failure in failures])
    lines = [f"{port}={failure.item!r}: {failure.error}" for failure in failures[:SHOWN]]
    if len(failures) > SHOWN:
        lines.append(f"and {len(failures) - SHOWN} more")
    if failures and (len(failures) == count or len(failures) > allowed * count):
        limit = "" if len(failures) == count else f", more than allow_failed={allowed:g}"
        raise ToolFailed(f"{len(failures)} of {count} {port} failed{limit}", tail="\n".join(lines))
    for line in lines:
        print(line, file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {count} {port} failed; the rest is written, see {report.name}", file=sys.stderr)
