"""What runs left behind: found, listed, explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, nearest
from runtime.local.document import shown


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
