"""`ngcrun clean`: old run folders removed; none that goes on, and none that a run which stays has taken over from."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import BadInput
from runtime.local import runs, workspace
from runtime.local.document import shown

_DAY_S = 86_400.0
_YOUNG_S = 60.0  # an engine that has just begun has not written its record yet


@dataclass(frozen=True)
class Plan:
    """Which run folders go, and why others that were asked for stay."""

    remove: list[Path]
    stay: dict[Path, str] = field(default_factory=dict)


def plan(folder: Path, keep: int | None, older_days: float | None) -> Plan:
    """What to remove of the runs below `folder`; the newest `keep` of each pipeline stay, and younger ones."""
    found = runs.all_runs(folder)
    records = {run: runs.record(run) for run in found}
    asked = set(found)
    if keep:
        for name in {record["name"] for record in records.values()}:
            asked -= set([run for run in found if records[run]["name"] == name][-keep:])
    if older_days is not None:
        since = time.time() - older_days * _DAY_S
        asked -= {run for run in found if (run / "run.json").stat().st_mtime >= since}
    stay = {run: "it is still going on" for run in asked if runs.going_on(run)}
    kept = [run for run in found if run not in asked or run in stay]
    while kept:
        user = kept.pop()
        for run in sorted(_used_by(user, records[user]) & asked - stay.keys()):
            stay[run] = f"{user.name} has taken over outputs of it"
            kept.append(run)
    return Plan([run for run in found if run in asked - stay.keys()], stay)


def _used_by(run: Path, record: Mapping[str, Any]) -> set[Path]:
    """The other runs that the steps of a run point to."""
    return {Path(step["reused"]).parents[1] for step in record["steps"] if step.get("reused")} - {run}


def run(folder: Path, *, keep: int | None, older_days: float | None, dry_run: bool) -> int:
    """Remove, and say what was removed, what stays and why, and how much room that makes."""
    if keep is None and older_days is None:
        todo = "say how many runs of each pipeline stay (--keep 3), or how old one must be (--older-than 30)"
        raise BadInput.of("clean", None, "does not know what to remove", todo)
    found = plan(folder.resolve(), keep, older_days)
    found.remove.extend(_stillborn(folder.resolve()))
    size = sum(_size(path) for path in found.remove)
    for path in found.remove:
        print(f"{'would remove' if dry_run else 'removed'} {shown(path)}")
        if not dry_run:
            workspace.clear(path)
    for path, why in found.stay.items():
        print(f"kept {shown(path)}: {why}")
    if not dry_run:
        _forget(folder.resolve() / ".cache")
    print(f"{len(found.remove)} runs, {size / 1e6:,.1f} MB")
    return 0


def _stillborn(folder: Path) -> list[Path]:
    """Run folders with nothing in them but the lock of an engine that was killed before it wrote its record."""
    before = time.time() - _YOUNG_S
    locks = [lock for lock in sorted(folder.glob("*/.lock")) if [*lock.parent.iterdir()] == [lock]]
    return [lock.parent for lock in locks if lock.stat().st_mtime < before and not runs.going_on(lock.parent)]


def _size(folder: Path) -> int:
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(here) / name).lstat().st_size
    return total


def _forget(cache: Path) -> None:
    """Drop the entries whose outputs are gone; what they remember can never be taken over."""
    for entry in _entries(cache / "steps"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if not Path(json.loads(entry.read_text(encoding="utf-8"))["folder"]).is_dir():
                entry.unlink()


def _entries(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("*.json")) if folder.is_dir() else []
