"""Predictions against the truth, joined by trip_id: RMSE, MAE, R2 and a plot, or a refusal if the two do not match."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import engine as engines
from runtime.rapids import figures, tables
from runtime.rapids.features import FEATURES_FILE, read_features
from runtime.rapids.predict import PREDICTION
from runtime.rapids.schemas import TARGET, TARGET_UNIT, TRIP_ID, id_of

if TYPE_CHECKING:
    import polars as pl

BUCKET_ROWS = 2_000_000  # joined at a time: about 100 MB, however large the tables are
PLOT_POINTS = 20_000
TWICE_PREDICTED, TWICE_TRUE = "predicted more than once", "true more than once"
UNPREDICTED, UNKNOWN, NOT_FINITE = "without a prediction", "without a true value", "with a value that is no number"
WRONG = (TWICE_PREDICTED, TWICE_TRUE, UNPREDICTED, UNKNOWN, NOT_FINITE)


@dataclass(kw_only=True)
class Ports:
    """Compare predictions with the truth, joined by trip_id or row_id: RMSE, MAE, R2 and a plot.

    Refuses rows that are predicted twice, or not at all, or whose truth is unknown.
    """

    predictions: Annotated[Path, Input("Predictions with trip_id or row_id, such as rapids_predict wrote", remote=True)]
    truth: Annotated[
        Path, Input("Table with that id and the truth, such as the held-out part of rapids_transform", remote=True)
    ]
    target: Annotated[str, Param("Column of `truth` that holds the true value")] = TARGET
    engine: Annotated[str, Param("Where the queries run", choices=engines.CHOICES)] = "auto"
    fallback: Annotated[str, Param("What becomes of a query that the GPU cannot run", choices=engines.FALLBACKS)] = (
        "cpu"
    )
    report: Annotated[Path, Output("Folder with score.json and predicted_vs_true.png")]


@component(name="rapids_score", version="1", image="rapids")
def score(ports: Ports, metrics: Metrics) -> None:
    """Write `score.json` and `predicted_vs_true.png`; log the figures."""
    engine = engines.Engine.of(ports.engine, metrics, ports.predictions, ports.fallback)
    predicted = _table("predictions", ports.predictions, PREDICTION, "__predicted")
    truth = _table("truth", ports.truth, ports.target, "__true")
    rows = {"predictions": _count(engine, predicted), "truth": _count(engine, truth)}
    centre = float(engine.collect(truth.select(_mean("__true"))).item())
    total, wrong = figures.Sums(), dict.fromkeys(WRONG, 0)
    sample: list[pl.DataFrame] = []
    for bucket in _buckets(max(rows.values())):  # each reads two columns of both tables
        with tables.reading("predictions or truth", ports.predictions):
            pairs = _pairs(engine, predicted.filter(bucket), truth.filter(bucket), wrong)
        total = figures.add(total, figures.sums(pairs["__true"].to_numpy(), pairs["__predicted"].to_numpy(), centre))
        sample.append(pairs.gather_every(max(1, -(-rows["truth"] // PLOT_POINTS))))
    _require_match(ports, rows["truth"], wrong)
    result = figures.figures(total)
    metrics.log({"rows_scored": total["rows"], **result})
    _write(ports, {"rows": int(total["rows"]), "target": ports.target, "unit": _unit(ports), **result}, sample)
    metrics.artifact(ports.report / "predicted_vs_true.png", "plots")
    metrics.artifact(ports.report / "score.json")


def _table(port: str, folder: Path, column: str, name: str) -> pl.LazyFrame:
    import polars as pl

    files = tables.listing(port, folder, (".parquet",))
    with tables.reading(port, folder):
        table = pl.scan_parquet(files)
        schema = table.collect_schema()
    id_ = id_of(schema)
    absent = [c for c in (id_, column) if c not in schema]
    if absent:
        raise BadInput.of(port, folder, f"lacks the column {', '.join(absent)}", f"it has: {', '.join(schema)}")
    if not schema[column].is_numeric() or not schema[id_].is_integer():
        wrong = f"column {column} is {schema[column]} and {id_} is {schema[id_]}"
        raise BadInput.of(port, folder, wrong, f"{column} must be a number and {id_} a whole number")
    return table.select(pl.col(id_).cast(pl.Int64).alias(TRIP_ID), pl.col(column).cast(pl.Float64).alias(name))


def _count(engine: engines.Engine, table: pl.LazyFrame) -> int:
    import polars as pl

    return int(engine.collect(table.select(pl.len())).item())


def _mean(name: str) -> pl.Expr:
    import polars as pl

    return pl.col(name).mean().fill_null(0.0)


def _buckets(rows: int) -> list[pl.Expr]:
    """Disjoint choices by trip_id that together are all rows, each of about `BUCKET_ROWS`, which a join can hold."""
    import polars as pl

    count = max(1, -(-rows // BUCKET_ROWS))
    return [pl.col(TRIP_ID) % count == number for number in range(count)]


def _pairs(engine: engines.Engine, predicted: pl.LazyFrame, truth: pl.LazyFrame, wrong: dict[str, int]) -> pl.DataFrame:
    """The trips of one bucket that stand on both sides, sorted; adds those that do not, or twice, to `wrong`."""
    import polars as pl

    joined = engine.collect(paired(predicted, truth))
    if joined[TRIP_ID].n_unique() != joined.height:
        for name, side in ((TWICE_PREDICTED, predicted), (TWICE_TRUE, truth)):
            wrong[name] += int(engine.collect(side.select(pl.len() - pl.col(TRIP_ID).n_unique())).item())
    both = joined.filter(pl.col("__in_truth") & pl.col("__in_predictions"))
    wrong[UNPREDICTED] += joined["__in_predictions"].null_count()
    wrong[UNKNOWN] += joined["__in_truth"].null_count()
    finite = both.filter(pl.col("__true").is_finite() & pl.col("__predicted").is_finite())
    wrong[NOT_FINITE] += both.height - finite.height
    return finite


def paired(predicted: pl.LazyFrame, truth: pl.LazyFrame) -> pl.LazyFrame:
    """All trips of both sides, marked with `__in_truth` and `__in_predictions`; sorted, for a join has no order."""
    import polars as pl

    mark = pl.lit(value=True)
    left, right = truth.with_columns(mark.alias("__in_truth")), predicted.with_columns(mark.alias("__in_predictions"))
    return left.join(right, on=TRIP_ID, how="full", coalesce=True).sort(TRIP_ID)


def _require_match(ports: Ports, rows: int, wrong: dict[str, int]) -> None:
    """Raises `BadInput` unless each trip stands once on either side with finite values; says how many do not."""
    bad = ", ".join(f"{count} {name}" for name, count in wrong.items() if count)
    if bad or not rows:
        text = f"does not match truth={str(ports.truth)!r}: {bad or 'truth has no rows'}"
        raise BadInput.of("predictions", ports.predictions, text, "predict exactly the trips of truth")


def _unit(ports: Ports) -> str:
    """The target's unit: as the features.json beside the truth says, or that of a fare."""
    # A file alone has none beside it that could be asked for: on the web, everything is a file.
    if ports.truth.suffix.lower() != ".parquet" and (ports.truth / FEATURES_FILE).is_file():
        said = read_features("truth", ports.truth, "rapids_transform")["target"]
        if said["name"] == ports.target:
            return str(said.get("unit", ""))
    return TARGET_UNIT if ports.target == TARGET else ""


def _write(ports: Ports, result: dict[str, float | int | str], sample: list[pl.DataFrame]) -> None:
    import polars as pl

    points = pl.concat(sample)
    ports.report.joinpath("score.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    path = ports.report / "predicted_vs_true.png"
    true, predicted = points["__true"].to_numpy(), points["__predicted"].to_numpy()
    figures.plot_predicted(path, true, predicted, ports.target, _unit(ports) or "its unit")


if __name__ == "__main__":
    sys.exit(main(score))
