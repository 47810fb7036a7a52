"""XGBoost on quantised matrices, which are built once and may be trained on many times."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import lean_import
from runtime.rapids.learners import BOOSTER_PARAMS, Fitted, Task, XGBoost, shares

if TYPE_CHECKING:
    from runtime.rapids.learners import Array, Batches

HELD_BYTES = 256 << 20  # of rows that XGBoost is still asking for: five million of twelve features
PLACES = ("auto", "memory", "disk")
CGROUP = [
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
]

# (scores by part, 0-based round) as a round ends; True stops the training
OnRound = Callable[[Mapping[str, float], int], bool]


@dataclass(frozen=True)
class Matrices:
    """A QuantileDMatrix to learn from, and one with the same bins to stop by."""

    train: Any
    validation: Any | None


@dataclass(frozen=True)
class Boosted:
    """A Booster of the trees up to its best round, how many rounds those are, and its validation RMSE."""

    booster: Any
    rounds: int
    validation_rmse: float | None


def matrices(task: Task, max_bin: int) -> Matrices:
    """Read the batches and keep them as bins, a byte a value up to 256 bins.

    XGBoost 3.4.1 goes over the rows to learn from four times, and over those to stop by three times; few rows are
    decoded once and held as floats until their bins are there, many are read anew each time.
    With `task.cache` the bins lie in files there, which XGBoost removes with the matrix; the trees are the same.
    """
    xgboost = lean_import.xgboost()

    how = {"max_bin": max_bin, "nthread": task.threads or None}
    kind = xgboost.ExtMemQuantileDMatrix if task.cache else xgboost.QuantileDMatrix

    def made(batches: Batches, part: str, **more: Any) -> Any:
        held = _Held(batches, 0 if task.cache else min(HELD_BYTES, free_bytes() // 4))
        matrix = kind(_data_iter(held, task, part), **how, **more)
        held.release()
        return matrix

    train = made(task.train, "train")
    return Matrices(train, None if task.validation is None else made(task.validation, "validation", ref=train))


def place(wanted: str, rows: int, features: int, free: int) -> str:
    """`memory` or `disk`: where the bins of so many rows go for `wanted`, one of `PLACES`, with `free` bytes of memory.

    The bins of 7.0 million rows of 12 features made a process of 975 MiB, 96 bytes a row with what a training adds, and
    the same on disk one of 765 MiB, which took longer (XGBoost 3.4.1, two threads, ten rounds).
    """
    if wanted != "auto":
        return wanted
    return "disk" if rows * (2 * features + 72) > free else "memory"


def free_bytes() -> int:
    """The memory that this process may still take: of the machine, or what a container's limit leaves of it."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return sys.maxsize
    free = next(int(line.split()[1]) << 10 for line in meminfo.read_text().splitlines() if "MemAvailable" in line)
    for limit, used in CGROUP:  # Source: the kernel's cgroup-v2.rst and cgroup-v1/memory.rst
        if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def boost(learner: XGBoost, data: Matrices, task: Task, on_round: OnRound, *, watch_train: bool = True) -> Boosted:
    """Train once; stops early where the learner says so and there are rows to stop by.

    Args:
        learner: its `max_bin` must be that of `data`.
        data: what `matrices` made.
        task: the seed, the engine and the threads of it.
        on_round: told each round as it ends.
        watch_train: whether each round is also scored on the training rows, which costs a pass over them.
    """
    import xgboost

    class Rounds(xgboost.callback.TrainingCallback):  # type: ignore[misc] # xgboost publishes no types
        def after_iteration(self, _model: Any, epoch: int, evals_log: Any) -> bool:
            return on_round({part: scores["rmse"][-1] for part, scores in evals_log.items()}, epoch)

    params = params_of(learner, task)
    evals = [(data.train, "train")] if watch_train or data.validation is None else []
    evals += [(data.validation, "validation")] if data.validation is not None else []
    patience = learner.early_stopping_rounds or None if data.validation is not None else None
    seen: dict[str, dict[str, list[float]]] = {}
    how = {"evals": evals, "early_stopping_rounds": patience, "callbacks": [Rounds()], "verbose_eval": False}
    booster = xgboost.train(params, data.train, learner.rounds, evals_result=seen, **how)
    return up_to_the_best(booster, seen, early=bool(patience))


def up_to_the_best(booster: Any, seen: Mapping[str, Mapping[str, list[float]]], *, early: bool) -> Boosted:
    """The booster as it is kept; `early`: only up to the round with the best score on the rows to stop by."""
    best = booster.num_boosted_rounds() - 1
    if early:
        # Not `best_iteration`: it misses the round at which `on_round` said to stop.
        best = min(range(best + 1), key=seen["validation"]["rmse"].__getitem__)
        # ONNX, Treelite and Booster.predict take every tree there is: those after the best round must go.
        booster = booster[: best + 1]
    booster.set_param({"device": "cpu"})
    rmse = seen["validation"]["rmse"][best] if "validation" in seen else None
    return Boosted(booster, best + 1, rmse)


def params_of(learner: XGBoost, task: Task) -> dict[str, Any]:
    """What XGBoost is told of a learner and of where it trains."""
    return {
        "objective": "reg:squarederror",
        "tree_method": "hist",
        "device": "cuda" if task.engine == "gpu" else "cpu",
        "seed": task.seed,
        **({"nthread": task.threads} if task.threads else {}),
        **{name: value for name, value in vars(learner).items() if name in BOOSTER_PARAMS},
    }


def fit(learner: XGBoost, task: Task, data: Matrices | None = None) -> Fitted:
    """Train, logging each round; then once more the validation RMSE of the model as it is kept, so that it is the last.

    `data`: matrices that are there already.
    """
    told: list[Mapping[str, float]] = []

    def on_round(scores: Mapping[str, float], epoch: int) -> bool:
        told.append(scores)
        task.log({f"{part}_rmse": rmse for part, rmse in scores.items()}, epoch)
        return False

    made = boost(learner, data or matrices(task, learner.max_bin), task, on_round)
    return fitted(made, told, task)


def fitted(made: Boosted, told: list[Mapping[str, float]], task: Task) -> Fitted:
    """What was trained, with the share of each feature; `told`: the scores of each round, which are logged already."""
    if made.validation_rmse is not None and made.validation_rmse != told[-1]["validation"]:
        task.log({"validation_rmse": made.validation_rmse}, len(told))
    gain = made.booster.get_score(importance_type="total_gain")
    return Fitted(made.booster, shares({name: float(gain.get(name, 0.0)) for name in task.features}))


class _Held:
    """Batches that are read once where all of them are at most `limit` bytes, and otherwise each time."""

    def __init__(self, batches: Batches, limit: int) -> None:
        self._batches, self._limit = batches, limit
        self._fits = True
        self._seen: list[tuple[Array, Array]] | None = None  # all of them, once they were all read

    def __call__(self) -> Iterator[tuple[Array, Array]]:
        return self._read() if self._seen is None else iter(self._seen)

    def _read(self) -> Iterator[tuple[Array, Array]]:
        seen, size = [], 0
        for x, y in self._batches():
            size += x.nbytes + y.nbytes
            self._fits = self._fits and size <= self._limit
            if self._fits:
                seen.append((x, y))
            else:
                seen.clear()
            yield x, y
        self._seen = seen if self._fits else None

    def release(self) -> None:
        """Let go of them now: the iterator is in a cycle, which Python may not look for before the training ends."""
        if self._seen is not None:
            self._seen.clear()
        self._seen = None


def _data_iter(batches: Batches, task: Task, part: str) -> Any:
    """XGBoost's iterator over batches."""
    import xgboost

    class Iterating(xgboost.DataIter):  # type: ignore[misc] # xgboost publishes no types
        def __init__(self) -> None:
            super().__init__(cache_prefix=str(Path(task.cache) / part) if task.cache else None)
            self.rest = batches()

        def reset(self) -> None:
            self.rest = batches()

        def next(self, input_data: Callable[..., None]) -> bool:
            for x, y in self.rest:
                input_data(data=_on(task.engine, x), label=_on(task.engine, y), feature_names=task.features)
                return True
            return False

    return Iterating()


def _on(engine: str, array: Array) -> Any:
    """The array where the engine wants it; cupy comes with cuML."""
    if engine != "gpu":
        return array
    try:
        import cupy
    except ImportError:
        return array  # XGBoost copies it to the device itself
    return cupy.asarray(array)
