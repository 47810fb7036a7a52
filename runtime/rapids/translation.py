"""Whether cudf-polars can run a query, asked without a GPU and before the query runs.

cudf-polars takes a whole query or none of it: one operation that it lacks sends all of it to the CPU. It translates the
optimised plan first, which needs its packages (6.8 GB) and no GPU. The names used here are private to Polars 1.44 and
cudf-polars 26.10, which pyproject.toml pins. Source: cudf_polars 26.10, callback.py and dsl/translate.py.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def can_tell() -> bool:
    """Whether cudf-polars is installed."""
    return importlib.util.find_spec("cudf_polars") is not None


def problem(query: pl.LazyFrame) -> str | None:
    """Why cudf-polars would leave `query` to the CPU, as a clause of one line; None if it would run all of it."""
    import polars as pl
    from cudf_polars.dsl.translate import Translator

    optimised = query._ldf.with_optimizations(pl.QueryOptFlags()._pyoptflags)
    translator = Translator(optimised.visit(), pl.GPUEngine(executor="in-memory"))
    translator.translate_ir()
    reasons = dict.fromkeys(str(error).strip().splitlines()[0][:200] for error in translator.errors if str(error))
    return "; ".join(reasons)[:300] or (type(translator.errors[0]).__name__ if translator.errors else None)
