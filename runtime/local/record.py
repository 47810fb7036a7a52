"""`run.json`: what a run was made of and how it went, whole at every moment; and the links to its named outputs."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import runtime
from runtime.errors import BadInput
from runtime.local.engine import State
from runtime.local.graph import Graph
from runtime.local.machine import Machine
from runtime.local.plan import Planned
from runtime.local.track import Tracker, shown_uri


def new_folder(runs: Path, name: str) -> Path:
    """A new folder `<runs>/<name>-<time>`; a second one in the same second gets a number."""
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    base = f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 1000):
        folder = runs.resolve() / (base if number == 1 else f"{base}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.exists():  # something on the way to it is a file
                raise _unwritable(runs, "not a folder") from None
            continue
        except OSError as error:
            raise _unwritable(runs, (error.strerror or str(error)).lower()) from error
        return folder
    raise RuntimeError(f"a thousand runs of {base}")


@contextlib.contextmanager
def run_folder(runs: Path, name: str, resume: Path | None) -> Iterator[Path]:
    """A new run folder, or that of an interrupted run to go on in; a lock keeps a second engine out of it.

    Raises `BadInput` when it is none, is another pipeline's, or another engine is at work in it.
    """
    if resume is not None:
        _same_pipeline(resume, name)
    folder = new_folder(runs, name) if resume is None else resume.resolve()
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            todo = "wait until it has ended, or stop it"
            raise BadInput.of("--resume", resume, "is the folder of a run that is still going on", todo) from None
        yield folder


def _same_pipeline(resume: Path, name: str) -> None:
    try:
        record = json.loads((resume / "run.json").read_text(encoding="utf-8"))
        other = record["name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput.of("--resume", resume, "is no run folder", "see `ngcrun runs`") from None
    if other != name:
        raise BadInput.of("--resume", resume, f"is a run of {other!r}, not of {name!r}", "see `ngcrun runs`")


def _unwritable(runs: Path, reason: str) -> BadInput:
    return BadInput.of("--runs", runs, f"cannot be written ({reason})", "name a folder that you may write to")


class Record:
    """Keeps `run.json` up to date: written beside and renamed at each change."""

    def __init__(self, graph: Graph, planned: Mapping[str, Planned], folder: Path, machine: Machine) -> None:
        self.graph, self.planned, self.folder = graph, planned, folder
        self._masks = machine.masks
        self._clock = time.monotonic()  # a clock that no one sets
        self._texts: dict[str, tuple[tuple[object, ...], str]] = {}
        self._head = {
            "name": graph.name,
            "pipeline": str(graph.file.resolve()),
            "pipeline_sha256": hashlib.sha256(graph.file.read_bytes()).hexdigest(),
            "inputs": {name: str(value) for name, value in graph.inputs.items()},
            "ngcrun": runtime.__version__,
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "read_only_inputs": machine.kept_read_only,
            "runner": "docker" if machine.docker else "subprocess",
            "started": _shown(time.time()),
        }

    def write(self, states: Mapping[str, State], status: str, tracker: Tracker | None) -> None:
        """Write `run.json` as of now."""
        steps = ",\n".join(self._text(name, state, tracker) for name, state in states.items())
        store = (
            {"tracking_uri": shown_uri(tracker.uri), "run_id": tracker.parent_id}
            if tracker and not tracker.failed
            else None
        )
        data = self._head | {"status": status, "written": _shown(time.time()), "mlflow": store}
        partial = self.folder / ".run.json.partial"
        head = json.dumps(data, indent=1, ensure_ascii=False).removesuffix("\n}")
        text = self._masks.text(f'{head},\n "steps": [\n{steps}\n ]\n}}\n')
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")
        partial.replace(self.folder / "run.json")

    def _text(self, name: str, state: State, tracker: Tracker | None) -> str:
        """One step as JSON, made anew only when it has changed: a pipeline may have hundreds."""
        run_id = tracker.run_ids.get(name) if tracker else None
        key = (*vars(state).values(), run_id)
        if self._texts.get(name, ((), ""))[0] != key:
            text = json.dumps(self._step(name, state, run_id), indent=1, ensure_ascii=False)
            self._texts[name] = key, textwrap.indent(text, "  ")
        return self._texts[name][1]

    def _step(self, name: str, state: State, run_id: str | None) -> dict[str, Any]:
        planned = self.planned[name]
        return {
            "name": name,
            "component": f"{planned.step.spec.get('name', name)}:{planned.step.spec.get('version', '')}".rstrip(":"),
            "needs": sorted(planned.step.needs()),
            "status": state.status,
            "exit_code": state.exit_code,
            "started": _shown(state.started) if state.started else None,
            "began_s": round(state.clock - self._clock, 3) if state.clock else None,
            "seconds": round(state.seconds, 3),
            "why": state.why or None,
            "reused": state.reused or None,
            "because": list(state.because),
            "key": state.key,
            "command": list(planned.command.argv),
            "environment": dict(planned.command.env),
            "image": planned.image or None,
            "read_only": [str(p) for p in planned.command.read_only],
            "inputs": dict(planned.inputs),
            "outputs": {port: str(path) for port, path in planned.outputs.items()},
            "contents": {p: {"sha256": c.digest, "bytes": c.size, "files": c.files} for p, c in state.made.items()},
            "log": str(planned.log),
            "mlflow_run_id": run_id,
        }


def link_outputs(
    graph: Graph, planned: Mapping[str, Planned], states: Mapping[str, State], folder: Path
) -> dict[str, Path]:
    """Link the pipeline's named outputs below `<run>/outputs/`; returns each whose step completed."""
    linked = {}
    for name, source in graph.outputs.items():
        target = planned[source.step].outputs[source.port]
        if states[source.step].status == "completed":
            link = folder / "outputs" / name
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)  # of the run that is resumed
            link.symlink_to(os.path.relpath(target, link.parent))
            linked[name] = link
    return linked


def _shown(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
