"""The footer that cudf writes differs by one bit a column; pyarrow writes the same for a column in UTC."""

from __future__ import annotations

import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runtime.rapids import naive_times

TIMES = [datetime.datetime(2016, 1, 1, 12, 30, 5, 7), None, datetime.datetime(1969, 12, 31, 23, 59)]


def write(path: Path, zone: str | None, unit: str = "us") -> Path:
    kind = pa.timestamp(unit, zone)
    columns = {"id": pa.array([1, 2, 3]), "from": pa.array(TIMES, kind), "to": pa.array(TIMES, kind)}
    pq.write_table(pa.table(columns), path, store_schema=False)  # as cudf: no Arrow schema beside Parquet's own
    return path


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_file_marked_as_utc_reads_as_without_a_zone_and_keeps_its_values(tmp_path: Path, unit: str) -> None:
    path, expected = write(tmp_path / "utc.parquet", "UTC", unit), write(tmp_path / "naive.parquet", None, unit)
    naive = pl.read_parquet(expected)
    assert pl.read_parquet(path).schema != naive.schema
    size = path.stat().st_size
    naive_times.restore(path, naive.schema)
    assert pl.read_parquet(path).equals(naive)
    assert pl.read_parquet(path).schema == naive.schema
    assert pq.read_table(path).equals(pq.read_table(expected))
    assert path.stat().st_size == size


def test_a_file_as_it_should_be_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "naive.parquet", None)
    before = path.read_bytes()
    naive_times.restore(path, pl.read_parquet_schema(path))
    assert path.read_bytes() == before


def test_any_other_difference_is_told_and_the_file_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "utc.parquet", "UTC")
    before = path.read_bytes()
    wanted = pl.Schema(pl.read_parquet_schema(path)) | {"from": pl.Datetime("us")}  # and `to` stays in UTC
    with pytest.raises(ValueError, match="columns \\['from'\\]"):
        naive_times.restore(path, pl.Schema(wanted))
    assert path.read_bytes() == before
