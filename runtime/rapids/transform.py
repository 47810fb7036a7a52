"""Canonical trips to float32 features, split into a training and a held-out part."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from runtime.component import Group, Input, Output, Param, component
from runtime.errors import BadInput
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import duckdb_check, tables
from runtime.rapids import engine as engines
from runtime.rapids.features import NO_LIMITS, Limits, drop_tests, feature_expressions, write_features
from runtime.rapids.prepare import check_sum
from runtime.rapids.schemas import CANONICAL, TARGET, TRIP_ID

if TYPE_CHECKING:
    import polars as pl

_REASON, PART = "__reason", "part-00000.parquet"


@dataclass(kw_only=True)
class Ports:
    """Filter implausible trips, each reason counted, make float32 features of the rest, and hold out a test part.

    The split depends on the trip_id alone, so it is the same on every engine.
    """

    prepared: Annotated[Path, Input("Dataset that rapids_prepare wrote")]
    limits: Annotated[
        Limits, Group("What a plausible trip stays within", options={"nyc": Limits(), "none": NO_LIMITS})
    ] = field(default_factory=Limits)
    test_share: Annotated[float, Param("Share of the trips that is held out", minimum=0.001, maximum=0.9)] = 0.2
    seed: Annotated[int, Param("Which trips are held out", minimum=0, maximum=1_000_000)] = 0
    engine: Annotated[str, Param("Where the queries run", choices=engines.QUERY_CHOICES)] = "auto"
    train: Annotated[Path, Output("Parquet dataset with trip_id, features and target, and features.json")]
    test: Annotated[Path, Output("The held-out part, laid out the same")]


@component(name="rapids_transform", version="1", image="rapids")
def transform(ports: Ports, metrics: Metrics) -> None:
    """Write `part-00000.parquet` and `features.json` into `train` and `test`; log the rows by reason."""
    engine = engines.Engine.of(ports.engine, metrics, ports.prepared)
    files = tables.listing("prepared", ports.prepared, (".parquet",))
    with tables.reading("prepared", ports.prepared):
        query, reasons = _scan(files, ports)
        held_out = in_share(ports.test_share, ports.seed)
        row = engine.collect(_summary(query, reasons, held_out)).row(0, named=True)
        counts = {key: n for key, n in row.items() if key.startswith("rows_") and (n or "dropped" not in key)}
        metrics.log(counts)
        check_sum({key: n for key, n in counts.items() if key.split("_")[1] in ("read", "kept", "dropped")})
        _require_rows(ports, counts)
        names = [name for name in feature_expressions() if row[f"present_{name}"]]
        absent = [name for name in feature_expressions() if name not in names]
        metrics.tags({"features": ", ".join(names), "features_left_out": ", ".join(absent) or "none"})
        metrics.log({"features": len(names)})
        kept = query.filter(_is_kept()).select(TRIP_ID, *names, TARGET, held_out.alias("__held_out"))
        _write(engine, kept, ports, [TRIP_ID, *names, TARGET])
    for folder, part in ((ports.train, "train"), (ports.test, "test")):
        held = part == "test"
        given = (files, ports.limits, names, (ports.test_share, ports.seed))
        engine.check(folder / PART, partial(duckdb_check.transformed_sql, *given, held=held))
        write_features(folder, names, left_out=absent, part=part, rows=row[f"rows_{part}"])


def _scan(files: list[Path], ports: Ports) -> tuple[pl.LazyFrame, list[str]]:
    """The trips with features, target and the number of the reason why each is dropped (or null)."""
    import polars as pl

    trips = pl.scan_parquet(files)
    missing = [name for name in (TRIP_ID, *CANONICAL) if name not in trips.collect_schema()]
    if missing:
        raise BadInput.of(
            "prepared", ports.prepared, f"lacks {', '.join(missing)}", "give the output of rapids_prepare"
        )
    tests = drop_tests(ports.limits)
    reason = pl.lit(None, dtype=pl.Int8)
    for number, test in reversed(list(enumerate(tests.values()))):
        reason = pl.when(test).then(pl.lit(number, dtype=pl.Int8)).otherwise(reason)
    features = feature_expressions().values()
    return trips.select(TRIP_ID, *features, pl.col(TARGET).cast(pl.Float32), reason.alias(_REASON)), list(tests)


def _summary(query: pl.LazyFrame, reasons: list[str], held_out: pl.Expr) -> pl.LazyFrame:
    """One row: rows read, kept, dropped by reason, in each part, and for each feature how many kept rows have it."""
    import polars as pl

    kept = _is_kept()
    present = [(kept & pl.col(n).is_not_null()).sum().alias(f"present_{n}") for n in feature_expressions()]
    return query.select(
        pl.len().alias("rows_read"),
        kept.sum().alias("rows_kept"),
        *[(pl.col(_REASON) == i).sum().alias(f"rows_dropped_{reason}") for i, reason in enumerate(reasons)],
        (kept & ~held_out).sum().alias("rows_train"),
        (kept & held_out).sum().alias("rows_test"),
        *present,
    )


def in_share(share: float, seed: int, stride: int = 7919) -> pl.Expr:
    """Whether a trip is in the chosen share, by arithmetic on its trip_id.

    Not by `hash`, which differs between CPU and GPU, nor by `sample`, which the GPU lacks. `stride` has no factor in
    common with 10,000, so any 10,000 neighbours spread over all residues and every stretch of a file keeps the share.
    """
    import polars as pl

    residue = ((pl.col(TRIP_ID) % 1_000_003) * stride + seed * 104_729) % 10_000
    return residue < round(share * 10_000)


def _is_kept() -> pl.Expr:
    import polars as pl

    return pl.col(_REASON).is_null()


def _require_rows(ports: Ports, counts: dict[str, int]) -> None:
    if counts["rows_kept"] == 0:
        reasons = ", ".join(f"{k.removeprefix('rows_dropped_')} {n}" for k, n in counts.items() if "dropped" in k)
        wrong = f"no row of {counts['rows_read']} is left ({reasons or 'the dataset is empty'})"
        raise BadInput.of("prepared", ports.prepared, wrong, "widen limits, such as limits=none, or check the columns")
    for part in ("train", "test"):
        if counts[f"rows_{part}"] == 0:
            wrong = f"leaves no row in {part} of the {counts['rows_kept']} kept"
            raise BadInput.of("test_share", ports.test_share, wrong, "give more trips or another share")


def _write(engine: engines.Engine, kept: pl.LazyFrame, ports: Ports, columns: list[str]) -> None:
    import polars as pl

    held_out = pl.col("__held_out")
    parts = {
        ports.train / PART: kept.filter(~held_out).select(columns),
        ports.test / PART: kept.filter(held_out).select(columns),
    }
    engine.write(parts, kept.select(pl.len()))


if __name__ == "__main__":
    sys.exit(main(transform))
