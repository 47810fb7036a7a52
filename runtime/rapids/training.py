"""What every step that trains does alike: it reads the two parts, fits one model, writes its folder and its figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.metrics import Metrics
from runtime.rapids import figures, learners, model_folder, sources, tables
from runtime.rapids.features import read_features
from runtime.rapids.schemas import TRIP_ID
from runtime.rapids.transform import in_share

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Parts:
    """The training part and the held-out part: their files, and their `features.json`, which agree."""

    content: dict[str, Any]
    train: list[Path]
    test: list[Path]

    @property
    def features(self) -> list[str]:
        """The features' names, in order."""
        return [feature["name"] for feature in self.content["features"]]

    @property
    def target(self) -> str:
        """The target's name."""
        return str(self.content["target"]["name"])

    @property
    def id(self) -> str:
        """The column that numbers the rows."""
        return str(self.content.get("id", TRIP_ID))

    def rows(self) -> int:
        """The rows of the training part, by the files' footers."""
        import polars as pl

        return int(pl.scan_parquet(self.train).select(pl.len()).collect(engine="streaming").item())

    def training(self, validation_share: float, seed: int) -> Data:
        """The rows of the training part."""
        return Data(self.train, self.features, self.target, validation_share, seed, self.id)

    def held_out(self) -> Data:
        """The rows of the held-out part."""
        return Data(self.test, self.features, self.target, 0, 0, self.id)


def open_parts(train: Path, test: Path, metrics: Metrics) -> Parts:
    """Both outputs of one rapids_transform, told to `metrics`; raises `BadInput` for anything else."""
    content = _same_features(train, test)
    files = {name: tables.listing(name, path, (".parquet",)) for name, path in (("train", train), ("test", test))}
    parts = Parts(content, files["train"], files["test"])
    sources.log(metrics, "train", train, files["train"])
    sources.log(metrics, "test", test, files["test"])
    for name, paths in files.items():
        _require_target(name, paths, [parts.id, *parts.features], parts.target)
    return parts


@dataclass(frozen=True)
class Data:
    """A feature table read in batches of (N, features) float32 and (N,) float32, split for validation by trip_id."""

    files: list[Path]
    features: list[str]
    target: str
    validation_share: float
    seed: int
    id: str = TRIP_ID
    share: float = 1.0  # of the rows to learn from

    def training(self) -> Iterator[tuple[Array, Array]]:
        """The rows to learn from."""
        return self._batches(validation=False)

    def validation(self) -> Iterator[tuple[Array, Array]]:
        """The rows kept back from the training part."""
        return self._batches(validation=True)

    def any_rows(self, *, validation: bool) -> bool:
        """Whether there is a row to learn from, or one that is kept back; reads no further than the first."""
        return any(
            frame.filter(self._chosen(validation=validation)).height for frame in tables.batches(self.files, [self.id])
        )

    def _batches(self, *, validation: bool) -> Iterator[tuple[Array, Array]]:
        for batch in tables.batches(self.files, [self.id, *self.features, self.target]):
            x, y = self.rows(batch, validation=validation)
            if len(y):
                yield x, y

    def rows(self, frame: pl.DataFrame, *, validation: bool) -> tuple[Array, Array]:
        """Of a frame's rows those to learn from, or those kept back: (N, features) and (N,) float32."""
        rows = frame.filter(self._chosen(validation=validation))
        return rows.select(self.features).to_numpy(order="c"), rows[self.target].to_numpy()

    def _chosen(self, *, validation: bool) -> pl.Expr:
        import polars as pl

        # Another stride than the held-out part's: the two choices do not depend on each other.
        chosen = in_share(self.validation_share, self.seed, stride=6007, column=self.id) == pl.lit(validation)
        if self.share < 1 and not validation:
            chosen = chosen & in_share(self.share, self.seed, stride=4409, column=self.id)
        return chosen


def write_model(
    folder: Path, fitted: learners.Fitted, learner: learners.Learner, parts: Parts, metrics: Metrics
) -> dict[str, float]:
    """Write the model folder with its sample and its plot; log and return the figures of the held-out part."""
    sample = next(tables.batches(parts.test, parts.features))
    name = learners.name_of(learner)
    content = parts.content | {"learner": name, "settings": dict(vars(learner))}
    model_folder.save(folder, fitted.model, content, sample)
    figures.plot_importances(folder / "importances.png", fitted.importances)
    predict, _ = model_folder.load("trained", folder)
    found = scores(predict, parts.held_out().training)
    metrics.log(found)
    metrics.log({f"importance_{name}": share for name, share in fitted.importances.items()})
    metrics.artifact(folder / "importances.png", "plots")
    metrics.artifact(folder, "model")
    return found


def scores(predict: model_folder.Predict, batches: learners.Batches) -> dict[str, float]:
    """`rmse`, `mae` and `r2` of a model on rows; empty where there are none."""
    total: figures.Sums = {}
    centre: float | None = None
    for x, y in batches():
        centre = float(y.mean()) if centre is None else centre
        total = figures.add(total, figures.sums(y, predict(x), centre))
    return figures.figures(total) if total else {}


def _same_features(train: Path, test: Path) -> dict[str, Any]:
    train_part, test_part = (read_features(n, p, "rapids_transform") for n, p in (("train", train), ("test", test)))
    for key in ("features", "target"):
        if train_part[key] != test_part[key]:
            raise BadInput.of("test", test, f"has other {key} than train", "give both parts of one rapids_transform")
    return train_part


def _require_target(port: str, files: list[Path], columns: list[str], target: str) -> None:
    """Refuse a table that lacks a column, has no rows, or has rows without a target."""
    import polars as pl

    folder = files[0].parent
    with tables.reading(port, folder):
        table = pl.scan_parquet(files)
        absent = [name for name in (*columns, target) if name not in table.collect_schema()]
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
