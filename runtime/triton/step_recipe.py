"""Ready-made step `features` of a model of rapids_recipe: from a table's columns to features, by the recipe's SQL.

It is copied beside a model.py and runs inside the server, which has numpy and Polars (runtime/triton/ready_files.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from runtime.rapids import expressions

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

NO_TIME = -(2**63)  # what numpy's NaT is as a whole number
EXACT = 2**53  # below it FP64 holds each whole number
_TIME = "Datetime(time_unit='{}', time_zone=None)"
_WHOLE = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
# How a column goes over the wire, by the name that Polars gives its type: numbers as FP64 with NaN where there is none,
# a time as microseconds since 1970 by its own clock. A text or a flag cannot be missing there.
TYPE_OF = {
    **dict.fromkeys((*_WHOLE, "Float32", "Float64"), "FP64"), "Boolean": "BOOL", "String": "BYTES",
    _TIME.format("us"): "INT64", _TIME.format("ms"): "INT64",
}  # fmt: skip


def open_step(settings: Mapping[str, Any]) -> Callable[[Arrays], dict[str, NDArray[Any]]]:
    """The function of a step. Settings: `features`, `tensor` (the model's input), and what rapids_recipe wrote.

    That is `column_types`, `expressions`, and for the features that number texts `categories`, `category_columns`. The
    function takes each column (N, 1) and gives (N, features) float32, NaN where a feature has no value.
    """
    schema = {name: type_of(text) for name, text in settings["column_types"].items()}
    made = {n: expressions.as_feature(expressions.parse(t, schema)[0]) for n, t in settings["expressions"].items()}
    for name, values in settings["categories"].items():
        made[name] = expressions.numbered(settings["category_columns"][name], values)
    wanted = [made[name].alias(name) for name in settings["features"]]

    def predict(inputs: Arrays) -> dict[str, NDArray[Any]]:
        import polars as pl

        frame = pl.DataFrame([column_of(name, kind, inputs[name].ravel()) for name, kind in schema.items()])
        made_of = frame.with_columns(wanted)  # `select` gives one row where no feature has a column
        return {settings["tensor"]: made_of.select(settings["features"]).to_numpy(order="c")}

    return predict


def type_of(text: str) -> Any:
    """The Polars type that a key of `TYPE_OF` names."""
    import polars as pl

    if text.startswith("Datetime"):
        return pl.Datetime("us" if text == _TIME.format("us") else "ms")
    return getattr(pl, text)()


def column_of(name: str, kind: Any, values: NDArray[Any]) -> pl.Series:
    """A column as the table has it; raises `ValueError` for what its type cannot hold."""
    import numpy as np
    import polars as pl

    if kind == pl.String:
        try:
            return pl.Series(name, [v.decode() if isinstance(v, bytes) else str(v) for v in values], dtype=pl.String)
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} holds what is no text in UTF-8") from error
    if kind == pl.Boolean:
        return pl.Series(name, values.astype(np.bool_))
    if isinstance(kind, pl.Datetime):
        return pl.Series(name, values.astype(np.int64).view("datetime64[us]")).cast(kind)
    column = pl.Series(name, values.astype(np.float64), nan_to_null=True)
    if not kind.is_integer():
        return column.cast(kind)
    given = values[~np.isnan(values)]
    if not (np.abs(given) < EXACT).all() or (given != np.floor(given)).any():
        raise ValueError(f"{name} holds what is no whole number below 2**53")
    try:
        return column.cast(kind)
    except pl.exceptions.InvalidOperationError as error:
        raise ValueError(f"{name} holds what is no whole number of the type {kind}") from error


def on_the_wire(column: pl.Series) -> NDArray[Any]:
    """A column of the table as this step takes it, (N, 1); raises `ValueError` for a text or a flag that is missing."""
    import polars as pl

    if TYPE_OF[str(column.dtype)] in ("BYTES", "BOOL") and column.null_count():
        raise ValueError(f"misses values in {column.name}, which {TYPE_OF[str(column.dtype)]} cannot express")
    if isinstance(column.dtype, pl.Datetime):
        column = column.cast(pl.Datetime("us")).cast(pl.Int64).fill_null(NO_TIME)
    elif column.dtype.is_numeric():
        column = column.cast(pl.Float64).fill_null(float("nan"))
    return column.to_numpy()[:, None]
