"""Raw trip files of any known schema to one canonical Parquet dataset."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.background import Background
from runtime.component import Group, Input, Output, Param, component
from runtime.errors import BadInput
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import cluster, csv_files, duckdb_check, sources, tables
from runtime.rapids import engine as engines
from runtime.rapids.schemas import (
    CANONICAL,
    SCHEMAS,
    SEPARATORS,
    TRIP_ID,
    Columns,
    Recognised,
    recognise,
    unknown_schema,
)

if TYPE_CHECKING:
    import polars as pl

BLANKS = " \t"  # around a number they are no part of it, and a cell of nothing else is a missing one
FILE_STRIDE = 10**10  # trip_id = file number * this + row number: no file has as many rows
_ROW, _REASON, _SHORT = "__row", "__reason", "__short"


@dataclass(kw_only=True)
class Ports:
    """Read raw NYC taxi trips of any known public schema and write them as one canonical Parquet dataset.

    Each file, CSV or Parquet, is recognised by its own header. Rows that cannot be read are counted by reason; every
    other row gets a stable trip_id.
    """

    trips: Annotated[
        Path, Input("A CSV or Parquet file, or a folder of them; each is recognised by its own header", remote=True)
    ]
    columns: Annotated[
        Columns,
        Group("Which column holds what; auto tells each file's schema apart", options={"auto": Columns(), **SCHEMAS}),
    ] = field(default_factory=Columns)
    separator: Annotated[str, Param("What separates the cells of a CSV file", choices=tuple(SEPARATORS))] = "comma"
    datetime_format: Annotated[str, Param("How a CSV file writes a time, in strftime's terms")] = "%Y-%m-%d %H:%M:%S"
    max_unreadable: Annotated[
        float, Param("Share of unreadable rows above which the step fails", minimum=0, maximum=1)
    ] = 0.1
    engine: Annotated[str, Param("Where the queries run", choices=engines.QUERY_CHOICES)] = "auto"
    fallback: Annotated[str, Param("What becomes of a query that the GPU cannot run", choices=engines.FALLBACKS)] = (
        "cpu"
    )
    workers: Annotated[int, Param(cluster.WORKERS_HELP, minimum=0)] = 0
    table_format: Annotated[str, Param(tables.FORM_HELP, choices=tables.FORMS)] = "parquet"
    prepared: Annotated[Path, Output("Parquet dataset: part-NNNNN.parquet, one for each raw file")]


@component(name="rapids_prepare", version="1", image="rapids")
def prepare(ports: Ports, metrics: Metrics) -> None:
    """Write `part-NNNNN.parquet` for each raw file, in the order of the files' names, and log the rows by reason."""
    tables.require_form(ports.table_format)
    raw = _recognise_all(ports)
    sources.log(metrics, "trips", ports.trips, [table.path for table, _ in raw])
    counts: dict[str, int] = dict.fromkeys(["rows_read", "rows_kept"], 0)
    parts = [(number, table, schema, ports) for number, (table, schema) in enumerate(raw)]
    with engines.Engine.opened(ports.engine, metrics, ports.trips, ports.fallback, ports.workers) as engine:
        for number, rows in enumerate(engine.each(_write_part, parts, [ports.prepared])):
            for key, value in rows.items():
                counts[key] = counts.get(key, 0) + value
            metrics.log({"files_read": number + 1})
    metrics.tags({f"files_{name}": n for name, n in _tally([schema.name for _, schema in raw]).items()})
    metrics.log(counts)
    check_sum(counts)
    unreadable = counts["rows_read"] - counts["rows_kept"]
    if counts["rows_kept"] == 0 or unreadable > ports.max_unreadable * counts["rows_read"]:
        raise BadInput.of("trips", ports.trips, _account(counts), _advice(counts))
    tables.finish(ports.prepared, ports.table_format)


def _recognise_all(ports: Ports) -> list[tuple[tables.RawTable, Recognised]]:
    """Each raw file with its schema; all files in no known schema are told at once."""
    found, problems = [], []
    for table in tables.open_raw("trips", ports.trips, SEPARATORS[ports.separator]):
        schema = recognise(list(table.header), ports.columns)
        if isinstance(schema, Recognised):
            found.append((table, schema))
            problems += _wrong_types(table, schema)
        else:
            problems.append(unknown_schema(str(table.path), list(table.header), schema, ports.separator))
    if problems:
        raise BadInput(problems)
    return found


def _wrong_types(table: tables.RawTable, schema: Recognised) -> list[Any]:
    """The Parquet columns whose type can never hold what they should: a number where a time belongs."""
    import polars as pl

    from runtime.errors import Problem

    problems = []
    for name, source in schema.sources.items():
        kind = table.header[source]
        fits = kind.base_type() in (pl.Datetime, pl.Date) if CANONICAL[name] == "time" else kind.is_numeric()
        if not fits and kind not in (pl.String, pl.Null):
            wanted = "a time" if CANONICAL[name] == "time" else "a number"
            problems.append(Problem("trips", str(table.path), f"column {source} is {kind}, not {wanted}", "cast it"))
    return problems


def _write_part(
    engine: engines.Engine, number: int, table: tables.RawTable, schema: Recognised, ports: Ports
) -> dict[str, int]:
    """Write one part and return its rows: read, kept, and dropped by reason (only reasons that occurred)."""
    part, lines = ports.prepared / f"part-{number:05d}.parquet", None

    def written(kinds: dict[str, Any], ragged: Any = None, *, plain: bool = False) -> dict[str, int]:
        raw = table.scan(_ROW, plain=plain, kinds=kinds)
        query, reasons = canonical(raw, table, schema, ports.datetime_format, kinds, ragged)
        return _written(engine, part, number, query, reasons)

    with tables.reading("trips", table.path):
        if table.is_csv:
            # fallback=refuse rehearses on a CPU what a GPU would run.
            typed = engine.name == "cpu" and engine.fallback != "refuse"
            row, lines = _csv_rows(table, schema, written, typed=typed)
        else:
            row = written({})
    csv_files.require_lines("trips", table.path, lines, row["rows_read"])
    engine.check(part, partial(duckdb_check.prepared_sql, number * FILE_STRIDE, table, schema, ports.datetime_format))
    return {key: n for key, n in row.items() if n or key in ("rows_read", "rows_kept")}


def _csv_rows(
    table: tables.RawTable, schema: Recognised, written: Callable[..., dict[str, int]], *, typed: bool
) -> tuple[dict[str, int], int]:
    """What `written` gives for a CSV file, and its lines: first as its beginning promises, again where it breaks that.

    `typed`: let the reader parse numbers, which is less work; the GPU's does not tell of bad cells.
    """
    import polars as pl

    kept: dict[str, set[str]] = {kind: set() for kind in CANONICAL.values()}
    for name, source in schema.sources.items():
        kept[CANONICAL[name]].add(source)
    numbers = (kept["number"] | kept["whole"]) - kept["time"]
    begins = csv_files.beginning(table, numbers & kept["whole"])
    typed = typed and begins.plain
    kinds = {source: pl.Int32 if source in begins.integers else pl.Float64 for source in numbers} if typed else {}
    look = csv_files.counted if typed and begins.full else csv_files.ragged_rows
    looking, row = Background(lambda: look(table)), {}
    with contextlib.suppress(pl.exceptions.PolarsError):  # what is promised may be wrong
        row = written(kinds, plain=begins.plain)
    seen, short = looking.result(), row.pop("short", 0)
    if seen.ragged is None or (look is csv_files.counted and (short or not row)):
        seen = csv_files.ragged_rows(table)
    assert seen.ragged is not None  # noqa: S101 - ragged_rows knows them; narrows for mypy
    if not row or len(seen.ragged) or (begins.plain and not seen.plain):
        row = written({}, seen.ragged, plain=seen.plain)
        row.pop("short")
    return row, seen.lines


def _written(
    engine: engines.Engine, part: Path, number: int, query: pl.LazyFrame, reasons: list[str]
) -> dict[str, int]:
    """Write the readable rows of file `number`; returns all rows by what became of them."""
    import polars as pl

    trip_id = (pl.col(_ROW).cast(pl.Int64) + number * FILE_STRIDE).alias(TRIP_ID)
    kept = query.filter(pl.col(_REASON).is_null()).select(trip_id, *CANONICAL)
    dropped = [(pl.col(_REASON) == i).sum().alias(reason) for i, reason in enumerate(reasons)]
    rows = [pl.len().alias("rows_read"), pl.col(_REASON).is_null().sum().alias("rows_kept")]
    rows += [pl.col(_SHORT).sum().alias("short")] if _SHORT in query.collect_schema() else []
    part.unlink(missing_ok=True)  # of a guess that was wrong
    return engine.write({part: kept}, query.select(*rows, *dropped)).row(0, named=True)


def canonical(  # noqa: PLR0913, PLR0917 - what a raw table is made of
    raw: pl.LazyFrame, table: tables.RawTable, schema: Recognised, datetime_format: str, kinds: Mapping[str, Any],
    ragged: Any = None,
) -> tuple[pl.LazyFrame, list[str]]:  # fmt: skip
    """The canonical columns of a raw table, its row number, and the number of the reason why it is unreadable, or null.

    Also returns the reasons' names. The first reason that holds counts, so that rows read = kept + dropped exactly.
    `kinds`: the types of columns whose cells the reader of a CSV file has parsed. Of a CSV file there is also whether
    a row lacks its last cell.
    """
    import polars as pl

    types = table.header | dict(kinds)
    parsed, bad = [], {}
    for name, kind in CANONICAL.items():
        source = schema.sources.get(name)
        if source is None:
            parsed.append(pl.lit(None, dtype=_dtype(kind)).alias(name))
            continue
        cell = pl.col(source)
        value = _parse(cell, kind, types[source], datetime_format)
        parsed.append(value.alias(f"__{name}"))
        unread = pl.col(f"__{name}").is_null() & cell.is_not_null()
        if types[source] == pl.String:
            bad[f"rows_dropped_bad_{name}"] = unread & ~_missing(cell) if kind != "time" else unread
        elif kind == "whole" and kinds.get(source) != pl.Int32:
            bad[f"rows_dropped_bad_{name}"] = unread & cell.is_finite()
    if ragged is not None and len(ragged):
        bad = {"rows_dropped_ragged": pl.col(_ROW).is_in(pl.Series(ragged, dtype=pl.UInt32).implode()), **bad}
    query = raw.with_columns(*parsed)
    named = [pl.col(f"__{n}").alias(n) if n in schema.sources else pl.col(n) for n in CANONICAL]
    short = [pl.col([*table.header][-1]).is_null().alias(_SHORT)] if table.is_csv else []
    return query.select(_ROW, *named, tables.first_of(bad.values()).alias(_REASON), *short), list(bad)


def _parse(cell: pl.Expr, kind: str, dtype: Any, datetime_format: str) -> pl.Expr:
    """A cell as its canonical type, null where it is missing or unreadable; NaN is missing."""
    import polars as pl

    if kind == "time":
        if dtype == pl.String:
            # cache=False: the cache is a CPU feature that keeps the whole query off the GPU, and here it is slower too.
            cell = cell.str.to_datetime(datetime_format, strict=False, cache=False)
        elif getattr(dtype, "time_zone", None):
            cell = cell.dt.replace_time_zone(None)
        return cell.cast(pl.Datetime("us"))
    if kind == "whole" and dtype == pl.Int32:
        return cell
    number = (cell.str.strip_chars(BLANKS) if dtype == pl.String else cell).cast(pl.Float64, strict=False)
    if kind == "number":
        return number.fill_nan(None)
    return pl.when(number == number.floor()).then(number).otherwise(None).cast(pl.Int32, strict=False)


def _missing(cell: pl.Expr) -> pl.Expr:
    """Whether a number's text stands for none: blank, NaN or infinite."""
    import polars as pl

    text = cell.str.strip_chars(BLANKS)
    return (text == "") | ~text.cast(pl.Float64, strict=False).is_finite().fill_null(value=True)


def _dtype(kind: str) -> Any:
    import polars as pl

    return {"time": pl.Datetime("us"), "number": pl.Float64, "whole": pl.Int32}[kind]


def check_sum(counts: dict[str, int]) -> None:
    """Every row read is either kept or dropped for exactly one reason; anything else is our bug."""
    dropped = sum(n for key, n in counts.items() if key.startswith("rows_dropped_"))
    if counts["rows_read"] != counts["rows_kept"] + dropped:
        raise AssertionError(f"rows do not add up: {counts}")


def _account(counts: dict[str, int]) -> str:
    if counts["rows_read"] == 0:
        return "holds no rows"
    reasons = ", ".join(
        f"{key.removeprefix('rows_')} {n}" for key, n in counts.items() if key.startswith("rows_dropped_")
    )
    return f"has {counts['rows_read'] - counts['rows_kept']} unreadable of {counts['rows_read']} rows ({reasons})"


def _advice(counts: dict[str, int]) -> str:
    if counts["rows_read"] == 0:
        return "name files with data"
    return "check columns, separator and datetime_format, repair the file, or raise max_unreadable"


def _tally(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


if __name__ == "__main__":
    sys.exit(main(prepare))
