"""Timestamps without a time zone, in Parquet that cudf wrote.

cudf writes every timestamp as one in UTC (`isAdjustedToUTC`), and cudf-polars does not ask it for anything else: on an
H200 with 26.10 the same query gave `datetime[us, UTC]` on the GPU and `datetime[us]` on the CPU. Both forms have the
same length, so the flag is set in the file's footer and nothing is written again.
Source: parquet-format, parquet.thrift (LogicalType 8 TIMESTAMP, TimestampType) and Thrift's compact protocol.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

MAGIC = b"PAR1"
# The union's field 8, a struct: its field 1 is a bool, whose type says true (1) or false (2); its field 2 is the unit,
# a union of one empty struct (1, 2 or 3: milli-, micro- or nanoseconds); three ends of struct.
_IN_UTC = re.compile(rb"\x8c\x11(\x1c[\x1c\x2c\x3c]\x00\x00\x00)")
_NAIVE = b"\x8c\x12\\1"


def restore(path: Path, schema: pl.Schema) -> None:
    """Mark the timestamps of `path` as without a time zone, where `schema` has them so and the file does not.

    Raises `ValueError`, with the file as it was, for a footer that does not hold exactly those timestamps.
    """
    import polars as pl

    written = pl.read_parquet_schema(path)
    wrong = [name for name, kind in schema.items() if kind != written[name]]
    if not wrong:
        return
    aware = [n for n, kind in written.items() if isinstance(kind, pl.Datetime) and kind.time_zone]
    if wrong != aware:
        raise ValueError(f"{path.name}: the columns {wrong} were written as {[written[name] for name in wrong]}")
    with path.open("r+b") as file:
        file.seek(-8, 2)
        length, magic = int.from_bytes(file.read(4), "little"), file.read(4)
        file.seek(-8 - length, 2)
        start, footer = file.tell(), file.read(length)
        changed, count = _IN_UTC.subn(_NAIVE, footer)
        if magic != MAGIC or count != len(wrong):
            raise ValueError(
                f"{path.name}: its footer marks {count} timestamps as UTC, not the {len(wrong)} of {wrong}"
            )
        file.seek(start)
        file.write(changed)
