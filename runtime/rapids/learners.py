"""The learners behind one seam: their settings, and fitting them on the CPU or the GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, Problem

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Batches = Callable[[], Iterator[tuple[Array, Array]]]  # (N, features) float32 with NaN for missing, (N,) float32


@dataclass
class XGBoost:
    """Gradient boosted trees; missing values are left to XGBoost."""

    rounds: int = 100
    max_depth: int = 8
    learning_rate: float = 0.1
    min_child_weight: float = 1.0
    subsample: float = 1.0
    reg_lambda: float = 1.0
    max_bin: int = 256
    early_stopping_rounds: int = 20


@dataclass
class RandomForest:
    """Averaged trees on all rows; missing values become the feature's median."""

    trees: int = 40
    max_depth: int = 12
    min_samples_leaf: int = 5
    max_features: float = 0.6


@dataclass
class Linear:
    """Least squares on standardised features, with a ridge when `l2` is above 0; missing values become the median."""

    l2: float = 0.0


@dataclass
class Neighbours:
    """The mean of the nearest rows, on standardised features; missing values become the median.

    It keeps `max_rows` of the training rows, evenly spread, and looks at all of them for each prediction.
    """

    neighbours: int = 20
    max_rows: int = 20_000


Learner = XGBoost | RandomForest | Linear | Neighbours
NAMES: dict[str, type[Any]] = {
    "xgboost": XGBoost, "random_forest": RandomForest, "linear": Linear, "neighbours": Neighbours,
}  # fmt: skip
JUDGED_BY = 500  # rows whose features are shuffled, to see what a model without weights of its own makes of them
BOOSTER_PARAMS = ("max_depth", "learning_rate", "min_child_weight", "subsample", "reg_lambda", "max_bin")
# Which package fits each on a GPU.
GPU_PACKAGE = {"xgboost": "xgboost", "random_forest": "cuml", "linear": "cuml", "neighbours": "cuml"}
# Inclusive bounds of each setting.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "rounds": (1, math.inf),
    "max_depth": (1, 64),
    "learning_rate": (1e-6, 1),
    "min_child_weight": (0, math.inf),
    "subsample": (0.01, 1),
    "reg_lambda": (0, math.inf),
    "max_bin": (2, 65_536),
    "early_stopping_rounds": (0, math.inf),
    "trees": (1, math.inf),
    "min_samples_leaf": (1, math.inf),
    "max_features": (0.01, 1),
    "l2": (0, math.inf),
    "neighbours": (1, 1000),
    "max_rows": (1, 1_000_000),
}


def name_of(learner: Learner) -> str:
    """Its key in `NAMES`."""
    return next(name for name, kind in NAMES.items() if isinstance(learner, kind))


def check(learner: Learner) -> None:
    """Raises `BadInput` with every setting that is out of its bounds."""
    problems = []
    for name, value in vars(learner).items():
        low, high = BOUNDS[name]
        if not low <= value <= high:
            todo = f"give at least {low:g}" + ("" if math.isinf(high) else f" and at most {high:g}")
            problems.append(Problem(f"model.{name}", value, "is out of range", todo))
    if problems:
        raise BadInput(problems)


@dataclass(frozen=True)
class Fitted:
    """A model (a Booster, or a scikit-learn Pipeline) and each feature's share of its importance, summing to 1."""

    model: Any
    importances: dict[str, float]


@dataclass(frozen=True)
class Task:
    """What to fit on, and where; `log(values, step)` gets XGBoost's figures of each round as it ends.

    `threads`: of the CPU for XGBoost; 0 for all. `cache`: the folder for XGBoost's bins; empty to keep them in memory.
    """

    features: list[str]
    train: Batches
    validation: Batches | None
    seed: int
    engine: str
    log: Callable[[Mapping[str, float], int], None]
    threads: int = 0
    cache: str = ""


def fit(learner: Learner, task: Task) -> Fitted:
    """Fit the learner on the batches of `task.train`."""
    if isinstance(learner, XGBoost):
        from runtime.rapids import boosting

        return boosting.fit(learner, task)
    import numpy as np

    parts = list(task.train())
    x, y = np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
    del parts
    return _fit_pipeline(learner, task, x, y)


def _fit_pipeline(learner: Learner, task: Task, x: Array, y: Array) -> Fitted:
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    steps: list[tuple[str, Any]] = [("impute", SimpleImputer(strategy="median", keep_empty_features=True))]
    if isinstance(learner, Linear | Neighbours):
        steps.append(("scale", StandardScaler()))
    for _, step in steps:
        x = step.fit_transform(x)
    if isinstance(learner, Neighbours):
        every = max(1, -(-len(x) // learner.max_rows))
        x, y = x[::every], y[::every]
        if len(x) < learner.neighbours:
            todo = f"give at most {len(x)}, the rows to learn from"
            raise BadInput.of("model.neighbours", learner.neighbours, "is more than there are rows", todo)
    estimator = (_gpu_estimator if task.engine == "gpu" else _cpu_estimator)(learner, task.seed).fit(x, y)
    if task.engine == "gpu":
        estimator = estimator.as_sklearn()  # so that the saved model needs no GPU
    if isinstance(learner, Neighbours):
        weights = _shuffled(estimator, x, y, task.seed)
    else:
        weights = np.abs(estimator.coef_) if isinstance(learner, Linear) else estimator.feature_importances_
    importances = shares(dict(zip(task.features, (float(w) for w in weights), strict=True)))
    return Fitted(Pipeline([*steps, ("model", estimator)]), importances)


def _shuffled(estimator: Any, x: Array, y: Array, seed: int) -> Array:
    """How much worse the model gets with each feature shuffled among some rows; not below 0."""
    import numpy as np
    from sklearn.inspection import permutation_importance

    every = max(1, len(x) // JUDGED_BY)
    found = permutation_importance(estimator, x[::every], y[::every], n_repeats=3, random_state=seed)
    return np.asarray(np.maximum(found.importances_mean, 0.0))


def _cpu_estimator(learner: Learner, seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression, Ridge
    from sklearn.neighbors import KNeighborsRegressor

    if isinstance(learner, Neighbours):
        return KNeighborsRegressor(n_neighbors=learner.neighbours, algorithm="brute")

    if isinstance(learner, RandomForest):
        return RandomForestRegressor(
            n_estimators=learner.trees,
            max_depth=learner.max_depth,
            min_samples_leaf=learner.min_samples_leaf,
            max_features=learner.max_features,
            random_state=seed,
            n_jobs=-1,
        )
    return Ridge(alpha=learner.l2) if isinstance(learner, Linear) and learner.l2 else LinearRegression()


def _gpu_estimator(learner: Learner, seed: int) -> Any:
    """The same estimators of cuML. Source: docs.rapids.ai/api/cuml (26.10)."""
    from cuml.ensemble import RandomForestRegressor
    from cuml.linear_model import LinearRegression, Ridge
    from cuml.neighbors import KNeighborsRegressor

    if isinstance(learner, Neighbours):
        return KNeighborsRegressor(n_neighbors=learner.neighbours, algorithm="brute")

    if isinstance(learner, RandomForest):
        return RandomForestRegressor(
            n_estimators=learner.trees,
            max_depth=learner.max_depth,
            min_samples_leaf=learner.min_samples_leaf,
            max_features=learner.max_features,
            random_state=seed,
            n_streams=1,  # more streams make the forest depend on their timing
        )
    return Ridge(alpha=learner.l2) if isinstance(learner, Linear) and learner.l2 else LinearRegression()


def shares(weights: dict[str, float]) -> dict[str, float]:
    """The weights, so that they sum to 1."""
    total = sum(weights.values()) or 1.0
    return {name: weight / total for name, weight in weights.items()}
