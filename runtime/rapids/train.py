"""Features to a fare model in an MLflow model folder, with its figures on the held-out part."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.component import Group, Input, Output, Param, component
from runtime.errors import BadInput
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import engine as engines
from runtime.rapids import figures, learners, model_folder, tables
from runtime.rapids.features import read_features
from runtime.rapids.learners import Linear, RandomForest, XGBoost
from runtime.rapids.schemas import TRIP_ID
from runtime.rapids.transform import in_share

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(kw_only=True)
class Ports:
    """Train a fare regression (linear, random forest or XGBoost) and write it as an MLflow model folder.

    With it go its feature list and a sample of real rows. RMSE, MAE and R2 are those on the held-out part.
    """

    train: Annotated[Path, Input("The training part that rapids_transform wrote")]
    test: Annotated[Path, Input("The held-out part that rapids_transform wrote")]
    model: Annotated[XGBoost | RandomForest | Linear, Group("What is trained", options=learners.NAMES)] = field(
        default_factory=XGBoost
    )
    validation_share: Annotated[
        float,
        Param("Share of the training part kept for validation and early stopping; 0 for none", minimum=0, maximum=0.5),
    ] = 0.1
    seed: Annotated[int, Param("Seed of all that is random", minimum=0, maximum=1_000_000)] = 0
    engine: Annotated[str, Param("Where it trains", choices=engines.CHOICES)] = "auto"
    trained: Annotated[
        Path, Output("MLflow model folder with features.json, sample.parquet and importances.png", type="mlflow_model")
    ]


@component(name="rapids_train", version="1", image="rapids")
def train(ports: Ports, metrics: Metrics) -> None:
    """Write the model folder; log XGBoost's RMSE of each round as it ends, and the figures of the held-out part."""
    learners.check(ports.model)
    learner = learners.name_of(ports.model)
    engine = engines.choose(ports.engine, learners.GPU_PACKAGE[learner], metrics)
    content = _same_features(ports)
    features, target = [f["name"] for f in content["features"]], content["target"]["name"]
    files = {name: tables.listing(name, getattr(ports, name), (".parquet",)) for name in ("train", "test")}
    for name, paths in files.items():
        _require_target(name, paths, features, target)
    data = Data(files["train"], features, target, ports.validation_share, ports.seed)
    validation = data.validation if ports.validation_share and _rows(data.validation()) else None
    task = learners.Task(features, data.training, validation, ports.seed, engine, metrics.log)
    fitted = learners.fit(ports.model, task)
    sample = next(tables.batches(files["test"], features))
    model_folder.save(ports.trained, fitted.model, content | {"learner": learner}, sample)
    figures.plot_importances(ports.trained / "importances.png", fitted.importances)
    predict, _ = model_folder.load("trained", ports.trained)
    metrics.log(_scores(predict, Data(files["test"], features, target, 0, 0).training))
    if learner != "xgboost":  # which has logged its own, round by round
        for part, batches in (("train", data.training), ("validation", validation)):
            metrics.log({f"{part}_{k}": v for k, v in _scores(predict, batches).items()} if batches else {})
    metrics.log({f"importance_{name}": share for name, share in fitted.importances.items()})
    metrics.artifact(ports.trained / "importances.png", "plots")


@dataclass(frozen=True)
class Data:
    """A feature table read in batches of (N, features) float32 and (N,) float32, split for validation by trip_id."""

    files: list[Path]
    features: list[str]
    target: str
    validation_share: float
    seed: int

    def training(self) -> Iterator[tuple[Array, Array]]:
        """The rows to learn from."""
        return self._batches(validation=False)

    def validation(self) -> Iterator[tuple[Array, Array]]:
        """The rows kept back from the training part."""
        return self._batches(validation=True)

    def _batches(self, *, validation: bool) -> Iterator[tuple[Array, Array]]:
        import polars as pl

        # Another stride than the held-out part's: the two choices do not depend on each other.
        chosen = in_share(self.validation_share, self.seed, stride=6007) == pl.lit(validation)
        for batch in tables.batches(self.files, [TRIP_ID, *self.features, self.target]):
            rows = batch.filter(chosen)
            if rows.height:
                yield rows.select(self.features).to_numpy(order="c"), rows[self.target].to_numpy()


def _same_features(ports: Ports) -> dict[str, Any]:
    train_part, test_part = (read_features(n, getattr(ports, n), "rapids_transform") for n in ("train", "test"))
    for key in ("features", "target"):
        if train_part[key] != test_part[key]:
            raise BadInput.of(
                "test", ports.test, f"has other {key} than train", "give both parts of one rapids_transform"
            )
    return train_part


def _require_target(port: str, files: list[Path], features: list[str], target: str) -> None:
    """Refuse a table that lacks a column, has no rows, or has rows without a target."""
    import polars as pl

    folder = files[0].parent
    with tables.reading(port, folder):
        table = pl.scan_parquet(files)
        absent = [name for name in (TRIP_ID, *features, target) if name not in table.collect_schema()]
        if absent:
            raise BadInput.of(
                port, folder, f"lacks the column {', '.join(absent)}", "give the output of rapids_transform"
            )
        bad = pl.col(target).is_null() | ~pl.col(target).is_finite()
        rows, missing = table.select(pl.len(), bad.sum().alias("bad")).collect(engine="streaming").row(0)
    if rows == 0:
        raise BadInput.of(port, folder, "has no rows", "give more trips")
    if missing:
        raise BadInput.of(
            port,
            folder,
            f"{target} is missing or not finite in {missing} of {rows} rows",
            "drop them: rapids_transform does",
        )


def _rows(batches: Iterator[tuple[Array, Array]]) -> int:
    return sum(y.size for _, y in batches)


def _scores(predict: model_folder.Predict, batches: learners.Batches) -> dict[str, float]:
    total: figures.Sums = {}
    centre: float | None = None
    for x, y in batches():
        centre = float(y.mean()) if centre is None else centre
        total = figures.add(total, figures.sums(y, predict(x), centre))
    return figures.figures(total) if total else {}


if __name__ == "__main__":
    sys.exit(main(train))
