"""Between tables and tensors: which columns a model takes, requests made of rows, and answers made into columns."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, Problem, nearest
from runtime.triton import model_config
from runtime.triton.model_config import TYPES, Signature, Tensor
from runtime.triton.step_features import NO_TIME

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

PORT = "rows"
PREDICTION = "prediction"  # what rapids_score reads, for a model that gives one number a row


@dataclass(frozen=True)
class Layout:
    """How rows become requests. `columns`: of each input, its columns in order; `rows_each`: at most, in a request."""

    signature: Signature
    columns: dict[str, tuple[str, ...]]
    rows_each: int

    def needed(self) -> list[str]:
        """Every column that is sent, once, in order."""
        return list(dict.fromkeys(name for names in self.columns.values() for name in names))


def layout(config: Any, columns: str | None, batch_size: int | None) -> Layout:
    """The layout for a model as its server describes it.

    Raises:
        BadInput: when rows of a table are not what the model takes, or nobody says which columns it takes.
    """
    signature = model_config.signature_of(config)
    batched = signature.batched
    row_dims = {t.name: t.dims if batched else t.dims[1:] for t in signature.inputs}
    if any(
        len(dims) > 1 or (not batched and not t.dims)
        for t in signature.inputs
        if (dims := row_dims[t.name]) is not None
    ):
        shapes = ", ".join(f"{t.name} {list(t.dims)}" for t in signature.inputs)
        raise BadInput.of("model_name", config.name, f"takes no rows of a table: {shapes}", "use a client of its own")
    found = _columns(config, signature, columns, row_dims)
    return Layout(signature, found, _rows_each(config, signature, batch_size))


def _columns(
    config: Any, signature: Signature, columns: str | None, row_dims: dict[str, tuple[int, ...]]
) -> dict[str, tuple[str, ...]]:
    if len(signature.inputs) > 1:  # an input a column, named alike
        return {t.name: (t.name,) for t in signature.inputs}
    name = signature.inputs[0].name
    known = model_config.parameter(config, "feature_names")
    names = tuple(c.strip() for c in columns.split(",")) if columns else tuple(json.loads(known)) if known else ()
    if not names:
        raise BadInput.of(
            "columns", None, "is not set, and the model does not name its features", "list them: columns=a,b,c"
        )
    width = row_dims[name][0] if row_dims[name] else 1
    if width not in (-1, len(names)):
        raise BadInput.of(
            "columns", ",".join(names), f"are {len(names)} columns, the model takes {width}", "list as many"
        )
    return {name: names}


def _rows_each(config: Any, signature: Signature, wanted: int | None) -> int:
    """Rows of one request: as asked where the model allows it, else 1024 or what it allows."""
    most = config.max_batch_size
    if not signature.batched:  # then rows are its first dim: free, or a fixed number
        first = signature.inputs[0].dims[0]
        most = 2**31 if first == -1 else first
    if wanted is not None and wanted > most:
        raise BadInput.of(
            "batch_size", wanted, f"is more than the model takes at a time, {most}", f"use batch_size={most}"
        )
    return int(min(wanted or 1024, most))


# --- reading ----------------------------------------------------------------------------------------------------------


def scan(path: Path) -> pl.LazyFrame:
    """The Parquet or CSV file, or all of a folder in the order of their names, read lazily."""
    import polars as pl

    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and p.name[0] not in "._")
    tables = [p for p in files if p.suffix.lower() in (".parquet", ".csv")]
    kinds = {p.suffix.lower() for p in tables}
    if len(kinds) != 1:
        found = ", ".join(sorted({p.suffix.lower() or p.name for p in files})) or "nothing"
        raise BadInput.of(PORT, path, f"holds no tables of one kind (found: {found})", "give .parquet or .csv files")
    if kinds == {".parquet"}:
        return pl.scan_parquet(tables)
    return pl.scan_csv(tables, infer_schema_length=10_000)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what polars says of a file into one line."""
    import polars as pl

    try:
        yield
    except pl.exceptions.PolarsError as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput.of(
            PORT, path, f"cannot be read ({first[:200]})", "the file may be cut short; write it again"
        ) from error


def require_columns(table: pl.LazyFrame, path: Path, plan: Layout, id_column: str | None) -> None:
    """Raises `BadInput` for each column that is missing or of a type that the model cannot take."""
    with reading(path):
        schema = table.collect_schema()
    problems = []
    for name in plan.needed() + ([id_column] if id_column else []):
        if name not in schema:
            port = "id_column" if name == id_column else "columns"
            problems.append(Problem(port, name, "is not in the table", nearest(name, schema.names())))
    for tensor in plan.signature.inputs:
        for name in plan.columns[tensor.name]:
            if name in schema and not _fits(schema[name], tensor):
                wrong = f"is {schema[name]}, the model takes {tensor.dtype}"
                problems.append(Problem("columns", name, wrong, "convert the column, or name another"))
    if problems:
        raise BadInput(problems)


def _fits(kind: pl.DataType, tensor: Tensor) -> bool:
    import polars as pl

    if tensor.dtype == "BYTES":
        return kind == pl.String
    if tensor.dtype == "BOOL":
        return kind == pl.Boolean
    if isinstance(kind, pl.Datetime):
        return tensor.dtype == "INT64"
    return kind.is_numeric() and (tensor.dtype.startswith("FP") or kind.is_integer())


def requests(frame: pl.DataFrame, plan: Layout, path: Path) -> dict[str, NDArray[Any]]:
    """One request: (rows, columns) for each input; a missing number is NaN where the type has one.

    A time is microseconds since 1970 as its clock showed it, a missing one as numpy's NaT is (step_features.py).
    """
    import numpy as np
    import polars as pl
    import polars.selectors as cs

    times = cs.datetime().dt.replace_time_zone(None).cast(pl.Datetime("us")).cast(pl.Int64).fill_null(NO_TIME)
    feed = {}
    for tensor in plan.signature.inputs:
        part = frame.select(plan.columns[tensor.name]).with_columns(times)
        if not tensor.dtype.startswith("FP") and any(part.null_count().row(0)):
            names = ", ".join(plan.columns[tensor.name])
            raise BadInput.of(
                PORT, path, f"misses values in {names}, which {tensor.dtype} cannot express", "fill them first"
            )
        array = part.to_numpy(order="c").astype(np.dtype(TYPES[tensor.dtype].numpy), copy=False)
        dims = tensor.dims if plan.signature.batched else tensor.dims[1:]
        feed[tensor.name] = array if dims else array.reshape(len(frame))
        if plan.signature.batched and not dims:  # Triton shows a client at least one dim
            feed[tensor.name] = array
    return feed


def answer_columns(answers: dict[str, NDArray[Any]], ids: pl.Series | None) -> pl.DataFrame:
    """The outputs as columns: `prediction` for one number a row, else the output's name, numbered if it is wide."""
    import polars as pl

    columns: list[pl.Series] = [] if ids is None else [ids]
    single = len(answers) == 1
    for name, array in answers.items():
        table = array.reshape(len(array), -1)
        for index in range(table.shape[1]):
            wide = f"{name}_{index}" if table.shape[1] > 1 else name
            title = PREDICTION if single and table.shape[1] == 1 else wide
            values = table[:, index]
            texts = table.dtype == object
            columns.append(pl.Series(title, [_text(v) for v in values] if texts else values))
    return pl.DataFrame(columns)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
