"""What the rows of a table have to be: a contract in YAML, and what it makes of a table, as Polars expressions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, Problem, nearest
from runtime.local.document import Document, load
from runtime.rapids import expressions
from runtime.rapids.schemas import ROW_ID

if TYPE_CHECKING:
    import polars as pl

RAW = "__raw_"
TYPES = ("number", "whole", "text", "time", "flag")
FLAGS = {"true": True, "t": True, "yes": True, "y": True, "1": True}
FLAGS |= {"false": False, "f": False, "no": False, "n": False, "0": False}
SECTIONS = ("columns", "rules", "unique", "missing")
# What may be said of a column: of which Python types the value is, and for columns of which type it is meant.
RULES: dict[str, tuple[tuple[type, ...], tuple[str, ...]]] = {
    "type": ((str,), TYPES),
    "source": ((str,), TYPES),
    "nullable": ((bool,), TYPES),
    "minimum": ((float, int), ("number", "whole")),
    "maximum": ((float, int), ("number", "whole")),
    "values": ((list,), ("text", "whole")),
    "pattern": ((str,), ("text",)),
    "format": ((str,), ("time",)),
}


@dataclass(frozen=True)
class Column:
    """One column: its type, what it is called in the file, and what its values have to be. Bounds are inclusive."""

    type: str
    source: str = ""
    nullable: bool = True
    minimum: float = -math.inf
    maximum: float = math.inf
    values: tuple[str, ...] = ()
    pattern: str = ""
    format: str = ""


@dataclass(frozen=True)
class Contract:
    """A contract that was read: `rules` are SQL by name, `missing` the cells of a CSV file that mean no value.

    `unique`: columns that together are of one row each.
    """

    columns: Mapping[str, Column]
    rules: Mapping[str, pl.Expr]
    unique: tuple[str, ...]
    missing: tuple[str, ...]


def dtype(kind: str) -> Any:
    """The Polars type of a contract's type: 64 bits, microseconds."""
    import polars as pl

    return {
        "number": pl.Float64(), "whole": pl.Int64(), "text": pl.String(), "time": pl.Datetime("us"),
        "flag": pl.Boolean(),
    }[kind]  # fmt: skip


def read(path: Path) -> Contract:
    """The contract in a YAML file; raises `BadInput` with all mistakes, each with its line."""
    doc = load(path)
    problems = [
        doc.problem((key,), doc.data[key], "is no part of a contract", nearest(key, SECTIONS))
        for key in doc.data
        if key not in SECTIONS
    ]
    given = doc.data.get("columns")
    if not isinstance(given, dict) or not given:
        raise BadInput([*problems, doc.problem(("columns",), given, "names no column", "write `NAME: {type: number}`")])
    columns = {}
    for name, row in given.items():
        made = _column(doc, str(name), row)
        if isinstance(made, Column):
            columns[str(name)] = made
        else:
            problems += made
    if ROW_ID in columns:
        problems.append(doc.problem(("columns", ROW_ID), None, "is the number that each row gets", "take another name"))
    if problems:
        raise BadInput(problems)
    schema = {name: dtype(column.type) for name, column in columns.items()}
    rules = expressions.yes_or_no(doc, "rules", schema, problems)
    unique = _names(doc, "unique", problems)
    problems += [
        doc.problem(("unique",), name, "is no column of the contract", nearest(name, columns))
        for name in unique
        if name not in columns
    ]
    missing = _names(doc, "missing", problems) if "missing" in doc.data else ("",)
    if problems:
        raise BadInput(problems)
    return Contract(columns, rules, unique, missing)


def _column(doc: Document, name: str, row: Any) -> Column | list[Problem]:
    place = ("columns", name)
    if not isinstance(row, dict) or row.get("type") not in TYPES:
        found = row.get("type") if isinstance(row, dict) else row
        return [doc.problem(place, found, "is no type of a column", f"write {{type: {'|'.join(TYPES)}}}")]
    problems = []
    for key, value in row.items():
        if key not in RULES:
            problems.append(doc.problem((*place, key), value, "is no rule for a column", nearest(key, RULES)))
            continue
        kinds, types = RULES[key]
        if row["type"] not in types:
            wrong = f"says nothing of a column of the type {row['type']}"
            problems.append(doc.problem((*place, key), value, wrong, f"it is for {', '.join(types)}"))
        elif not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            problems.append(doc.problem((*place, key), value, f"is no {kinds[0].__name__}", "correct it"))
        elif key == "pattern" and (wrong := _not_a_pattern(str(value))):
            problems.append(doc.problem((*place, key), value, wrong, "correct it"))
    if problems:
        return problems
    return Column(**row | ({"values": tuple(str(v) for v in row["values"])} if "values" in row else {}))


def _not_a_pattern(text: str) -> str:
    """What Polars says against a regular expression, which is Rust's kind."""
    import polars as pl

    try:
        pl.Series(["x"]).str.contains(text)
    except pl.exceptions.PolarsError as error:
        return f"is no regular expression ({str(error).strip().splitlines()[-1][:100]})"
    return ""


def _names(doc: Document, key: str, problems: list[Problem]) -> tuple[str, ...]:
    given = doc.data.get(key) or []
    if not isinstance(given, list):
        problems.append(doc.problem((key,), given, "is no list", f"write {key}: [...]"))
        return ()
    return tuple("" if item is None else str(item) for item in given)


# --- what it makes of a table -----------------------------------------------------------------------------------------


def opened(contract: Contract, raw: pl.LazyFrame, header: Mapping[str, Any]) -> pl.LazyFrame:
    """Each column as its type under its name, null where its cell is missing or cannot be read; the cell as `RAW` name.

    `raw`: the table, with its other columns; `header`: the types that the file's columns have.
    """
    import polars as pl

    cells = [pl.col(c.source or name).alias(RAW + name) for name, c in contract.columns.items()]
    others = [name for name in raw.collect_schema() if name not in header]
    query = raw.select(*others, *cells)
    text = [RAW + n for n, c in contract.columns.items() if header[c.source or n] == pl.String]
    if contract.missing and text:
        stripped = pl.col(text).str.strip_chars()
        query = query.with_columns(pl.when(stripped.is_in(contract.missing)).then(None).otherwise(stripped).name.keep())
    made = [_typed(c, pl.col(RAW + n), header[c.source or n]).alias(n) for n, c in contract.columns.items()]
    return query.with_columns(made)


def _typed(column: Column, cell: pl.Expr, kind: Any) -> pl.Expr:
    import polars as pl

    if column.type == "text":
        return cell.cast(pl.String)
    if column.type == "time":
        if kind == pl.String:
            cell = cell.str.to_datetime(column.format or None, strict=False, time_unit="us", cache=False)
        zoned = getattr(kind, "time_zone", None) or column.format.endswith("%z")
        return (cell.dt.replace_time_zone(None) if zoned else cell).cast(pl.Datetime("us"))
    if column.type == "flag":
        words = cell.str.to_lowercase().replace_strict(FLAGS, default=None, return_dtype=pl.Boolean)
        return words if kind == pl.String else cell.cast(pl.Boolean)
    if kind.is_integer() and column.type == "whole":
        return cell.cast(pl.Int64, strict=False)
    number = cell.cast(pl.Float64, strict=False).fill_nan(None)
    if column.type == "number":
        return number
    return pl.when(number == number.floor()).then(number).otherwise(None).cast(pl.Int64, strict=False)


def tests(contract: Contract) -> dict[str, pl.Expr]:
    """Reason -> whether a row of `opened` is rejected for it, in the order in which they are tried; null is no."""
    import polars as pl

    found = {}
    for name, column in contract.columns.items():
        cell, value = pl.col(RAW + name), pl.col(name)
        if column.type != "text":
            found[f"{name}_unreadable"] = cell.is_not_null() & value.is_null() & ~_is_nan(column, cell)
        if not column.nullable:
            found[f"{name}_missing"] = value.is_null()
        if column.minimum > -math.inf:
            found[f"{name}_below_minimum"] = value < column.minimum
        if column.maximum < math.inf:
            found[f"{name}_above_maximum"] = value > column.maximum
        if column.values:
            found[f"{name}_not_in_values"] = ~value.cast(pl.String).is_in(column.values)
        if column.pattern:
            found[f"{name}_not_in_pattern"] = ~value.str.contains(column.pattern)
    return found | {f"rule_{name}": ~rule for name, rule in contract.rules.items()}


def _is_nan(column: Column, cell: pl.Expr) -> pl.Expr:
    """Not a number is how many tables say that there is none."""
    import polars as pl

    if column.type not in ("number", "whole"):
        return pl.lit(value=False)
    return cell.cast(pl.Float64, strict=False).is_nan().fill_null(value=False)
