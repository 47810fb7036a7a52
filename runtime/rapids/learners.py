"""The three learners behind one seam: their settings, and fitting them on the CPU or the GPU."""

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


Learner = XGBoost | RandomForest | Linear
NAMES: dict[str, type[Any]] = {"xgboost": XGBoost, "random_forest": RandomForest, "linear": Linear}
BOOSTER_PARAMS = ("max_depth", "learning_rate", "min_child_weight", "subsample", "reg_lambda", "max_bin")
# Which package fits each on a GPU.
GPU_PACKAGE = {"xgboost": "xgboost", "random_forest": "cuml", "linear": "cuml"}
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
}


def name_of(learner: Learner) -> str:
    """`xgboost`, `random_forest` or `linear`."""
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
    if isinstance(learner, Linear):
        steps.append(("scale", StandardScaler()))
    for _, step in steps:
        x = step.fit_transform(x)
    estimator = (_gpu_estimator if task.engine == "gpu" else _cpu_estimator)(learner, task.seed).fit(x, y)
    if task.engine == "gpu":
        estimator = estimator.as_sklearn()  # so that the saved model needs no GPU
    weights = np.abs(estimator.coef_) if isinstance(learner, Linear) else estimator.feature_importances_
    importances = shares(dict(zip(task.features, (float(w) for w in weights), strict=True)))
    return Fitted(Pipeline([*steps, ("model", estimator)]), importances)


def _cpu_estimator(learner: Learner, seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression, Ridge

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
