"""The queries of rapids_prepare and rapids_transform once more in SQL, by DuckDB, compared with what was written.

The SQL is made from the same settings (columns, formats, limits, share, seed) and shares no expression with the Polars
queries, so a mistake in either shows as the first row that differs. Both sides are read in batches and in order.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, ToolFailed
from runtime.metrics import Metrics
from runtime.rapids import csv_files, tables
from runtime.rapids.features import EARTH_RADIUS_KM, Limits
from runtime.rapids.schemas import CANONICAL, REQUIRED, TARGET, TRIP_ID, Recognised

if TYPE_CHECKING:
    import polars as pl

BATCH_ROWS = 250_000
# Of a value. Both parse decimals to the nearest double; what is computed with sines may differ in its last bits.
TOLERANCE = {"Float64": 1e-12, "Float32": 1e-6}
TYPES = {"time": "TIMESTAMP", "number": "DOUBLE", "whole": "INTEGER"}
METRIC = "duckdb_rows_compared"


def require() -> None:
    """Raises `BadInput` where duckdb is not installed."""
    if importlib.util.find_spec("duckdb") is None:
        wrong = "the package duckdb is not installed"
        raise BadInput.of("engine", "duckdb-check", wrong, "pip install 'ngcrun[duckdb]', or set engine=cpu")


def prepared_sql(first_id: int, table: tables.RawTable, schema: Recognised, datetime_format: str) -> str:
    """The rows of one raw file that can be read, with their trip_id and canonical columns, in the file's order.

    Raises `BadInput` for a CSV file that has both quotes and ragged rows.
    """
    parsed, unreadable = [], ["ragged"]
    for name, kind in CANONICAL.items():
        source = schema.sources.get(name)
        value = f'"__{name}"'
        if source is None:
            parsed.append(f"NULL::{TYPES[kind]} AS {value}")
            continue
        # A CSV file's columns go by their places: a header may name one of them '', which is no name in SQL.
        cell, dtype = _column(f"c{[*table.header].index(source)}" if table.is_csv else source), table.header[source]
        if str(dtype) == "String" and kind != "time":
            cell = f"nullif(trim({cell}, ' \t'), '')"
        parsed.append(f"{_parsed(cell, kind, dtype, datetime_format)} AS {value}")
        if str(dtype) == "String":
            unread = f"{cell} IS NOT NULL AND {value} IS NULL"
            number = "true" if kind == "time" else f"coalesce(isfinite({_number(_text_of(cell, kind))}), true)"
            unreadable.append(f"({unread} AND {number})")
        elif kind == "whole":
            unreadable.append(f"({cell} IS NOT NULL AND isfinite({cell}::DOUBLE) AND {value} IS NULL)")
    raw = _raw_csv(table) if table.is_csv else _raw_parquet(table)
    kept = ", ".join(f'"__{name}" AS {name}' for name in CANONICAL)
    return (
        f"WITH r AS ({raw}), t AS (SELECT r.*, {', '.join(parsed)} FROM r) "
        f"SELECT {first_id} + __row AS {TRIP_ID}, {kept} FROM t "
        f"WHERE NOT coalesce({' OR '.join(unreadable)}, false)"
    )


def _raw_parquet(table: tables.RawTable) -> str:
    import polars as pl

    columns, deleted = table.beside.columns, table.beside.deleted
    gone = f" WHERE file_row_number NOT IN ({', '.join(map(str, deleted))})" if deleted is not None else ""
    own = pl.read_parquet_schema(table.path) if columns else {}
    left_out = ", ".join(["file_row_number", *(_column(name) for name in columns if name in own)])
    beside = "".join(f", {_value(value)} AS {_column(name)}" for name, (value, _) in columns.items())
    return (
        f"SELECT * EXCLUDE ({left_out}), file_row_number AS __row, false AS ragged{beside} "
        f"FROM read_parquet({_text(str(table.path))}, file_row_number = true, hive_partitioning = false){gone}"
    )


def _raw_csv(table: tables.RawTable) -> str:
    """Lines cut at the separator, which also tells the ragged ones; a file with quotes needs DuckDB's own reader."""
    path, separator, places = _text(str(table.path)), _text(table.separator), range(len(table.header))
    how = "auto_detect = false, header = true, null_padding = true, strict_mode = false"
    if _has_quotes(table.path):
        ragged = csv_files.ragged_rows(table).ragged
        if ragged is not None and len(ragged):
            wrong = f"cannot check {table.path}: it has quotes, and rows with more or fewer cells than its header"
            raise BadInput.of("engine", "duckdb-check", wrong, "repair the file, or set engine=cpu")
        columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in places)
        cells = ", ".join(f"nullif(c{place}, '') AS c{place}" for place in places)
        read = f"read_csv({path}, columns = {{{columns}}}, delim = {separator}, quote = '\"', {how})"
        return f"SELECT row_number() OVER () - 1 AS __row, false AS ragged, {cells} FROM {read}"
    cells = ", ".join(f"nullif(__cells[{place + 1}], '') AS c{place}" for place in places)
    # No line holds the byte 1, so each is one cell.
    read = f"read_csv({path}, columns = {{'__line': 'VARCHAR'}}, delim = '\x01', quote = '', escape = '', {how})"
    cut = f"SELECT row_number() OVER () - 1 AS __row, string_split(__line, {separator}) AS __cells FROM {read}"
    return f"SELECT __row, coalesce(len(__cells), 0) <> {len(places)} AS ragged, {cells} FROM ({cut})"


def _has_quotes(path: Path) -> bool:
    with path.open("rb") as file:
        return any(b'"' in block for block in iter(lambda: file.read(csv_files.CHUNK_BYTES), b""))


def _parsed(cell: str, kind: str, dtype: Any, datetime_format: str) -> str:
    """A cell as its canonical type; null where it is missing or unreadable."""
    zone, text = getattr(dtype, "time_zone", None), str(dtype) == "String"
    if text:
        cell = _text_of(cell, kind)
    if kind == "time":
        if text:
            return f"try_strptime({cell}, {_text(datetime_format)})"
        return f"timezone({_text(zone)}, {cell})::TIMESTAMP" if zone else f"{cell}::TIMESTAMP"
    number = _number(cell)
    number = f"CASE WHEN isnan({number}) THEN NULL ELSE {number} END"
    return (
        number if kind == "number" else f"TRY_CAST(CASE WHEN {number} = floor({number}) THEN {number} END AS INTEGER)"
    )


def _text_of(cell: str, kind: str) -> str:
    """DuckDB forgives any blank around a value and underscores in a number; Polars only a blank before a time."""
    refused = "\\s$" if kind == "time" else "^\\s|\\s$|_"
    return f"CASE WHEN NOT regexp_matches({cell}, '{refused}') THEN {cell} END"


def _number(cell: str) -> str:
    return f"TRY_CAST({cell} AS DOUBLE)"


def transformed_sql(
    files: list[Path], limits: Limits, names: list[str], split: tuple[float, int], *, held: bool
) -> str:
    """The plausible trips of one part (`held`: the held-out one) with the features `names`, in the files' order.

    `split`: the held-out share and the seed.
    """
    share, seed = split
    chosen = f"(({TRIP_ID} % 1000003) * 7919 + {seed} * 104729) % 10000 < {round(share * 10_000)}"
    listed = ", ".join(_text(str(path)) for path in files)
    features = ", ".join(f"({_features()[name]})::FLOAT AS {name}" for name in names)
    dropped = " OR ".join(f"coalesce({test}, false)" for test in _drop_tests(limits))
    return (
        f"SELECT {TRIP_ID}, {features}, {TARGET}::FLOAT AS {TARGET} FROM read_parquet([{listed}]) "
        f"WHERE NOT ({dropped}) AND {'' if held else 'NOT '}({chosen})"
    )


def _features() -> dict[str, str]:
    same = "trip_distance_mi passenger_count rate_code_id pickup_lon pickup_lat dropoff_lon dropoff_lat"
    half = (
        "pow(sin(radians(dropoff_lat - pickup_lat) / 2), 2) + cos(radians(pickup_lat)) * cos(radians(dropoff_lat))"
        " * pow(sin(radians(dropoff_lon - pickup_lon) / 2), 2)"
    )
    return {
        "hour": "hour(pickup_at)",
        "weekday": "isodow(pickup_at)",
        "month": "month(pickup_at)",
        "duration_min": _DURATION,
        "haversine_km": f"2 * {EARTH_RADIUS_KM} * asin(sqrt({half}))",
    } | {name: name for name in (*same.split(), "pickup_location_id", "dropoff_location_id")}


_DURATION = "((epoch_us(dropoff_at) - epoch_us(pickup_at)) // 1000000)::DOUBLE / 60"


def _drop_tests(limits: Limits) -> list[str]:
    tests = [f"{name} IS NULL" for name in REQUIRED]
    ranges = {
        TARGET: (limits.min_fare_usd, limits.max_fare_usd),
        "trip_distance_mi": (limits.min_distance_mi, limits.max_distance_mi),
        _DURATION: (limits.min_duration_min, limits.max_duration_min),
    }
    for value, (low, high) in ranges.items():
        tests += [f"NOT isfinite({value})", *_outside(value, low, high)]
    for end in ("pickup", "dropoff"):
        tests += _outside(f"{end}_lon", limits.min_lon, limits.max_lon)
        tests += _outside(f"{end}_lat", limits.min_lat, limits.max_lat)
    return tests


def _outside(value: str, low: float | None, high: float | None) -> list[str]:
    below = [] if low is None else [f"{value} < {low!r}::DOUBLE"]
    return below if high is None else [*below, f"{value} > {high!r}::DOUBLE"]


def compare(sql: str, written: Path, metrics: Metrics, so_far: int = 0) -> int:
    """How many rows are equal in `written` and in the result of `sql`, `so_far` included; logs that as a metric.

    Whole numbers, texts and times must be equal; floats within `TOLERANCE`; null only equals null, NaN only NaN.

    Raises:
        ToolFailed: naming the first row that differs, and its first column.
    """
    import polars as pl

    schema = pl.read_parquet_schema(written)
    rows = 0
    theirs = _Rows(_batches(sql, list(schema), written))
    for ours in tables.batches([written], list(schema), BATCH_ROWS):
        other = theirs.take(ours.height)
        if other.schema != ours.schema:
            name = next(n for n in schema if other.schema.get(n) != schema[n])
            raise _differs(written, f"column {name} is {schema[name]}, DuckDB computes {other.schema.get(name)}")
        found = _first_difference(ours[: other.height], other)
        if found is not None:
            row, name = found
            trip = ours[TRIP_ID][row] if TRIP_ID in ours.columns else "?"
            text = f"row {rows + row} ({TRIP_ID} {trip}), column {name}"
            raise _differs(written, f"{text}: {ours[name][row]!r} was written, DuckDB computes {other[name][row]!r}")
        rows += other.height
        if other.height < ours.height:
            raise _differs(written, f"row {rows}: it was written, and DuckDB has only {rows} rows")
        metrics.log({METRIC: so_far + rows})
    if theirs.take(1).height:
        raise _differs(written, f"row {rows}: DuckDB has one more row than the {rows} that were written")
    metrics.log({METRIC: so_far + rows})
    return so_far + rows


def _differs(written: Path, what: str) -> ToolFailed:
    todo = "do not use this output; report it, with the row of the input"
    return ToolFailed(f"engine='duckdb-check': {written.name}, {what}; {todo}")


def _first_difference(ours: pl.DataFrame, theirs: pl.DataFrame) -> tuple[int, str] | None:
    """The first row that differs and its first column."""
    found: list[tuple[int, int, str]] = []
    for place, name in enumerate(ours.columns):
        a, b = ours[name], theirs[name]
        same = a.eq_missing(b)  # NaN equals NaN here
        allowed = TOLERANCE.get(str(a.dtype))
        if allowed is not None and not same.all():
            same = same | ((a - b).abs() <= allowed * b.abs().clip(lower_bound=1.0)).fill_null(value=False)
        if not same.all():
            found.append((int((~same).arg_max() or 0), place, name))
    return (min(found)[0], min(found)[2]) if found else None


class _Rows:
    """Batches of any size, taken by any number of rows at a time."""

    def __init__(self, batches: Iterator[pl.DataFrame]) -> None:
        self._batches = batches
        self._rest: list[pl.DataFrame] = []

    def take(self, rows: int) -> pl.DataFrame:
        """The next `rows` rows, or what is left."""
        import polars as pl

        held, have = self._rest, sum(frame.height for frame in self._rest)
        while have < rows and (frame := next(self._batches, None)) is not None:
            held.append(frame)
            have += frame.height
        whole = pl.concat(held, rechunk=False) if held else pl.DataFrame()
        self._rest = [whole[rows:]] if have > rows else []
        return whole[:rows]


def _batches(sql: str, columns: list[str], written: Path) -> Iterator[pl.DataFrame]:
    import duckdb
    import polars as pl

    config = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "temp_directory": ""}
    try:
        with duckdb.connect(":memory:", config=config) as connection:
            reader = connection.sql(sql).to_arrow_reader(BATCH_ROWS)
            for batch in reader:
                frame = pl.from_arrow(batch)
                if isinstance(frame, pl.DataFrame) and frame.height:
                    yield frame.select([name for name in columns if name in frame.columns])
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise ToolFailed(f"engine='duckdb-check': {written.name}: DuckDB failed: {reason}; set engine=cpu") from error


def _column(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _value(value: Any) -> str:
    """Of what a partition's column may hold: a number, a text, a date, a time, or nothing."""
    if value is None or isinstance(value, bool | int | float):
        return "NULL" if value is None else str(value)
    kind = {"date": "DATE ", "datetime": "TIMESTAMP "}.get(type(value).__name__, "")
    return kind + _text(str(value))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
