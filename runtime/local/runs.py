"""What runs left behind: found, listed, explained, and read."""

from __future__ import annotations

import fcntl
import json
import sys
import time
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, nearest
from runtime.local.document import shown

_LOOK_S = 0.2  # between two looks at a log that is followed


def folder_of(run: Path | None, runs: Path) -> Path:
    """The run folder that is meant: as named (a path, or a name below `runs`), else the one begun last."""
    if run is not None:
        for folder in (run, runs / run):
            if (folder / "run.json").is_file():
                return folder
        raise BadInput.of("run", str(run), "is no run folder", "see `ngcrun runs`")
    found = all_runs(runs)
    if not found:
        raise BadInput.of("runs", str(runs), "holds no run", "run a pipeline, or name another folder with --runs")
    return found[-1]


def all_runs(runs: Path) -> list[Path]:
    """Every run folder below `runs`, the oldest first."""
    return sorted((p.parent for p in runs.glob("*/run.json")), key=lambda p: (record(p).get("started", ""), p.name))


def record(folder: Path) -> dict[str, Any]:
    """`run.json`; raises `BadInput` where it is none."""
    try:
        held = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput.of("run", str(folder), f"has no readable run.json ({error})", "see `ngcrun runs`") from None
    return dict(held)


def step_of(folder: Path, name: str) -> dict[str, Any]:
    """One step of a run; raises `BadInput` with the nearest."""
    steps = {step["name"]: step for step in record(folder)["steps"]}
    if name not in steps:
        raise BadInput.of("step", name, f"is not in {shown(folder)}", nearest(name, steps))
    return dict(steps[name])


def why(folder: Path, name: str | None) -> int:
    """Print for a step, or for each, why it ran or from where it was taken over."""
    steps = [step_of(folder, name)] if name else record(folder)["steps"]
    width = max((len(step["name"]) for step in steps), default=0)
    for step in steps:
        lines = _reasons(step)
        print(f"{step['name']:<{width}}  {lines[0]}")
        for line in lines[1:]:
            print(f"{'':<{width}}  {line}")
    if name:
        for field, value in sorted(step_of(folder, name).get("key", {}).items()):
            print(f"  {field} = {value}")
    return 0


def _reasons(step: dict[str, Any]) -> list[str]:
    if step.get("reused"):
        return [f"taken over from {shown(Path(step['reused']))}: nothing that it depends on has changed"]
    if not step.get("key"):
        return ["did not run" if step["status"] in ("skipped", "canceled", "waiting") else "ran: --no-cache"]
    first, *rest = step.get("because") or ["it ran before with the same key, and did not complete"]
    return [f"ran: {first}", *rest]


def listed(runs: Path) -> int:
    """Print every run below `runs`, a line each, the latest last."""
    found = all_runs(runs)
    rows = [("run", "status", "started", "seconds", "steps", "taken over", "pipeline")]
    for folder in found:
        held = record(folder)
        steps = held["steps"]
        seconds = max((s["began_s"] + s["seconds"] for s in steps if s["began_s"] is not None), default=0.0)
        done = sum(step["status"] == "completed" for step in steps)
        reused = sum(bool(step.get("reused")) for step in steps)
        status = held["status"] if held["status"] != "running" or going_on(folder) else "interrupted"
        rows.append((folder.name, status, held["started"], f"{seconds:.1f}", f"{done}/{len(steps)}", str(reused),
                     shown(Path(held["pipeline"]))))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    if not found:
        print(f"no runs in {runs}")
    return 0


def going_on(folder: Path) -> bool:
    """Whether an engine is at work in a run folder: it holds the lock for as long as it lives."""
    try:
        with (folder / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a run of an older ngcrun has no lock
        return False
    return False


def log(folder: Path, name: str, *, follow: bool) -> int:
    """Print a step's log; `follow`: go on as it grows, until the step has ended."""
    path = Path(step_of(folder, name)["log"])
    if not path.exists() and not follow:
        raise BadInput.of("step", name, "has no log: it has not run", f"see `ngcrun why {name}`")
    place = 0
    while True:
        ended = not follow or not going_on(folder) or step_of(folder, name)["status"] not in ("waiting", "running")
        if path.exists():
            with path.open("rb") as file:
                file.seek(place)
                while piece := file.read(1 << 16):
                    sys.stdout.buffer.write(piece)
                    place += len(piece)
            sys.stdout.flush()
        if ended:
            return 0
        time.sleep(_LOOK_S)
