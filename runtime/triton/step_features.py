"""Ready-made step `features`: from columns of rapids_prepare to a model's features, by rapids_transform's expressions.

It is copied beside a model.py and runs inside the server, which has numpy and Polars (runtime/triton/ready_files.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.rapids.features import feature_expressions
from runtime.rapids.schemas import CANONICAL

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

NO_TIME = -(2**63)  # what numpy's NaT is as a whole number
WHOLE_MOST = 2**31 - 1
# How a column goes over the wire: a time as microseconds since 1970 as its clock showed it, a number with NaN where
# there is none. Whole numbers too, as INT32 could not say that one is missing; FP64 holds each of them exactly.
TYPE_OF = {"time": "INT64", "number": "FP64", "whole": "FP64"}


def columns_of(features: Sequence[str]) -> tuple[str, ...]:
    """The columns of rapids_prepare that these features are made of, in its order."""
    made = feature_expressions()
    roots = {root for name in features for root in made[name].meta.root_names()}
    return tuple(name for name in CANONICAL if name in roots)


def open_step(settings: Mapping[str, Any]) -> Callable[[Arrays], dict[str, NDArray[Any]]]:
    """The function of a step. Settings: `features`, and `tensor`, the model's input.

    It takes each column (N, 1) and gives (N, features) float32, NaN where a feature has no value.
    """
    made, columns = feature_expressions(), columns_of(settings["features"])
    wanted = [made[name] for name in settings["features"]]

    def predict(inputs: Arrays) -> dict[str, NDArray[Any]]:
        import polars as pl

        frame = pl.DataFrame([column_of(name, inputs[name].ravel()) for name in columns])
        return {settings["tensor"]: frame.select(wanted).to_numpy(order="c")}

    return predict


def column_of(name: str, values: NDArray[Any]) -> pl.Series:
    """A column as rapids_prepare types it; raises `ValueError` for what is no whole number where one belongs."""
    import numpy as np
    import polars as pl

    kind = CANONICAL[name]
    if kind == "time":
        return pl.Series(name, values.astype(np.int64).view("datetime64[us]"))
    column = pl.Series(name, values.astype(np.float64), nan_to_null=True)
    if kind == "number":
        return column
    given = values[~np.isnan(values)]
    if not (np.abs(given) <= WHOLE_MOST).all() or (given != np.floor(given)).any():
        raise ValueError(f"{name} holds what is no whole number of 32 bits")
    return column.cast(pl.Int32)


def on_the_wire(column: pl.Series) -> NDArray[Any]:
    """A column of rapids_prepare as this step takes it, (N, 1)."""
    import numpy as np
    import polars as pl

    if CANONICAL[column.name] == "time":
        times = column.cast(pl.Datetime("us")).cast(pl.Int64).fill_null(NO_TIME)
        return times.to_numpy().astype(np.int64)[:, None]
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()[:, None]
