"""What a table holds, column by column: counts, ranges, histograms, places; and how far two tables lie apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from runtime.rapids.engine import Engine

BINS = 24  # of a histogram
TOP = 20  # values of a text that are counted; the rest together
QUANTILES = 20  # of the reference: the bins in which two tables are compared
SAMPLE_ROWS = 1_000_000  # from which quantiles are taken, evenly spread over the table
GRID = 96  # cells of a map along each side
MISSING, OTHER = "(missing)", "(other)"
LEAST_SHARE = 1e-4  # an empty bin's, in PSI, which would be infinite


@dataclass
class Column:
    """One column. `kind`: number, time or text; `edges` lie between the bins, and outside them the ends go on.

    `figures`: min, max, mean, std and quantiles of a number, in its own unit; times are seconds since 1970. `marks`:
    its 20-quantiles, for a comparison.
    """

    name: str
    dtype: str
    kind: str
    missing: int
    figures: dict[str, float] = field(default_factory=dict)
    edges: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    unique: int = 0
    marks: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Apart:
    """How far two columns lie apart.

    `psi`: the population stability index over the reference's quantiles (or values) and what is missing; 0.1 is called
    a small shift and 0.2 a large one. Source: N. Siddiqi, Credit Risk Scorecards, 2006. `ks`: the largest difference of
    the two cumulative shares at those quantiles; NaN for texts. `missing`: the change of the share that is missing.
    """

    psi: float
    ks: float
    missing: float


def kind_of(dtype: Any) -> str:
    """How a column is looked at; empty for lists, binaries and the like."""
    import polars as pl

    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if dtype.base_type() in (pl.Datetime, pl.Date):
        return "time"
    return "text" if dtype == pl.String else ""


def numbers(table: pl.LazyFrame) -> pl.LazyFrame:
    """The table with times as seconds and flags as 0 and 1; columns of which nothing is said are left out."""
    import polars as pl

    made = []
    for name, dtype in table.collect_schema().items():
        kind, value = kind_of(dtype), pl.col(name)
        if kind == "time":
            value = value.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
        if kind in ("number", "time"):
            made.append(value.cast(pl.Float64).fill_nan(None).alias(name))
        elif kind == "text":
            made.append(value)
    return table.select(made)


def describe(engine: Engine, table: pl.LazyFrame, *, histograms: bool = True) -> tuple[int, list[Column]]:
    """The number of rows, and each column with its counts; those of numbers only with `histograms`."""
    import polars as pl

    kinds = {name: (str(dtype.base_type()), kind_of(dtype)) for name, dtype in table.collect_schema().items()}
    plain = numbers(table)
    wanted = [pl.len().alias("__rows")]
    for name, (_, kind) in kinds.items():
        value = pl.col(name)
        if kind:
            wanted.append(value.null_count().alias(f"{name}|missing"))
        if kind in ("number", "time"):
            figures = {"min": value.min(), "max": value.max(), "mean": value.mean(), "std": value.std()}
            wanted += [expression.alias(f"{name}|{key}") for key, expression in figures.items()]
    row = engine.collect(plain.select(wanted)).row(0, named=True)
    rows, found = int(row["__rows"]), []
    spread = _sample(engine, plain, rows)
    for name, (dtype, kind) in kinds.items():
        if not kind:
            continue
        column = Column(name, dtype, kind, int(row[f"{name}|missing"]))
        if kind == "text":
            _count_values(engine, plain, column)
        elif column.missing < rows:
            column.figures = {key: float(row[f"{name}|{key}"] or 0.0) for key in ("min", "max", "mean", "std")}
            _mark(column, spread[name].drop_nulls().sort())  # sorted once for all that is asked of it
        found.append(column)
    counted = in_bins(engine, plain, {c.name: c.edges for c in found if c.figures}) if histograms else {}
    for column in found:
        if column.name in counted:
            column.counts = counted[column.name][:-1]
    return rows, found


def _sample(engine: Engine, plain: pl.LazyFrame, rows: int) -> pl.DataFrame:
    """Every so many-th row."""
    import polars as pl

    step = max(1, -(-rows // SAMPLE_ROWS))
    names = [name for name, dtype in plain.collect_schema().items() if dtype == pl.Float64]
    numbered = plain.select(names).with_row_index("__row")
    return engine.collect(numbered.filter(pl.col("__row") % step == 0).drop("__row"))


def _mark(column: Column, values: pl.Series) -> None:
    """Set a column's quantiles and the edges of its bins, by a sample of its values in their order."""
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        column.figures[f"p{round(100 * share)}"] = float(values.quantile(share) or 0.0)
    shares = [i / QUANTILES for i in range(1, QUANTILES)] if len(values) else []
    column.marks = sorted({float(values.quantile(share) or 0.0) for share in shares})
    low, high = float(values.quantile(0.005) or 0.0), float(values.quantile(0.995) or 0.0)
    if high > low:  # what lies further out goes to the last bins, so that one wrong cell does not squeeze the rest
        column.edges = [low + (high - low) * i / BINS for i in range(1, BINS)]


def _count_values(engine: Engine, plain: pl.LazyFrame, column: Column) -> None:
    import polars as pl

    counted = plain.filter(pl.col(column.name).is_not_null()).group_by(column.name).agg(pl.len().alias("__n"))
    found = engine.collect(counted.sort("__n", column.name, descending=[True, False]))
    column.unique = found.height
    column.values, column.counts = found[column.name].head(TOP).to_list(), found["__n"].head(TOP).to_list()
    if found.height > TOP:
        column.values.append(OTHER)
        column.counts.append(int(found["__n"].slice(TOP).sum()))


def in_bins(engine: Engine, plain: pl.LazyFrame, edges: Mapping[str, Sequence[float]]) -> dict[str, list[int]]:
    """By column the rows between its edges, one more than there are edges, and at the end those without a value.

    The table is read once for all columns: how many values are above each edge is a sum, which needs no groups.
    """
    import polars as pl

    if not edges:
        return {}
    above = [
        (pl.col(name) > edge).sum().alias(f"{name}|{i}") for name, some in edges.items() for i, edge in enumerate(some)
    ]
    there = [pl.col(name).count().alias(f"{name}|all") for name in edges]
    row = engine.collect(plain.select(pl.len().alias("__rows"), *above, *there)).row(0, named=True)
    found = {}
    for name, some in edges.items():
        totals = [row[f"{name}|all"], *(row[f"{name}|{i}"] for i in range(len(some))), 0]
        counts = [int(more - fewer) for more, fewer in itertools.pairwise(totals)]
        found[name] = [*counts, int(row["__rows"] - totals[0])]
    return found


def apart(
    engine: Engine, reference: pl.LazyFrame, current: pl.LazyFrame, columns: Sequence[Column]
) -> dict[str, Apart]:
    """How far each column of `current` lies from that of `reference`; `columns` describe the reference."""
    plain = [numbers(part) for part in (reference, current)]
    marks = {column.name: column.marks for column in columns if column.kind != "text"}
    counted = [in_bins(engine, part, marks) for part in plain]
    found = {}
    for column in columns:
        if column.kind == "text":
            before, after = (_in_values(engine, part, column) for part in plain)
        else:
            before, after = (counts[column.name] for counts in counted)
        found[column.name] = compare(before, after, ordered=column.kind != "text")
    return found


def _in_values(engine: Engine, plain: pl.LazyFrame, column: Column) -> list[int]:
    import polars as pl

    value = pl.col(column.name)
    known = [v for v in column.values if v != OTHER]
    label = pl.when(value.is_null()).then(pl.lit(MISSING)).when(value.is_in(known)).then(value).otherwise(pl.lit(OTHER))
    found = engine.collect(plain.select(label.alias("__v")).group_by("__v").agg(pl.len().alias("__n")))
    counts = dict(zip(found["__v"].to_list(), found["__n"].to_list(), strict=True))
    return [int(counts.get(v, 0)) for v in (*known, OTHER, MISSING)]


def compare(before: Sequence[int], after: Sequence[int], *, ordered: bool) -> Apart:
    """Two histograms over the same bins, the last of which is of what is missing."""
    shares = [[count / max(1, sum(part)) for count in part] for part in (before, after)]
    psi = 0.0
    for old, new in zip(*shares, strict=True):
        if old or new:
            a, b = max(old, LEAST_SHARE), max(new, LEAST_SHARE)
            psi += (b - a) * math.log(b / a)
    ks = math.nan
    if ordered:
        sums = [_cumulated(part[:-1]) for part in (before, after)]
        ks = max((abs(a - b) for a, b in zip(*sums, strict=True)), default=0.0)
    return Apart(psi, ks, shares[1][-1] - shares[0][-1])


def _cumulated(counts: Sequence[int]) -> list[float]:
    whole, total, found = max(1, sum(counts)), 0, []
    for count in counts:
        total += count
        found.append(total / whole)
    return found


def places(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Pairs of longitude and latitude among the columns: `pickup` for pickup_lon and pickup_lat."""
    found = {}
    for east, north in (("lon", "lat"), ("longitude", "latitude")):
        for name in names:
            stem = name.lower().removesuffix(east)
            partner = next((n for n in names if n.lower() == f"{stem}{north}"), None)
            if name.lower().endswith(east) and partner:
                found[stem.strip("_- ") or "places"] = (name, partner)
    return found


def grid(engine: Engine, plain: pl.LazyFrame, pair: tuple[str, str], columns: Mapping[str, Column]) -> list[list[int]]:
    """Rows in each cell of a map, from south to north and in each line from west to east; see `bounds`."""
    import polars as pl

    cells: list[pl.Expr] = []
    for name in pair:
        low, high = bounds(columns[name])
        place = (pl.col(name) - low) / ((high - low) or 1.0) * GRID
        cells.append(place.clip(-1, GRID).floor().cast(pl.Int32).alias(f"__{len(cells)}"))
    found = engine.collect(plain.select(cells).drop_nulls().group_by("__0", "__1").agg(pl.len().alias("__n")))
    made = [[0] * GRID for _ in range(GRID)]
    for x, y, count in found.rows():
        if 0 <= x < GRID and 0 <= y < GRID:
            made[y][x] = int(count)
    return made


def bounds(column: Column) -> tuple[float, float]:
    """Where a map begins and ends: half as much again as between the 5 % and 95 % marks."""
    low, high = column.figures["p5"], column.figures["p95"]
    margin = (high - low) / 2
    return low - margin, high + margin
