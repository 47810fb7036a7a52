"""Parquet files some of whose columns are not in them: each file has one value of such a column, as its folder says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    import polars as pl

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # Source: Apache Hive, hive.exec.default.partition.name
_PLACE = "__place"


@dataclass(frozen=True)
class Beside:
    """What a file does not say itself: columns of one value and type each, and the numbers of its deleted rows."""

    columns: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    deleted: pl.Series | None = None

    def scan(self, files: Path | list[Path], row_number: str | None = None) -> pl.LazyFrame:
        """The rows that are there, with those columns; `row_number`: the column of a row's place in its file."""
        import polars as pl

        if self.deleted is None:
            table = pl.scan_parquet(files, row_index_name=row_number)
        else:
            place = row_number or _PLACE
            table = pl.scan_parquet(files, row_index_name=place).filter(~pl.col(place).is_in(self.deleted.implode()))
            table = table if row_number else table.drop(place)
        literals = [pl.lit(value, dtype=kind).alias(name) for name, (value, kind) in self.columns.items()]
        return table.with_columns(literals) if literals else table


@dataclass(frozen=True)
class Files:
    """The files of a table, in order; `kinds`: the columns beside those in the files; `values`: theirs by file.

    `deleted`: by file the numbers of its rows that are no rows of the table.
    """

    files: list[Path]
    kinds: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[Path, Mapping[str, Any]] = field(default_factory=dict)
    deleted: Mapping[Path, pl.Series] = field(default_factory=dict)

    def beside(self, file: Path) -> Beside:
        """What this file does not say itself."""
        columns = {name: (self.values[file][name], kind) for name, kind in self.kinds.items()}
        return Beside(columns, self.deleted.get(file))

    def scan(self, row_number: str | None = None) -> pl.LazyFrame:
        """All of them as one table; `row_number`: the name of a column that counts its rows from 0."""
        import polars as pl

        if not self.kinds and not self.deleted:
            return pl.scan_parquet(self.files, row_index_name=row_number)
        # Neighbours that say the same are read together; a file with deleted rows is read alone.
        groups = itertools.groupby(self.files, key=lambda f: (self.beside(f).columns, f if f in self.deleted else None))
        together = [list(some) for _, some in groups]
        table = pl.concat([self.beside(some[0]).scan(some) for some in together])
        return table.with_row_index(row_number) if row_number else table


def by_folders(root: Path, files: list[Path]) -> Files:
    """The files below `root`, with what folders named `column=value` between them say.

    A column is of whole numbers or of dates where all its values are, as Spark and Polars take it, and else of text.
    """
    found = {file: _said(root, file) for file in files}
    names = list(dict.fromkeys(name for said in found.values() for name in said))
    kinds, values = {}, {file: dict.fromkeys(names) for file in files}
    for name in names:
        texts = [said.get(name) for said in found.values()]
        kinds[name], typed = _typed(texts)
        for file, value in zip(found, typed, strict=True):
            values[file][name] = value
    return Files(files, kinds, values)


def _said(root: Path, file: Path) -> dict[str, str | None]:
    """What the folders between the root and a file say: `year=2016/month=01` is two columns."""
    if file == root:
        return {}
    pairs = [part.split("=", 1) for part in file.relative_to(root).parts[:-1] if "=" in part.lstrip("=")]
    return {unquote(name): None if text == NO_VALUE else unquote(text) for name, text in pairs}


def _typed(texts: list[str | None]) -> tuple[Any, list[Any]]:
    """The type of a column, and its values in it."""
    import polars as pl

    there = [text for text in texts if text is not None]
    column = pl.Series(texts, dtype=pl.String)
    if there and all(re.fullmatch(r"-?\d{1,18}", text) for text in there):
        column = column.cast(pl.Int64)
    elif there and all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) for text in there):
        dates = column.str.to_date("%Y-%m-%d", strict=False)
        column = dates if dates.null_count() == column.null_count() else column
    return column.dtype, column.to_list()
