"""Where trials train: in this process, or each worker in a process of its own; each reads the data once.

Matrices cannot be shared by processes: they live inside XGBoost, whose threads do not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from runtime.errors import ToolFailed
from runtime.rapids import boosting
from runtime.rapids.boosting import OnRound
from runtime.rapids.learners import Task, XGBoost
from runtime.rapids.training import Data


@dataclass(frozen=True)
class Work:
    """All that a process needs to train trials; `threads` of the CPU, 0 for all."""

    data: Data
    engine: str
    max_bin: int
    threads: int = 0

    def task(self) -> Task:
        """The rows, read anew each time that they are asked for."""
        data = self.data
        return Task(data.features, data.training, data.validation, data.seed, self.engine, _silent, self.threads)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: its validation RMSE at its best round, and how many rounds that is."""

    rmse: float
    rounds: int


class Trainer(Protocol):
    """Trains one trial at a time on the data that it holds."""

    def train(self, learner: XGBoost, on_round: OnRound) -> Outcome:
        """Train once; `on_round` is told each round's scores, and ends the trial by returning True."""

    def end(self) -> None:
        """Let go of what it holds, at once."""


class Here:
    """Trains in this process."""

    def __init__(self, work: Work) -> None:
        self._task = work.task()
        self.matrices = boosting.matrices(self._task, work.max_bin)

    def train(self, learner: XGBoost, on_round: OnRound) -> Outcome:  # noqa: D102 - as in Trainer
        made = boosting.boost(learner, self.matrices, self._task, on_round, watch_train=False)
        assert made.validation_rmse is not None  # noqa: S101 - tune refuses data without rows to stop by; for mypy
        return Outcome(made.validation_rmse, made.rounds)

    def end(self) -> None:  # noqa: D102 - as in Trainer
        pass


class There:
    """Trains in a process of its own, which ends with this one; `device`: the one GPU that it is to see."""

    def __init__(self, work: Work, device: str | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, work, device), daemon=True)
        self._process.start()
        far.close()

    def train(self, learner: XGBoost, on_round: OnRound) -> Outcome:  # noqa: D102 - as in Trainer
        try:
            self._line.send(learner)
            while not isinstance(message := self._line.recv(), Outcome):
                self._line.send(on_round(*message))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join(5.0)
            status = self._process.exitcode
            why = "killed, as where memory runs out" if status == -signal.SIGKILL else f"exit status {status}"
            raise ToolFailed(f"a worker ended in the middle of a trial ({why}); give fewer workers") from None
        return message

    def end(self) -> None:  # noqa: D102 - as in Trainer
        self._process.kill()
        self._process.join()
        self._line.close()


def _serve(line: Any, work: Work, device: str | None) -> None:
    """The other end of `There`: one learner in, scores out and an answer back each round, an outcome at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device  # before XGBoost looks for one
    trainer = Here(work)

    def on_round(scores: Mapping[str, float], epoch: int) -> bool:
        line.send((dict(scores), epoch))
        return bool(line.recv())

    try:
        while True:
            line.send(trainer.train(line.recv(), on_round))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


def start(work: Work, workers: int, devices: list[str]) -> list[Trainer]:
    """One trainer in this process, or `workers` processes that share the CPU's threads and take turns at the GPUs."""
    if workers == 1:
        return [Here(work)]
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    shared = replace(work, threads=threads)
    return [There(shared, devices[i % len(devices)] if devices else None) for i in range(workers)]


def _silent(_values: Mapping[str, float], _step: int) -> None:
    pass
