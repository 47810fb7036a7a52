"""`submit --follow` and `ngcrun azureml follow JOB`: states, logs and figures of a job until it ends."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field

from runtime.azureml.client import say
from runtime.azureml.history import History, Run
from runtime.errors import ToolFailed

POLL_S, SLOWEST_S = 2.0, 15.0
PATIENCE_S = 300.0  # of an outage between us and Azure: the job goes on there meanwhile
_LOGS = ("user_logs/std_log", "executionlogs")


@dataclass
class Seen:
    """What was shown already, so that nothing is shown twice."""

    states: dict[str, str] = field(default_factory=dict)
    read: dict[tuple[str, str], int] = field(default_factory=dict)
    figures: dict[tuple[str, str], float] = field(default_factory=dict)
    changed: bool = False


def follow(history: History, name: str, *, poll_s: float = POLL_S) -> str:
    """Print what happens until the job has ended; returns its last status.

    Raises:
        ToolFailed: Azure could not be reached for `PATIENCE_S` (the job itself goes on).
    """
    from azure.core.exceptions import AzureError

    seen, pause, lost = Seen(), poll_s, 0.0
    while True:
        seen.changed = False
        try:
            job = history.details(name)
            steps = history.steps(name)
            _show(history, [*steps, job] if steps else [job], seen)
            lost = 0.0
        except AzureError as error:
            lost = lost or time.monotonic()
            if time.monotonic() - lost > PATIENCE_S:
                todo = f"it goes on there; look again: ngcrun azureml follow {name}"
                raise ToolFailed(f"{name}: Azure does not answer ({type(error).__name__}); {todo}") from error
            job = Run(name, name, "unknown")
        if job.ended:
            return job.status
        pause = poll_s if seen.changed else min(pause * 1.5, SLOWEST_S)
        time.sleep(pause)


def _show(history: History, runs: list[Run], seen: Seen) -> None:
    from azure.core.exceptions import AzureError

    for run in runs:
        if seen.states.get(run.id) in ("Completed", "Failed", "Canceled"):
            continue
        began = run.status not in ("NotStarted", "Preparing", "Queued")
        if began:
            _log(history, run, seen)
            with contextlib.suppress(AzureError):  # figures are an extra: their service may be another one
                _figures(history, run, seen)
        if seen.states.get(run.id) != run.status:
            seen.states[run.id], seen.changed = run.status, True
            say(f"{time.strftime('%H:%M:%S')} {run.name}: {run.status}" + (f": {run.error}" if run.error else ""))


def _log(history: History, run: Run, seen: Seen) -> None:
    """New whole lines of the run's own logs, each with the step's name before it."""
    for path, address in sorted((run.logs or history.details(run.id).logs).items()):
        if not path.startswith(_LOGS):
            continue
        start = seen.read.get((run.id, path), 0)
        added = history.log(address, start)
        whole = added if run.ended else added[: added.rfind(b"\n") + 1]
        seen.read[(run.id, path)] = start + len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            seen.changed = True
            say(f"{run.name} | {line}")


def _figures(history: History, run: Run, seen: Seen) -> None:
    new = {k: v for k, v in history.figures(run.id).items() if seen.figures.get((run.id, k)) != v}
    seen.figures |= {(run.id, k): v for k, v in new.items()}
    if new:
        say(f"{run.name} | " + " ".join(f"{k}={v:.6g}" for k, v in sorted(new.items())))
