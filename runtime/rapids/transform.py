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
from runtime.rapids import cluster, duckdb_check, sources, tables
from runtime.rapids import engine as engines
from runtime.rapids.features import NO_LIMITS, Limits, drop_tests, feature_expressions, write_features
from runtime.rapids.prepare import check_sum
from runtime.rapids.schemas import CANONICAL, TARGET, TRIP_ID

if TYPE_CHECKING:
    import polars as pl

_REASON, _HELD_OUT = "__reason", "__held_out"
PART, _PIECE = "part-00000.parquet", "part-{:05d}.parquet"
LOOKED_AT_ROWS = 10_000  # of a dataset, to see which columns it has


@dataclass(kw_only=True)
class Ports:
    """Filter implausible trips, each reason counted, make float32 features of the rest, and hold out a test part.

    The split depends on the trip_id alone, so it is the same on every engine.
    """

    prepared: Annotated[Path, Input("Dataset that rapids_prepare wrote", remote=True)]
    limits: Annotated[
        Limits, Group("What a plausible trip stays within", options={"nyc": Limits(), "none": NO_LIMITS})
    ] = field(default_factory=Limits)
    test_share: Annotated[float, Param("Share of the trips that is held out", minimum=0.001, maximum=0.9)] = 0.2
    seed: Annotated[int, Param("Which trips are held out", minimum=0, maximum=1_000_000)] = 0
    engine: Annotated[str, Param("Where the queries run", choices=engines.QUERY_CHOICES)] = "auto"
    fallback: Annotated[str, Param("What becomes of a query that the GPU cannot run", choices=engines.FALLBACKS)] = (
        "cpu"
    )
    workers: Annotated[int, Param(cluster.WORKERS_HELP, minimum=0)] = 0
    train: Annotated[Path, Output("Parquet dataset with trip_id, features and target, and features.json")]
    test: Annotated[Path, Output("The held-out part, laid out the same")]


@component(name="rapids_transform", version="1", image="rapids")
def transform(ports: Ports, metrics: Metrics) -> None:
    """Write `part-00000.parquet` and `features.json` into `train` and `test`; log the rows by reason.

    With `engine=distributed` there is a part for each file of `prepared`.
    """
    with engines.Engine.opened(ports.engine, metrics, ports.prepared, ports.fallback, ports.workers) as engine:
        _transform(ports, metrics, engine)


def _transform(ports: Ports, metrics: Metrics, engine: engines.Engine) -> None:
    files = tables.listing("prepared", ports.prepared, (".parquet",))
    sources.log(metrics, "prepared", ports.prepared, files)
    with tables.reading("prepared", ports.prepared):
        _require_columns(files, ports)
        given = _given(engine, files)
        row, names = _write(engine, files, ports, given)
        counts = {key: n for key, n in row.items() if key.startswith("rows_") and (n or "dropped" not in key)}
        metrics.log(counts)
        check_sum({key: n for key, n in counts.items() if key.split("_")[1] in ("read", "kept", "dropped")})
        _require_rows(ports, counts)
        if names != given:  # rare: what some trips have, and none that is kept
            _write(engine, files, ports, names)
        absent = [name for name in feature_expressions() if name not in names]
        metrics.tags({"features": ", ".join(names), "features_left_out": ", ".join(absent) or "none"})
        metrics.log({"features": len(names)})
    for folder, part in ((ports.train, "train"), (ports.test, "test")):
        held = part == "test"
        settings = (files, ports.limits, names, (ports.test_share, ports.seed))
        engine.check(folder / PART, partial(duckdb_check.transformed_sql, *settings, held=held))
        write_features(folder, names, left_out=absent, part=part, rows=row[f"rows_{part}"])


def _require_columns(files: list[Path], ports: Ports) -> None:
    import polars as pl

    schema = pl.scan_parquet(files).collect_schema()
    missing = [name for name in (TRIP_ID, *CANONICAL) if name not in schema]
    if missing:
        raise BadInput.of(
            "prepared", ports.prepared, f"lacks {', '.join(missing)}", "give the output of rapids_prepare"
        )


def _given(engine: engines.Engine, files: list[Path]) -> list[str]:
    """The features whose columns are not missing in every trip.

    Looks at the first trips, and reads in full only the columns that those lack: an empty one takes no space.
    """
    import polars as pl

    trips = pl.scan_parquet(files)
    has = [pl.col(name).is_not_null().any().alias(name) for name in CANONICAL]
    found = engine.collect(trips.head(LOOKED_AT_ROWS).select(has)).row(0, named=True)
    rest = [name for name, any_ in found.items() if not any_]
    if rest:
        found |= engine.collect(trips.select(pl.col(name).is_not_null().any() for name in rest)).row(0, named=True)
    return [n for n, made in feature_expressions().items() if all(found[c] for c in made.meta.root_names())]


def _scan(files: list[Path], limits: Limits) -> tuple[pl.LazyFrame, list[str]]:
    """The trips with features, target and the number of the reason why each is dropped (or null)."""
    import polars as pl

    tests = drop_tests(limits)
    reason = tables.first_of(tests.values())
    features = feature_expressions().values()
    target = pl.col(TARGET).cast(pl.Float32)
    return pl.scan_parquet(files).select(TRIP_ID, *features, target, reason.alias(_REASON)), list(tests)


def _summary(query: pl.LazyFrame, reasons: list[str], names: list[str]) -> pl.LazyFrame:
    """One row: rows read, kept, dropped by reason, in each part, and for each feature how many kept rows have it."""
    import polars as pl

    kept, held_out = _is_kept(), pl.col(_HELD_OUT)
    present = [(kept & pl.col(n).is_not_null()).sum().alias(f"present_{n}") for n in names]
    return query.select(
        pl.len().alias("rows_read"),
        kept.sum().alias("rows_kept"),
        *[(pl.col(_REASON) == i).sum().alias(f"rows_dropped_{reason}") for i, reason in enumerate(reasons)],
        (kept & ~held_out).sum().alias("rows_train"),
        (kept & held_out).sum().alias("rows_test"),
        *present,
    )


def in_share(share: float, seed: int, stride: int = 7919, column: str = TRIP_ID) -> pl.Expr:
    """Whether a row is in the chosen share, by arithmetic on its trip_id, or on another whole number of its own.

    Not by `hash`, which differs between CPU and GPU, nor by `sample`, which the GPU lacks. `stride` has no factor in
    common with 10,000, so any 10,000 neighbours spread over all residues and every stretch of a file keeps the share.
    """
    import polars as pl

    residue = ((pl.col(column) % 1_000_003) * stride + seed * 104_729) % 10_000
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


def _write(
    engine: engines.Engine, files: list[Path], ports: Ports, names: list[str]
) -> tuple[dict[str, int], list[str]]:
    """Write both parts with the features `names`; also returns the sums, and which of `names` a kept trip has."""
    pieces = [files] if engine.cluster is None else [[file] for file in files]
    items = [(number, piece, ports, names) for number, piece in enumerate(pieces)]
    row: dict[str, int] = {}
    for one in engine.each(_write_piece, items, [ports.train, ports.test]):
        row = {key: row.get(key, 0) + n for key, n in one.items()}
    return row, [name for name in names if row[f"present_{name}"]]


def _write_piece(
    engine: engines.Engine, number: int, files: list[Path], ports: Ports, names: list[str]
) -> dict[str, int]:
    """Write both parts of some files of `prepared`; returns the sums."""
    import polars as pl

    query, reasons = _scan(files, ports.limits)
    share = in_share(ports.test_share, ports.seed).alias(_HELD_OUT)
    query = engine.shared(query.select(TRIP_ID, *names, TARGET, _REASON, share))
    kept, held_out, columns = query.filter(_is_kept()), pl.col(_HELD_OUT), [TRIP_ID, *names, TARGET]
    parts = {
        ports.train / _PIECE.format(number): kept.filter(~held_out).select(columns),
        ports.test / _PIECE.format(number): kept.filter(held_out).select(columns),
    }
    for path in parts:  # of a first try, with other features
        path.unlink(missing_ok=True)
    return engine.write(parts, _summary(query, reasons, names)).row(0, named=True)


if __name__ == "__main__":
    sys.exit(main(transform))
