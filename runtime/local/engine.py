"""Runs a planned pipeline: independent steps side by side, each as a process of its own with a log of its own."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime import vendor
from runtime.errors import ToolFailed
from runtime.execute import is_empty
from runtime.local.plan import Planned, fingerprint
from runtime.local.track import Tracker

# Polars, which mlflow loads, takes SIGINT over with SA_RESTART: a wait without end would sleep through Ctrl-C.
# Source: measured with polars 1.44.2; without a timeout the signal is seen when the next step ends.
POLL_S = 0.1
GRACE_S = 10.0  # between SIGTERM and SIGKILL, as `docker stop` has it


@dataclass
class State:
    """How far one step is; times are seconds since the epoch."""

    status: str = "waiting"  # waiting, running, completed, failed, skipped, canceled
    started: float = 0.0
    seconds: float = 0.0
    exit_code: int | None = None
    why: str = ""
    changed_inputs: list[str] = field(default_factory=list)


Listener = Callable[[str, State], None]


class Engine:
    """One run of one pipeline. `states` is complete at any moment; `listener` is told of each change.

    A step's thread notes times and exit code; statuses change on the thread of `run` alone.
    """

    def __init__(
        self,
        planned: Mapping[str, Planned],
        listener: Listener,
        *,
        tracker: Tracker | None,
        jobs: int,
        stop_on_failure: bool,
    ) -> None:
        self.planned, self.listener, self.tracker = planned, listener, tracker
        self.jobs, self.stop_on_failure = jobs, stop_on_failure
        self.states = {name: State() for name in planned}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        # What the main thread waits for: a step that has ended with its verdict, or None, which means: stop.
        self._events: queue.SimpleQueue[tuple[str, str, str] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()

    def run(self) -> str:
        """Run everything; returns `completed`, `failed` or `canceled`. Ctrl-C ends the steps first, then returns."""
        try:
            while self._start_ready() or self._running():
                event = self._next()
                if event is None:
                    self._stop()
                    return "canceled"
                self._settle(*event)
        except BaseException:  # the listener's: a full disk
            self.listener = lambda _name, _state: None
            self._stop()
            raise
        return "completed" if all(s.status == "completed" for s in self.states.values()) else "failed"

    def stop_soon(self) -> None:
        """Ask `run` to stop; safe to call from a signal handler. A second time means: at once."""
        self._events.put(None)

    def _next(self, until: float = math.inf) -> tuple[str, str, str] | None:
        """What happens next; raises `queue.Empty` when nothing has by then."""
        while True:
            left = until - time.monotonic()
            try:
                return self._events.get(timeout=max(0.0, min(left, POLL_S)))
            except queue.Empty:
                if left <= 0:
                    raise

    def _running(self) -> int:
        return sum(state.status == "running" for state in self.states.values())

    def _start_ready(self) -> bool:
        """Start each step whose inputs are there, as far as `jobs` allows; whether any was started."""
        started, free = False, self.jobs - self._running()
        for name, planned in self.planned.items():
            if self.states[name].status != "waiting":
                continue
            needs = {self.states[n].status for n in planned.step.needs()}
            if needs & {"failed", "skipped", "canceled"}:
                self._change(name, "skipped", "a step that it needs did not complete")
            elif free > 0 and needs <= {"completed"}:
                self.states[name].started = time.time()
                threading.Thread(target=self._step, args=(name,), name=name, daemon=True).start()
                started, free = True, free - 1
                self._change(name, "running")
        return started

    def _settle(self, name: str, status: str, why: str) -> None:
        state = self.states[name]
        state.seconds = time.time() - state.started
        self._change(name, status, why)
        if status == "failed" and self.stop_on_failure and not self._stopping.is_set():
            self._stop()

    def _change(self, name: str, status: str, why: str = "") -> None:
        state = self.states[name]
        state.status, state.why = status, why
        if self.tracker is not None and status not in ("waiting", "running"):
            self.tracker.ended(name, status, {"seconds": state.seconds})
        self.listener(name, state)

    def _stop(self) -> None:
        """End what runs: SIGTERM, then SIGKILL after `GRACE_S` or at the second Ctrl-C."""
        self._stopping.set()
        for name in [n for n, s in self.states.items() if s.status == "waiting"]:
            self._change(name, "canceled", "stopped before it began")
        if self.tracker is not None:
            self.tracker.wait_no_more()
        self._signal(signal.SIGTERM)
        until = time.monotonic() + GRACE_S
        while self._running():
            event = None
            with contextlib.suppress(queue.Empty):
                event = self._next(until)
            if event is None:
                self._signal(signal.SIGKILL)
                until = time.monotonic() + GRACE_S
            else:
                self._settle(*event)

    def _signal(self, number: signal.Signals) -> None:
        for process in list(self._processes.values()):
            vendor.signal_group(process.pid, number)

    def _step(self, name: str) -> None:
        """Run one step on its own thread; whatever happens, the main thread is told."""
        state, planned = self.states[name], self.planned[name]
        try:
            status, why = self._execute(name, planned, state)
        except ToolFailed as error:
            status, why = "failed", error.what
        except Exception as error:  # a bug of ours must not leave the main thread waiting for ever
            status, why = "failed", f"ngcrun itself failed: {type(error).__name__}: {error}"
        self._events.put((name, status, why))

    def _execute(self, name: str, planned: Planned, state: State) -> tuple[str, str]:
        prepare(planned)
        watched = watched_inputs(planned)
        before = {path: fingerprint(path) for path in watched}
        own = self.tracker.environment(name) if self.tracker else {}
        if self._stopping.is_set():
            return "canceled", "stopped before it began"
        state.started = time.time()  # not the wait for the store, which is no time of the step's
        with vendor.running(
            planned.command.argv,
            planned.log,
            env=planned.command.environment(_not_ours(os.environ)) | own,
            cwd=planned.command.cwd,
            read_only=planned.command.read_only,
            grace_s=GRACE_S,
        ) as process:
            self._processes[name] = process
            if self._stopping.is_set():  # set between the look above and the start
                vendor.signal_group(process.pid, signal.SIGTERM)
            state.exit_code = process.wait()
        del self._processes[name]
        state.changed_inputs = [str(path) for path in watched if fingerprint(path) != before[path]]
        return self._verdict(planned, state)

    def _verdict(self, planned: Planned, state: State) -> tuple[str, str]:
        """Success needs evidence: the exit status, untouched inputs, and outputs that are there and not empty."""
        if self._stopping.is_set() and state.exit_code != 0:
            return "canceled", "stopped"
        if state.exit_code != 0:
            return "failed", last_word(planned.log) or f"exit status {state.exit_code} and nothing in its log"
        if state.changed_inputs:
            return "failed", f"it changed its input {state.changed_inputs[0]}; inputs are read-only on AzureML"
        empty = [port for port, path in planned.outputs.items() if is_empty(path)]
        if empty:
            state.exit_code = 4
            return "failed", f"output {empty[0]!r} was not written, though the command ended with status 0"
        return "completed", ""


def prepare(planned: Planned) -> None:
    """Make the step's folders: its working folder, and each output as AzureML would (a folder; a file's parent)."""
    planned.command.cwd.mkdir(parents=True)
    if planned.code is not None:
        copy_code(planned.code, planned)
    for port, path in planned.outputs.items():
        declared = planned.step.spec["outputs"][port] or {}
        folder = path.parent if declared.get("type") == "uri_file" else path
        folder.mkdir(parents=True, exist_ok=True)


def copy_code(code: Path, planned: Planned) -> None:
    """Fill the working folder with a copy of the component's `code`, without what holds the run folder itself."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        own = {name for name in names if planned.folder.is_relative_to(Path(folder, name))}
        return own | ({".git", "__pycache__"} & set(names))

    try:
        shutil.copytree(code, planned.command.cwd, ignore=left_out, ignore_dangling_symlinks=True, dirs_exist_ok=True)
    except OSError as error:  # shutil.Error is one too, and holds a list of (from, to, why)
        why = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        raise ToolFailed(f"code {str(code)!r} cannot be copied ({why})") from error


def watched_inputs(planned: Planned) -> list[Path]:
    """Inputs that no mount protects and that a fingerprint must watch; one that holds the run folder cannot be."""
    data = [Path(text) for name, text in planned.inputs.items() if f"AZURE_ML_INPUT_{name}" in planned.command.env]
    return [p for p in data if p not in planned.command.read_only and not planned.folder.is_relative_to(p)]


def last_word(log: Path) -> str:
    """The line that says why: the last one that is neither blank, nor a warning, nor a quoted tail."""
    lines = vendor.tail(log, 60).splitlines()
    told = [line for line in lines if line.strip() and not line.startswith(("  | ", "warning:"))]
    return told[-1].strip()[:500] if told else ""


def _not_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without his own MLflow run, which is not the step's."""
    return {k: v for k, v in environ.items() if k not in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")}
