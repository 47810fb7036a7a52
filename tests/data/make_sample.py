"""Make the committed sample of real taxi trips from its two public sources (see README.md beside the data).

Usage: python tests/data/make_sample.py SDIST FOLDER_2016 OUT
SDIST: great_expectations-1.24.1.tar.gz from PyPI. FOLDER_2016: a folder with green.csv and yellow.csv of January 2016.
"""

from __future__ import annotations

import re
import sys
import tarfile
import tempfile
from pathlib import Path

import polars as pl

MONTH = re.compile(r".*/taxi_yellow_tripdata_samples/(yellow_tripdata_sample_20\d\d-\d\d\.csv)")
YEAR_2022 = re.compile(r".*/quickstart/(yellow_tripdata_sample_2022-01\.csv)")
TIMES = {
    "pickup_datetime",
    "dropoff_datetime",
    "lpepPickupDatetime",
    "lpepDropoffDatetime",
    "tpepPickupDateTime",
    "tpepDropoffDateTime",
}
FLOATS = re.compile(r"distance|amount|extra|tax|fee|surcharge|lon|lat", re.IGNORECASE)
CSV_ROWS = 500


def typed(table: pl.DataFrame) -> pl.DataFrame:
    """The same columns with types; every cell must fit, for the sources have no bad ones."""
    casts = []
    for name in table.columns:
        if name in TIMES:
            casts.append(pl.col(name).str.to_datetime("%Y-%m-%d %H:%M:%S"))
        elif "flag" not in name.lower():
            number = pl.col(name).cast(pl.Float64)
            casts.append(number if FLOATS.search(name) and "location" not in name.lower() else number.cast(pl.Int32))
    return table.with_columns(casts)


def members(sdist: Path, pattern: re.Pattern[str], folder: Path) -> list[Path]:
    """Extract the files whose name in the archive matches, in the order of their names."""
    found = []
    with tarfile.open(sdist) as archive:
        for member in archive:
            match = pattern.fullmatch(member.name)
            if match:
                path = folder / match[1]
                path.write_bytes(archive.extractfile(member).read())
                found.append(path)
    return sorted(found)


def main(sdist: Path, folder_2016: Path, out: Path) -> None:
    """Write the Parquet files into `out` and the small CSV files into `taxi_csv` beside it."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        months = members(sdist, MONTH, Path(scratch))
        assert len(months) == 36, months
        yellow = pl.concat([pl.read_csv(path, infer_schema=False) for path in months])
        (january_2022,) = members(sdist, YEAR_2022, Path(scratch))
        head(january_2022, out.parent / "taxi_csv" / "tlc_yellow_2022.csv")
        head(months[12], out.parent / "taxi_csv" / "tlc_snake_2019.csv")
    write(typed(yellow), out / "yellow_2018_2020.parquet")
    for color in ("green", "yellow"):
        source = folder_2016 / f"{color}.csv"
        table = pl.read_csv(source, infer_schema=False)
        # The green file ends in an empty line, which is no trip.
        write(typed(table.filter(~pl.all_horizontal(pl.all().is_null()))), out / f"{color}_2016.parquet")
        head(source, out.parent / "taxi_csv" / f"{color}_2016.csv")


def write(table: pl.DataFrame, path: Path) -> None:
    """Write one Parquet file, small rather than fast."""
    table.write_parquet(path, compression="zstd", compression_level=19, row_group_size=100_000)
    print(path.name, table.height, path.stat().st_size)


def head(source: Path, path: Path) -> None:
    """Copy the header and the first rows of a CSV file, byte for byte."""
    path.parent.mkdir(exist_ok=True)
    with source.open("rb") as lines:
        path.write_bytes(b"".join(line for _, line in zip(range(CSV_ROWS + 1), lines, strict=False)))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
