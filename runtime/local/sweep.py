"""Running a sweep step: trials of one component side by side, sampled by Optuna; the best one's outputs are its own."""

from __future__ import annotations

import concurrent.futures
import json
import math
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import ToolFailed
from runtime.local import search_space, workspace
from runtime.local.plan import Planned
from runtime.local.reuse import Found
from runtime.local.track import new_records

LOOK_S = 0.5  # between two looks at the figures of a running trial

RunTrial = Callable[[str, Planned], tuple[str, str]]
History = Callable[[str, Planned, str], list[float]]


@dataclass
class Trial:
    """One set of values and how it went."""

    number: int
    values: dict[str, Any]
    name: str
    planned: Planned
    status: str = "running"
    why: str = ""
    seconds: float = 0.0
    history: list[float] = field(default_factory=list)

    def metric(self) -> float | None:
        """The last value of the primary metric."""
        return self.history[-1] if self.history else None

    def row(self) -> dict[str, Any]:
        """The trial as it is written into trials.json."""
        kept = {"number": self.number, "values": self.values, "status": self.status, "why": self.why or None}
        return kept | {"metric": self.metric(), "seconds": round(self.seconds, 3), "folder": str(self.planned.folder)}


class Sweep:
    """One sweep step while it runs.

    Args:
        run_trial: runs one planned trial to its end; returns status and why.
        history: the values of a metric that a trial has logged so far.
        end_trial: asks a trial that runs to stop.
    """

    def __init__(
        self, name: str, planned: Planned, run_trial: RunTrial, history: History, end_trial: Callable[[str], None]
    ) -> None:
        assert planned.step.sweep is not None  # noqa: S101 - the engine has looked; narrows for mypy
        self.name, self.planned, self.spec = name, planned, planned.step.sweep
        self.run_trial, self.history, self.end_trial = run_trial, history, end_trial
        self.goal = str(self.spec["objective"]["goal"])
        self.metric = str(self.spec["objective"]["primary_metric"])
        self.trials: list[Trial] = []
        self._lock = threading.Lock()

    def run(self, jobs: int, stopping: threading.Event) -> tuple[str, str]:
        """Run all trials, at most `jobs` at once; returns the step's status and why."""
        limits = self.spec.get("limits") or {}
        total = search_space.total_trials(self.spec)
        until = time.monotonic() + float(limits.get("timeout") or math.inf)
        side = min(jobs, total, int(limits.get("max_concurrent_trials") or total))
        sampler = Sampler(self.spec)
        with concurrent.futures.ThreadPoolExecutor(side, thread_name_prefix=self.name) as pool:
            waiting: set[concurrent.futures.Future[None]] = set()
            for number in range(total):
                while len(waiting) >= side:
                    waiting = self._look(waiting)
                if stopping.is_set() or time.monotonic() > until:
                    break
                trial = self._trial(number, sampler.ask())
                waiting.add(pool.submit(self._one, trial, sampler))
            while waiting:
                waiting = self._look(waiting)
                if time.monotonic() > until:
                    self._end_all("stopped: limits.timeout of the sweep")
        self._write()
        return self._verdict(stopping)

    def _trial(self, number: int, values: dict[str, Any]) -> Trial:
        assert self.planned.trial is not None  # noqa: S101 - a planned sweep has it; narrows for mypy
        trial = Trial(number, values, f"{self.name}[{number}]", self.planned.trial(number, values))
        with self._lock:
            self.trials.append(trial)
        return trial

    def _one(self, trial: Trial, sampler: Sampler) -> None:
        began = time.monotonic()
        try:
            status, why = self.run_trial(trial.name, trial.planned)
        except ToolFailed as error:
            status, why = "failed", error.what
        trial.history = self.history(trial.name, trial.planned, self.metric)
        if trial.status != "stopped early":
            trial.status, trial.why = status, why
        if status == "completed" and not trial.history:
            trial.status, trial.why = "failed", f"logged no metric {self.metric!r}"
        trial.seconds = time.monotonic() - began
        sampler.tell(trial.number, trial.metric() if trial.status == "completed" else None)
        self._write()

    def _look(self, waiting: set[concurrent.futures.Future[None]]) -> set[concurrent.futures.Future[None]]:
        """Wait a while for trials to end; meanwhile end those that the policy has given up."""
        done, left = concurrent.futures.wait(waiting, LOOK_S, concurrent.futures.FIRST_COMPLETED)
        for future in done:
            future.result()  # a bug of ours must be told
        policy = self.spec.get("early_termination")
        if policy:
            for trial in [t for t in self.trials if t.status == "running"]:
                trial.history = self.history(trial.name, trial.planned, self.metric)
                others = [t.history for t in self.trials if t is not trial]
                if search_space.stops(policy, self.goal, trial.history, others):
                    trial.status, trial.why = "stopped early", f"{policy['type']} after {len(trial.history)} values"
                    self.end_trial(trial.name)
        return left

    def _end_all(self, why: str) -> None:
        for trial in [t for t in self.trials if t.status == "running"]:
            trial.status, trial.why = "stopped early", why
            self.end_trial(trial.name)

    def best(self) -> Trial | None:
        """The completed trial with the best figure; the first of equal ones."""
        done = [t for t in self.trials if t.status == "completed" and t.history and math.isfinite(t.history[-1])]
        order = sorted(done, key=lambda t: t.number)
        return (min if self.goal == "minimize" else max)(order, key=lambda t: t.history[-1], default=None)

    def _verdict(self, stopping: threading.Event) -> tuple[str, str]:
        best = self.best()
        if stopping.is_set():
            return "canceled", "stopped"
        if best is None:
            told = next((t.why for t in self.trials if t.why), "no trial completed")
            return "failed", f"none of {len(self.trials)} trials completed with {self.metric!r}: {told}"
        workspace.adopt(Found(best.planned.folder, best.planned.outputs), self.planned, keep=True)
        values = ", ".join(f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
                           for name, value in best.values.items())  # fmt: skip
        return "completed", f"best of {len(self.trials)}: {self.metric} {best.history[-1]:.6g} with {values}"

    def _write(self) -> None:
        """`trials.json` beside the step's log: every trial, the best one's number."""
        with self._lock:
            best = self.best()
            data = {"metric": self.metric, "goal": self.goal, "best": best.number if best else None,
                    "trials": [t.row() for t in sorted(self.trials, key=lambda t: t.number)]}  # fmt: skip
            place = self.planned.folder / "trials.json"
            partial = place.with_suffix(".partial")
            partial.write_text(json.dumps(data, indent=1, default=str) + "\n", encoding="utf-8")
            partial.replace(place)


class Sampler:
    """Asks Optuna for values; the same seed gives the same values, as far as trials end in the same order."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        try:
            import optuna
        except ImportError:
            raise ToolFailed("a sweep needs Optuna; pip install 'ngcrun[sweep]'") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space = spec["search_space"]
        kind, settings = search_space.algorithm(spec)
        seed = int(settings.get("seed") or 0)
        self._points = iter(search_space.grid(spec)) if kind == "grid" else None
        samplers = optuna.samplers
        sampler: Any = samplers.TPESampler(seed=seed) if kind == "bayesian" else samplers.RandomSampler(seed=seed)
        if str(settings.get("rule", "")).lower() == "sobol":
            with warnings.catch_warnings():  # Optuna calls it experimental, which is for its own API
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)
        self._study = optuna.create_study(sampler=sampler, direction=spec["objective"]["goal"])
        self._open: list[Any] = []
        self._lock = threading.Lock()

    def ask(self) -> dict[str, Any]:
        """The next set of values."""
        with self._lock:
            if self._points is not None:
                return next(self._points)
            trial = self._study.ask()
            self._open.append(trial)
            return {name: search_space.suggest(trial, name, spec) for name, spec in self.space.items()}

    def tell(self, number: int, value: float | None) -> None:
        """How the trial `number` went; None: it has no figure."""
        import optuna

        with self._lock:
            if self._points is None:
                failed = value is None or not math.isfinite(value)
                state = optuna.trial.TrialState.FAIL if failed else None
                self._study.tell(self._open[number], None if failed else value, state=state)


def history_of(figures: Path, metric: str) -> list[float]:
    """The values of a metric in a step's file of figures, in the order in which they were written."""
    records, _ = new_records(figures, 0)
    return [record.value for record in records if (record.kind, record.key) == ("metric", metric)]
