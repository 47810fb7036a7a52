"""Write any number of taxi trips that follow the real ones: rows drawn from the committed sample, each jittered.

Usage: python bench/generate_trips.py OUT --rows 10_000_000 --format parquet [--schema coordinates] [--seed 0]
OUT is a file; rows are made and written 250,000 at a time, so the memory does not grow with their number.
The same arguments give the same bytes. Distances, durations and fares move together, so a model learns the same thing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

SAMPLE = Path(__file__).parents[1] / "tests" / "data" / "taxi"
CHUNK = 250_000
USD_PER_MI = 2.5  # the metered rate of 2012 to 2022. Source: nyc.gov/site/tlc/passengers/taxi-fare.page
# schema -> sample file, and its columns for pickup, dropoff, distance, fare, total
SCHEMAS = {
    "locations": (
        "yellow_2018_2020.parquet",
        "pickup_datetime dropoff_datetime trip_distance fare_amount total_amount",
    ),
    "coordinates": (
        "yellow_2016.parquet",
        "tpepPickupDateTime tpepDropoffDateTime tripDistance fareAmount totalAmount",
    ),
}
COORDINATES = ("startLon", "startLat", "endLon", "endLat")


def chunks(schema: str, rows: int, seed: int) -> Iterator[pl.DataFrame]:
    """Frames of at most `CHUNK` rows with the columns of the sample."""
    file, names = SCHEMAS[schema]
    sample = pl.read_parquet(SAMPLE / file)
    random = np.random.default_rng(seed)
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        yield jittered(sample[random.integers(0, sample.height, count)], names.split(), random)


def jittered(drawn: pl.DataFrame, names: list[str], random: np.random.Generator) -> pl.DataFrame:
    """Move times by up to 3 days, distances and durations by about 5 %, fares by the metered rate of the difference."""
    pickup, dropoff, distance, fare, total = names
    count = drawn.height
    far, slow = random.lognormal(0, 0.05, count), random.lognormal(0, 0.05, count)
    shift_s = random.integers(-3 * 86_400, 3 * 86_400, count)
    extra_mi = drawn[distance].to_numpy() * (far - 1)
    # A broken sensor's 46,826 miles stay a broken trip; they must not become a fare.
    extra_usd = np.clip(extra_mi * USD_PER_MI, -5, 5)
    took_s = (drawn[dropoff] - drawn[pickup]).dt.total_seconds().to_numpy() * slow
    begin = drawn[pickup].dt.epoch("s").to_numpy() + shift_s
    table = drawn.with_columns(
        pl.from_epoch(pl.Series(pickup, begin), "s").cast(pl.Datetime("us")),
        pl.from_epoch(pl.Series(dropoff, begin + took_s.astype(np.int64)), "s").cast(pl.Datetime("us")),
        pl.Series(distance, np.round(drawn[distance].to_numpy() * far, 2)),
        pl.Series(fare, np.round((drawn[fare].to_numpy() + extra_usd) * 2) / 2),
        pl.Series(total, np.round(drawn[total].to_numpy() + extra_usd, 2)),
    )
    moved = [(pl.col(n) + pl.Series(n, random.normal(0, 0.001, count))) for n in COORDINATES if n in drawn.columns]
    return table.with_columns(moved)


def write(out: Path, frames: Iterator[pl.DataFrame], kind: str) -> int:
    """Write the frames to one CSV or Parquet file and return the number of rows."""
    rows = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    if kind == "csv":
        with out.open("wb") as file:
            for frame in frames:
                frame.write_csv(file, include_header=rows == 0, datetime_format="%Y-%m-%d %H:%M:%S")
                rows += frame.height
        return rows
    writer = None
    for frame in frames:
        table = frame.to_arrow()
        writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
        writer.write_table(table)
        rows += frame.height
    if writer is not None:
        writer.close()
    return rows


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--format", choices=("csv", "parquet"), default="parquet")
    parser.add_argument("--schema", choices=tuple(SCHEMAS), default="locations")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = write(given.out, chunks(given.schema, given.rows, given.seed), given.format)
    print(f"{given.out}: {rows} rows, {given.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
