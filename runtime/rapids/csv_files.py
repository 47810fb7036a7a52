"""What the bytes of a raw CSV file say that no reader of tables tells: ragged rows, lines, quotes, kinds of cells."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

    from runtime.rapids import tables

CHUNK_BYTES = 1 << 18  # small enough to stay in the processor's cache between the looks at it
FIRST_BYTES = 1 << 20  # of what a file's beginning tells
_INTEGER = r"^[+-]?\d{1,9}$"  # what always fits into 32 bits


@dataclass(frozen=True)
class Look:
    """What was seen in a whole file.

    Attributes:
        lines: of data, without the header.
        plain: whether all of it is ASCII without quotes.
        ragged: the 0-based numbers of rows with more or fewer cells than the header, sorted; None: not known. Empty
            from `counted` still allows for as many cells too few in some rows as there are too many in others.
    """

    lines: int
    plain: bool
    ragged: np.ndarray[Any, Any] | None


@dataclass(frozen=True)
class Beginning:
    """What the first MiB of a file promises, which the rest need not keep.

    Attributes:
        plain: ASCII without quotes.
        full: each row has a last cell, so that a later row without one is worth a look.
        integers: the columns that hold integers only, and one at least.
    """

    plain: bool
    full: bool
    integers: frozenset[str]


def beginning(table: tables.RawTable, columns: Collection[str]) -> Beginning:
    """What the first MiB of a CSV file looks like; `columns`: those that could hold integers."""
    import polars as pl

    with table.path.open("rb") as file:
        block = file.read(FIRST_BYTES)
    plain = block.isascii() and b'"' not in block
    whole = block[: block.rfind(b"\n") + 1]  # the last line may be cut
    if not plain or whole.count(b"\n") < 2:
        return Beginning(plain, full=False, integers=frozenset())
    schema = dict.fromkeys(table.header, pl.String)
    rows = pl.read_csv(whole, separator=table.separator, schema=schema, truncate_ragged_lines=True, quote_char=None)
    found = rows.select(pl.col(name).str.contains(_INTEGER).all() & pl.col(name).count().gt(0) for name in columns)
    integers = frozenset(name for name, holds in zip(columns, found.row(0), strict=True) if holds)
    return Beginning(plain, rows.to_series(rows.width - 1).null_count() == 0, integers)


def counted(table: tables.RawTable) -> Look:
    """Count the separators and the lines of a whole file, which is much less work than to look at each row."""
    import numpy as np

    separators = lines = 0
    buffer, last = bytearray(CHUNK_BYTES), 10
    view = np.frombuffer(buffer, dtype=np.uint8)
    with table.path.open("rb") as file:
        while size := file.readinto(buffer):
            data = view[:size]
            if buffer.find(b'"', 0, size) >= 0 or int(data.max()) > 127:
                return Look(0, plain=False, ragged=None)
            separators += int(np.count_nonzero(data == ord(table.separator)))
            lines += int(np.count_nonzero(data == 10))
            last = buffer[size - 1]
    lines += last != 10
    even = separators == lines * (len(table.header) - 1)
    return Look(lines - 1, plain=True, ragged=np.array([], dtype=np.int64) if even else None)


def ragged_rows(table: tables.RawTable) -> Look:
    """Look at each row: Polars fills or cuts ragged ones without a word."""
    return _ragged_by_bytes(table) or _ragged_by_csv(table)


def _ragged_by_bytes(table: tables.RawTable) -> Look | None:
    """Count separators between line ends; None when the file has quotes, where a separator may be text."""
    import numpy as np

    wanted, separator = len(table.header) - 1, ord(table.separator)
    found: list[Any] = []
    lines, plain = 0, True
    with table.path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            block += file.readline()
            if b'"' in block:
                return None
            plain = plain and block.isascii()
            data = np.frombuffer(block, dtype=np.uint8)
            starts = np.concatenate(([0], np.flatnonzero(data == 10) + 1))
            starts = starts[starts < data.size]
            cells = np.add.reduceat((data == separator).view(np.uint8), starts, dtype=np.int64)
            found.append(np.flatnonzero(cells != wanted) + lines)
            lines += starts.size
    rows = np.concatenate(found) - 1  # the header is line 0
    return Look(lines - 1, plain, rows[rows >= 0])


def _ragged_by_csv(table: tables.RawTable) -> Look:
    import numpy as np

    found: list[int] = []
    number = -1
    with table.path.open(encoding="utf-8", errors="replace", newline="") as file:
        for number, cells in enumerate(csv.reader(file, delimiter=table.separator), start=-1):
            if number >= 0 and len(cells) != len(table.header):
                found.append(number)
    return Look(number + 1, plain=False, ragged=np.array(found, dtype=np.int64))


def require_lines(port: str, path: Path, lines: int | None, rows: int) -> None:
    """Raises `BadInput` unless a CSV file, whose `lines` were counted in its bytes, was read as so many rows."""
    if lines is not None and lines != rows:
        wrong = f"has {lines} lines of data but {rows} rows: a quote or a line end stands in the wrong place"
        raise BadInput.of(port, path, wrong, "repair the quotes")
