"""Estimators that need no target: k-means, PCA and UMAP, by scikit-learn or cuML, each fitted on rows in memory."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, Problem

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass
class KMeans:
    """Groups of rows that lie near each other, on standardised features."""

    clusters: int = 8


@dataclass
class PCA:
    """The directions in which standardised rows differ most."""

    components: int = 2


@dataclass
class UMAP:
    """A map in which rows lie near each other that did so among all features; cuML, or umap-learn on a CPU."""

    components: int = 2
    neighbours: int = 15
    min_distance: float = 0.1


Reducer = KMeans | PCA | UMAP
NAMES: dict[str, type[Any]] = {"kmeans": KMeans, "pca": PCA, "umap": UMAP}
BOUNDS: Mapping[str, tuple[float, float]] = {
    "clusters": (2, 10_000), "components": (1, 1000), "neighbours": (2, 1000), "min_distance": (0, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Reduced:
    """What came of a fit.

    Attributes:
        model: a scikit-learn Pipeline; None where it cannot be kept, and `unkept` says why.
        apply: (N, features) float32 with NaN for missing, to (N, columns) float32.
        columns: their names.
        figures: of the fit, as metrics.
    """

    model: Any
    apply: Callable[[Array], Array]
    columns: list[str]
    figures: dict[str, float]
    unkept: str = ""


def name_of(reducer: Reducer) -> str:
    """Its key in `NAMES`."""
    return next(name for name, kind in NAMES.items() if isinstance(reducer, kind))


def check(reducer: Reducer, features: int, engine: str) -> None:
    """Raises `BadInput` with every setting that is out of its bounds, or for UMAP without a library for it."""
    problems = []
    for name, value in vars(reducer).items():
        low, high = BOUNDS[name]
        high = min(high, features) if name == "components" and isinstance(reducer, PCA) else high
        if not low <= value <= high:
            problems.append(
                Problem(f"method.{name}", value, "is out of range", f"give at least {low:g} and at most {high:g}")
            )
    if problems:
        raise BadInput(problems)
    if isinstance(reducer, UMAP) and engine == "cpu" and importlib.util.find_spec("umap") is None:
        raise BadInput.of(
            "method", "umap", "needs a GPU with cuML, or umap-learn", "pip install umap-learn, or use pca"
        )


def fit(reducer: Reducer, x: Array, seed: int, engine: str) -> Reduced:
    """Fit on (N, features) float32 rows, NaN for missing, which become the feature's median."""
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    before = Pipeline([
        ("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler()),
    ])  # fmt: skip
    plain = before.fit_transform(x).astype(np.float32)
    estimator = (_on_gpu if engine == "gpu" else _on_cpu)(reducer, seed).fit(plain)
    if isinstance(reducer, UMAP):
        why = "scikit-learn has no UMAP, and a pickle would run code when it is opened"
        return Reduced(None, lambda rows: _array(estimator.transform(before.transform(rows))), _named(reducer), {}, why)
    if engine == "gpu":
        estimator = estimator.as_sklearn()  # so that the saved model needs no GPU
    model = Pipeline([*before.steps, ("model", estimator)])
    if isinstance(reducer, KMeans):
        found = {"inertia_per_row": float(estimator.inertia_) / len(x), "iterations": float(estimator.n_iter_)}
        return Reduced(model, lambda rows: _array(model.predict(rows))[:, None], ["cluster"], found)
    shares = [float(share) for share in estimator.explained_variance_ratio_]
    figures = {f"variance_share_{i + 1}": share for i, share in enumerate(shares[:10])}
    figures["variance_share"] = math.fsum(shares)
    return Reduced(model, lambda rows: _array(model.transform(rows)), _named(reducer), figures)


def _named(reducer: PCA | UMAP) -> list[str]:
    return [f"{name_of(reducer)}_{i + 1}" for i in range(reducer.components)]


def _array(values: Any) -> Array:
    import numpy as np

    return np.asarray(values, dtype=np.float32)


def _on_cpu(reducer: Reducer, seed: int) -> Any:
    import sklearn.cluster
    import sklearn.decomposition

    if isinstance(reducer, KMeans):
        return sklearn.cluster.KMeans(n_clusters=reducer.clusters, n_init=1, random_state=seed)
    if isinstance(reducer, PCA):
        return sklearn.decomposition.PCA(n_components=reducer.components, svd_solver="full", random_state=seed)
    import umap

    return umap.UMAP(
        n_components=reducer.components, n_neighbors=reducer.neighbours, min_dist=reducer.min_distance,
        random_state=seed, n_jobs=1,  # with a seed it takes no more, and warns
    )  # fmt: skip


def _on_gpu(reducer: Reducer, seed: int) -> Any:
    """The same estimators of cuML. Source: docs.rapids.ai/api/cuml (26.10)."""
    import cuml

    if isinstance(reducer, KMeans):
        return cuml.KMeans(n_clusters=reducer.clusters, n_init=1, random_state=seed)
    if isinstance(reducer, PCA):
        return cuml.PCA(n_components=reducer.components, svd_solver="full")
    return cuml.UMAP(
        n_components=reducer.components, n_neighbors=reducer.neighbours, min_dist=reducer.min_distance,
        random_state=seed,
    )  # fmt: skip
