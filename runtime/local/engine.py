"""Runs a planned pipeline: independent steps side by side, each as a process of its own with a log of its own."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runtime import vendor
from runtime.errors import ToolFailed
from runtime.local import distribute, workspace
from runtime.local.content import Content
from runtime.local.plan import Planned, fingerprint
from runtime.local.reuse import Key, Reuse, differences
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
    reused: str = ""  # the step folder whose outputs were taken over
    because: tuple[str, ...] = ()  # it ran, and was not taken over
    key: dict[str, str] = field(default_factory=dict)
    made: dict[str, Content] = field(default_factory=dict)  # what each output holds


Listener = Callable[[str, State], None]


class Engine:
    """One run of one pipeline. `states` is complete at any moment; `listener` is told of each change.

    A step's thread notes times and exit code; statuses change on the thread of `run` alone.
    """

    def __init__(  # noqa: PLR0913 - what a run has
        self,
        planned: Mapping[str, Planned],
        listener: Listener,
        *,
        tracker: Tracker | None,
        jobs: int,
        stop_on_failure: bool,
        reuse: Reuse | None = None,
    ) -> None:
        self.reuse = reuse
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
        key = self._look(name, planned, state) if self.reuse else None
        if state.reused:
            return "completed", ""
        workspace.prepare(planned)
        watched = workspace.watched_inputs(planned)
        before = {path: fingerprint(path) for path in watched}
        own = (self.tracker.environment(name) if self.tracker else {}) | distribute.port(planned.step.spec)
        if self._stopping.is_set():
            return "canceled", "stopped before it began"
        state.started = time.time()  # not the wait for the store, which is no time of the step's
        state.exit_code = self._process(name, planned, own)
        changed = [str(path) for path in watched if fingerprint(path) != before[path]]
        if self._stopping.is_set() and state.exit_code != 0:
            return "canceled", "stopped"
        state.exit_code, why = workspace.verdict(planned, state.exit_code, changed)
        if self.reuse and key and not why:
            state.made = self.reuse.remember(key, planned)
        return ("failed", why) if why else ("completed", "")

    def _look(self, name: str, planned: Planned, state: State) -> Key | None:
        """Take over what the step made before, if nothing has changed; else its key, and in `state` why it runs."""
        assert self.reuse is not None  # noqa: S101 - the caller has looked; narrows for mypy
        try:
            key = self.reuse.key(planned)
            found, why = self.reuse.find(key) if planned.step.deterministic else (None, "is_deterministic: false")
            before = self.reuse.last(name)
            self.reuse.note(name, key)
            if found is not None:
                workspace.adopt(found, planned)
                state.made = {port: self.reuse.content(path) for port, path in found.outputs.items()}
                state.reused = str(found.folder)
        except OSError as error:
            raise ToolFailed(f"{error.filename}: cannot be read ({error.strerror})") from error
        state.key = dict(key.fields)
        state.because = (why,) if why else tuple(differences(before, key.fields)) if before else ("never ran here",)
        return key

    def _process(self, name: str, planned: Planned, own: Mapping[str, str]) -> int:
        with vendor.running(
            planned.command.argv,
            planned.log,
            env=planned.command.environment(_not_ours(os.environ)) | dict(own),
            cwd=planned.command.cwd,
            read_only=planned.command.read_only,
            grace_s=GRACE_S,
        ) as process:
            self._processes[name] = process
            if self._stopping.is_set():  # set between the look above and the start
                vendor.signal_group(process.pid, signal.SIGTERM)
            try:
                return process.wait(planned.timeout_s)
            except subprocess.TimeoutExpired:
                vendor.stop(process, GRACE_S)
                raise ToolFailed(f"took longer than its limits.timeout of {planned.timeout_s:g} s") from None
            finally:
                del self._processes[name]


def _not_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without his own MLflow run, which is not the step's."""
    return {k: v for k, v in environ.items() if k not in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")}
