"""Expressions over the columns of a table, as SQL in a user's YAML: parsed by Polars, never run as Python.

A step of a Triton ensemble takes this module along into the server (runtime/triton/step_recipe.py), which has no reader
of YAML: what is imported at the top here must be there too.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.errors import Problem

if TYPE_CHECKING:
    import polars as pl

    from runtime.local.document import Document

# What an expression may be made of, so that each row's value depends on that row alone; Polars' own names.
_BY_ROW = {"Alias", "BinaryExpr", "Cast", "Column", "Function", "Literal", "Ternary"}
_TEXTS = {"Column", "Literal", "dtype", "function", "op", "options"}  # these hold no expressions


class Wrong(ValueError):
    """Why a text is no expression over a table, and what to do."""

    def __init__(self, wrong: str, todo: str) -> None:
        super().__init__(wrong)
        self.wrong, self.todo = wrong, todo


def parse(text: object, schema: Mapping[str, Any]) -> tuple[pl.Expr, Any]:
    """The expression in `text`, and the type of what it gives for each row; raises `Wrong`.

    `schema`: the table's columns and types. Polars' SQL takes no statement here, so nothing is read, written or called
    but its functions. Source: docs.pola.rs, "SQL Interface", "sql_expr".
    """
    import polars as pl

    if not isinstance(text, str):
        raise Wrong("is no expression", "write it as text, such as 'fare > 0 AND km < 100'")
    try:
        expression = pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        raise Wrong(_said(error), "write an SQL expression, such as 'fare > 0 AND km < 100'") from error
    tree = json.loads(expression.meta.serialize(format="json"))
    if set(_kinds(tree)) - _BY_ROW:
        raise Wrong("is not of each row by itself", "write it without sums, windows and the like")
    empty = pl.DataFrame(schema=dict(schema))
    try:
        expression = _expression(_widened(tree, empty))
        kind = _kind(expression, empty)
    except pl.exceptions.ColumnNotFoundError as error:
        raise Wrong(_said(error), f"the columns are {', '.join(schema)}") from error
    except pl.exceptions.PolarsError as error:
        raise Wrong(_said(error), "write it for the types that the columns have") from error
    return expression, kind


def _kinds(node: Any) -> Iterator[str]:
    """The names of all nodes of an expression."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for part in node:
            yield from _kinds(part)
    elif isinstance(node, dict):
        for name, part in node.items():
            if name[:1].isupper():
                yield name
            if name not in _TEXTS:
                yield from _kinds(part)


def _widened(node: Any, empty: pl.DataFrame) -> Any:
    """The same with 64 bits for each whole number that a function or a CASE gives.

    Polars gives an hour 8 bits and a length no sign, so that EXTRACT(HOUR FROM t) * 60 would be wrong without a word
    (measured with 1.44.2).
    """
    if isinstance(node, list):
        return [_widened(part, empty) for part in node]
    if not isinstance(node, dict):
        return node
    made = {name: part if name in _TEXTS else _widened(part, empty) for name, part in node.items()}
    if "Function" in made or "Ternary" in made:
        kind = _kind(_expression(made), empty)
        if kind.is_integer():
            return {"Cast": {"expr": made, "dtype": {"Literal": "Int64"}, "options": "NonStrict"}}
    return made


def _expression(tree: Any) -> pl.Expr:
    import polars as pl

    return pl.Expr.deserialize(io.StringIO(json.dumps(tree)), format="json")


def _kind(expression: pl.Expr, empty: pl.DataFrame) -> Any:
    """The type of what it gives; tried on no rows, which also tells what does not fit."""
    return empty.select(expression.alias("__value")).schema["__value"]


def as_feature(expression: pl.Expr) -> pl.Expr:
    """What a feature is made of such an expression, a number or a flag: float32."""
    import polars as pl

    return expression.cast(pl.Float32)


def numbered(column: str, values: Sequence[str]) -> pl.Expr:
    """A feature of a column of texts: the place of each among `values`, float32, null where it is none of them."""
    import polars as pl

    places = list(range(len(values)))
    return pl.col(column).replace_strict(list(values), places, default=None, return_dtype=pl.Float32)


def at(doc: Document, place: tuple[str, ...], text: object, schema: Mapping[str, Any]) -> Any:
    """As `parse`, of a text in a file: the `Problem` with its line instead of an error."""
    try:
        return parse(text, schema)
    except Wrong as error:
        return doc.problem(place, text, error.wrong, error.todo)


def yes_or_no(doc: Document, section: str, schema: Mapping[str, Any], problems: list[Problem]) -> dict[str, pl.Expr]:
    """The tests of one section of a file, `NAME: SQL` each; what is wrong with one goes to `problems`."""
    import polars as pl

    given = doc.data.get(section) or {}
    if not isinstance(given, dict):
        problems.append(doc.problem((section,), given, f"names no {section[:-1]}", "write `NAME: SQL`"))
        return {}
    found = {}
    for name, text in given.items():
        made = at(doc, (section, str(name)), text, schema)
        if isinstance(made, Problem):
            problems.append(made)
        elif made[1] != pl.Boolean:
            wrong = f"gives {made[1]}, not yes or no"
            problems.append(doc.problem((section, str(name)), text, wrong, "compare it with something"))
        else:
            found[str(name)] = made[0]
    return found


def _said(error: Exception) -> str:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line.split("; valid columns")[0][:200]
