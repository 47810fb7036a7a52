"""Finding tables on disk and reading them so that a user's bad file becomes one line, never a traceback."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, summary
from runtime.rapids import delta
from runtime.rapids.partitions import Beside, Files, by_folders
from runtime.remote_path import as_remote
from runtime.staging import machine_failure

if TYPE_CHECKING:
    import polars as pl

FORMS = ("parquet", "delta")
FORM_HELP = "How the table is written; delta: with the log of a Delta Lake table beside the Parquet files"


def listing(port: str, root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The tables below `root` (or `root` itself) in the order of their relative names; hidden files are left out.

    Of a Delta Lake table the files of its present version.

    Raises:
        BadInput: no such file, or one of no bytes, or a Delta Lake table with partitions or deletion vectors.
    """
    files, table = _found(port, root, suffixes)
    if table and table.kinds:
        wrong = f"is partitioned by {', '.join(table.kinds)}, which this step does not take"
        raise BadInput.of(port, root, wrong, "write it without partitions")
    if table and table.deleted:
        wrong = "has rows that are only marked as deleted (deletion vectors), which this step does not take"
        raise BadInput.of(port, root, wrong, "run REORG TABLE name APPLY (PURGE) where it was written")
    return files


def with_partitions(port: str, root: Path, suffixes: tuple[str, ...]) -> Files:
    """As `listing`, with what the folders of its Parquet files, or a Delta Lake table's log, say of them."""
    files, table = _found(port, root, suffixes)
    return table or by_folders(root, files)


def _found(port: str, root: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], Files | None]:
    """The files, and the Delta Lake table that they are, if they are one."""
    table = delta.files(port, root) if delta.is_table(root) else None
    files = table.files if table else _files(root, suffixes)
    if not files:
        raise BadInput.of(port, root, f"holds no {' or '.join(suffixes)} file", "name the file or folder with the data")
    for file in files:
        if file.stat().st_size == 0:
            raise BadInput.of(port, file, "is an empty file (0 bytes)", "remove it or write it again")
    return files, table


def _files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() in suffixes else []
    visible = (p for p in root.rglob("*") if not any(s.startswith((".", "_")) for s in p.relative_to(root).parts))
    fit = (p for p in visible if p.suffix.lower() in suffixes and (as_remote(p) is not None or p.is_file()))
    return sorted(fit, key=lambda p: p.parts)


def finish(folder: Path, form: str) -> None:
    """With `form` `delta` give a folder of Parquet files the log of a Delta Lake table; one of `FORMS`."""
    if form == "delta":
        import deltalake

        deltalake.convert_to_deltalake(str(folder))


def require_form(form: str) -> None:
    """Raises `BadInput` where the package of Delta Lake is asked for, and not here."""
    if form == "delta" and importlib.util.find_spec("deltalake") is None:
        todo = "pip install 'ngcrun[delta]', or leave it out"
        raise BadInput.of("table_format", form, "needs the package deltalake, which is not installed", todo)


def parquet_file(path: Path) -> Any:
    """An open `pyarrow.parquet.ParquetFile`, also of a file in storage."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path.open("rb") if as_remote(path) is not None else path)


@contextlib.contextmanager
def reading(port: str, path: Path) -> Iterator[None]:
    """Turn what the readers say of a broken file into `BadInput`; a full disk and the like pass through."""
    import polars as pl

    try:
        yield
    except Exception as error:
        arrow = sys.modules.get("pyarrow")  # a tenth of a second to import, and many steps do without
        kinds = (pl.exceptions.PolarsError, OSError, *([arrow.ArrowException] if arrow else []))
        if not isinstance(error, kinds):
            raise
        if machine_failure(error) is not None:
            raise
        what = "Parquet file" if path.suffix.lower() == ".parquet" or path.is_dir() else "CSV file"
        raise BadInput.of(port, path, f"is not a readable {what}: {_one_line(error)}", "write it again") from error


def _one_line(error: Exception) -> str:
    """The line that says why: a CSV parser's own error stands at the end, after its advice."""
    return "a quoted cell is never closed" if "not properly escaped" in str(error) else summary(error)


@dataclass(frozen=True)
class RawTable:
    """One raw file: its column names and types, and the 0-based numbers of rows with too few or too many cells."""

    path: Path
    header: dict[str, Any]
    separator: str
    beside: Beside = field(default_factory=Beside)

    @property
    def is_csv(self) -> bool:
        """Whether every cell is text."""
        return self.path.suffix.lower() == ".csv"

    def scan(self, row_number: str, *, plain: bool = False, kinds: Mapping[str, Any] | None = None) -> pl.LazyFrame:
        """The table with its row numbers; the cells of a CSV file stay text, so that a bad one can be counted.

        `plain`: a CSV file of ASCII without quotes, which is read faster for it. `kinds`: the types of some of its
        columns, which is faster still; then a cell of another type ends the query with a `polars.ComputeError`.
        """
        import polars as pl

        if not self.is_csv:
            return self.beside.scan(self.path, row_number)
        return pl.scan_csv(
            self.path,
            separator=self.separator,
            schema=dict.fromkeys(self.header, pl.String) | dict(kinds or {}),
            truncate_ragged_lines=True,  # those rows are found by csv_files.ragged_rows and dropped by number
            row_index_name=row_number,
            quote_char=None if plain else '"',
            encoding="utf8" if plain else "utf8-lossy",  # a byte that is no UTF-8 spoils its cell, not the file
        )


def open_raw(port: str, root: Path, separator: str) -> list[RawTable]:
    """The raw files, CSV or Parquet, each with its header; raises `BadInput` for one that has none."""
    found = with_partitions(port, root, (".csv", ".parquet"))
    return [_open_raw(port, path, separator, found.beside(path)) for path in found.files]


def _open_raw(port: str, path: Path, separator: str, beside: Beside) -> RawTable:
    import polars as pl

    with reading(port, path):
        if path.suffix.lower() == ".parquet":
            header = dict(pl.read_parquet_schema(path)) | {name: kind for name, (_, kind) in beside.columns.items()}
            return RawTable(path, header, separator, beside)
        lazy = pl.scan_csv(path, separator=separator, infer_schema=False, n_rows=0, encoding="utf8-lossy")
        return RawTable(path, dict(lazy.collect_schema()), separator)


def first_of(tests: Iterable[pl.Expr]) -> pl.Expr:
    """The number of the first of the tests that holds for a row, in their order; null where none does."""
    import polars as pl

    found = pl.lit(None, dtype=pl.Int16)
    for number, test in reversed(list(enumerate(tests))):
        found = pl.when(test).then(pl.lit(number, dtype=pl.Int16)).otherwise(found)
    return found


def batches(files: list[Path], columns: list[str], rows: int = 250_000) -> Iterator[pl.DataFrame]:
    """The columns of Parquet files in order, at most `rows` rows at a time; missing floats come as NaN in numpy."""
    import polars as pl

    for path in files:
        with parquet_file(path) as file:
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                frame = pl.from_arrow(batch)
                if isinstance(frame, pl.DataFrame) and frame.height:
                    yield frame.select(columns)


class Writer:
    """Writes frames of one schema to one Parquet file, a row group each; a file without frames is not made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, frame: pl.DataFrame) -> None:
        """Append the rows of `frame`."""
        import pyarrow.parquet as pq

        table = frame.to_arrow()
        if self._file is None:
            self._file = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._file.write_table(table)
