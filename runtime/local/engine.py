"""Runs a planned pipeline: independent steps side by side, each as a process of its own with a log of its own."""

from __future__ import annotations

import contextlib
import math
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runtime import vendor
from runtime.errors import ToolFailed
from runtime.local import distribute, sweep, workspace
from runtime.local.content import Content
from runtime.local.machine import GRACE_S, MARK, Machine, mask_file
from runtime.local.plan import Planned, fingerprint
from runtime.local.reuse import Key, Reuse, differences
from runtime.local.track import Tracker
from runtime.tracking import FOLLOWED

# Polars, which mlflow loads, takes SIGINT over with SA_RESTART: a wait without end would sleep through Ctrl-C.
# Source: measured with polars 1.44.2; without a timeout the signal is seen when the next step ends.
POLL_S = 0.1


@dataclass
class State:
    """How far one step is; times are seconds since the epoch."""

    status: str = "waiting"  # waiting, running, completed, failed, skipped, canceled
    started: float = 0.0  # by the wall clock, to show
    clock: float = 0.0  # the same moment by the one that no one sets
    seconds: float = 0.0
    exit_code: int | None = None
    why: str = ""
    reused: str = ""  # the step folder whose outputs were taken over
    because: tuple[str, ...] = ()  # it ran, and was not taken over
    key: dict[str, str] = field(default_factory=dict)
    made: dict[str, Content] = field(default_factory=dict)  # what each output holds

    def begin(self) -> None:
        """Note the moment."""
        self.started, self.clock = time.time(), time.monotonic()


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
        machine: Machine | None = None,
    ) -> None:
        self.machine = machine or Machine()
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
                self.states[name].begin()
                threading.Thread(target=self._step, args=(name,), name=name, daemon=True).start()
                started, free = True, free - 1
                self._change(name, "running")
        return started

    def _settle(self, name: str, status: str, why: str) -> None:
        state = self.states[name]
        state.seconds = time.monotonic() - state.clock if state.clock else 0.0
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

    def _execute(self, name: str, planned: Planned, state: State, sweep_of: str = "") -> tuple[str, str]:
        """Run one step, or a trial of the sweep `sweep_of`, if nothing can be taken over; returns status and why."""
        key = self._look(name, planned, state) if self.reuse else None
        if state.reused:
            return "completed", ""
        workspace.prepare(planned)
        if planned.trial is not None:
            return self._sweep(name, planned, state, key)
        watched = workspace.watched_inputs(planned)
        before = {path: fingerprint(path) for path in watched}
        own = (self.tracker.environment(name, sweep_of) if self.tracker else {}) | distribute.port(planned.step.spec)
        own |= {FOLLOWED: planned.command.env[MARK]} if self._passes_on else {}
        if self._stopping.is_set():
            return "canceled", "stopped before it began"

        def started(process: subprocess.Popen[bytes]) -> None:
            state.begin()  # not the wait for the store or a GPU, which is no time of the step's
            self._processes[name] = process

        try:
            with self._followed(name, planned):
                state.exit_code = self.machine.run(planned, own, self._stopping, started)
        finally:
            self._processes.pop(name, None)
            mask_file(planned.folder / "metrics.jsonl", self.machine.masks)
        changed = [str(path) for path in watched if fingerprint(path) != before[path]]
        if state.exit_code is None or (self._stopping.is_set() and state.exit_code != 0):
            return "canceled", "stopped"
        state.exit_code, why = workspace.verdict(planned, state.exit_code, changed)
        if self.reuse and key and not why:
            state.made = self.reuse.remember(key, planned)
        return ("failed", why) if why else ("completed", "")

    def _sweep(self, name: str, planned: Planned, state: State, key: Key | None) -> tuple[str, str]:
        """Run the trials of a sweep as steps that the pipeline does not know."""
        if self.tracker is not None:
            self.tracker.environment(name)  # the run whose children the trials are
        state.begin()

        def run_trial(trial: str, own: Planned) -> tuple[str, str]:
            of_trial = State()
            status, why = self._execute(trial, own, of_trial, sweep_of=name)
            if self.tracker is not None:
                self.tracker.ended(trial, status, {"seconds": time.monotonic() - of_trial.clock})
            return status, why

        def history(trial: str, own: Planned, metric: str) -> list[float]:
            found = sweep.history_of(own.folder / "metrics.jsonl", metric)
            return found or (self.tracker.history(trial, metric) if self.tracker else [])

        def end_trial(trial: str) -> None:
            if trial in self._processes:
                vendor.signal_group(self._processes[trial].pid, signal.SIGTERM)

        status, why = sweep.Sweep(name, planned, run_trial, history, end_trial).run(self.jobs, self._stopping)
        if self.reuse and key and status == "completed":
            state.made = self.reuse.remember(key, planned)
        return status, why

    @property
    def _passes_on(self) -> bool:
        """Whether what a step writes into its file of figures is passed on from there.

        But for one in a container with a network: its image may hold a release that sends all of it to the store.
        """
        return self.tracker is not None and (self.machine.docker is None or self.machine.docker.network == "none")

    def _followed(self, name: str, planned: Planned) -> contextlib.AbstractContextManager[None]:
        if self.tracker is None or not self._passes_on:
            return contextlib.nullcontext()
        return self.tracker.followed(name, planned.folder / "metrics.jsonl", self.machine.masks.hide)

    def _look(self, name: str, planned: Planned, state: State) -> Key | None:
        """Take over what the step made before, if nothing has changed; else its key, and in `state` why it runs."""
        assert self.reuse is not None  # noqa: S101 - the caller has looked; narrows for mypy
        if cannot := self.reuse.cannot(planned):
            state.because = (cannot,)
            return None
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
