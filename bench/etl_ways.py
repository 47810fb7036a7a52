"""What bench/etl.py measures beside the steps: three other ways from the same two raw files to the same features.

Each is one process: python bench/etl_ways.py WAY GREEN YELLOW OUT. `old` restates the passes of the code that this
replaces, and is not copied from it: whole CSV files through pandas, three CSV files with their index between the steps
of which one is used, dates and times as Python objects that are deleted again. `pandas` is written well: the columns
that are needed, one file after the other, Parquet between the steps. `duckdb` is two statements a file, and Parquet.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from runtime.rapids.features import EARTH_RADIUS_KM, Limits
from runtime.rapids.prepare import FILE_STRIDE
from runtime.rapids.schemas import CANONICAL, FIELDS, SCHEMAS

LIMITS, SHARE, SEED = Limits(), 0.2, 0  # as rapids_transform has them
SAME = ["passenger_count", "rate_code_id", "pickup_lon", "pickup_lat", "dropoff_lon", "dropoff_lat"]
FEATURES = ["hour", "weekday", "month", "duration_min", "trip_distance_mi", "haversine_km", *SAME]
SCHEMA_OF = {"green": "green_2016", "yellow": "yellow_2016"}
ABSENT = ("pickup_location_id", "dropoff_location_id")  # empty in these schemas, so no feature


def names_of(schema: str) -> dict[str, str]:
    """Column of the raw file -> canonical column."""
    columns = SCHEMAS[SCHEMA_OF[schema]]
    return {getattr(columns, FIELDS[name]): name for name in CANONICAL if getattr(columns, FIELDS[name])}


def plausible(frame: Any, duration: Any) -> Any:
    """Whether a trip stays within the limits; missing coordinates do."""
    import numpy as np

    kept = frame["fare_usd"].between(LIMITS.min_fare_usd, LIMITS.max_fare_usd)
    kept &= frame["trip_distance_mi"].between(LIMITS.min_distance_mi, LIMITS.max_distance_mi)
    kept &= (duration >= LIMITS.min_duration_min) & (duration <= LIMITS.max_duration_min)
    for end in ("pickup", "dropoff"):
        for axis, low, high in (("lon", LIMITS.min_lon, LIMITS.max_lon), ("lat", LIMITS.min_lat, LIMITS.max_lat)):
            value = frame[f"{end}_{axis}"].to_numpy()
            kept &= ~((value < low) | (value > high)) | np.isnan(value)
    return kept


def haversine_km(frame: Any) -> Any:
    import numpy as np

    radians = math.pi / 180
    lat_1, lat_2 = frame["pickup_lat"] * radians, frame["dropoff_lat"] * radians
    lon = (frame["dropoff_lon"] - frame["pickup_lon"]) * radians
    half = np.sin((lat_2 - lat_1) / 2) ** 2 + np.cos(lat_1) * np.cos(lat_2) * np.sin(lon / 2) ** 2
    return np.arcsin(np.sqrt(half)) * (2 * EARTH_RADIUS_KM)


def held_out(trip_id: Any) -> Any:
    return ((trip_id % 1_000_003) * 7919 + SEED * 104_729) % 10_000 < round(SHARE * 10_000)


def old(files: dict[str, Path], out: Path) -> None:
    """CSV files only."""
    import pandas as pd

    between, parts = out / "prepared", []
    for number, (schema, path) in enumerate(files.items()):
        frame = pd.read_csv(path).dropna(how="all").rename(columns=names_of(schema))
        frame = frame[list(names_of(schema).values())]
        frame = frame.reset_index(drop=True)
        frame.insert(0, "trip_id", frame.index + number * FILE_STRIDE)
        frame.to_csv(between / f"{schema}.csv")
        parts.append(frame)
    pd.concat(parts, ignore_index=True).to_csv(between / "merged.csv")
    del parts, frame
    frame = [pd.read_csv(path) for path in sorted(between.glob("*.csv"))][1]
    at = {end: pd.to_datetime(frame[f"{end}_at"]) for end in ("pickup", "dropoff")}
    frame["duration_min"] = (at["dropoff"] - at["pickup"]).dt.total_seconds() / 60
    for end, moment in at.items():
        frame[f"{end}_date"], frame[f"{end}_time"] = moment.dt.date, moment.dt.time
    frame["hour"], frame["weekday"] = at["pickup"].dt.hour, at["pickup"].dt.weekday + 1
    frame["month"] = at["pickup"].dt.month
    frame = frame[plausible(frame, frame["duration_min"])].reset_index(drop=True)
    frame["haversine_km"] = haversine_km(frame)
    frame = frame.drop(columns=[f"{end}_{part}" for end in at for part in ("at", "date", "time")])
    chosen = held_out(frame["trip_id"])
    for part, rows in (("train", frame[~chosen]), ("test", frame[chosen])):
        rows[["trip_id", *FEATURES, "fare_usd"]].to_csv(out / part / "part-00000.csv", index=False)


def pandas(files: dict[str, Path], out: Path) -> None:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number, (schema, path) in enumerate(files.items()):
        names = {raw: name for raw, name in names_of(schema).items() if name not in ABSENT}
        if path.suffix == ".csv":
            frame = pd.read_csv(path, usecols=list(names), engine="pyarrow", parse_dates=[*names][:2])
        else:
            frame = pd.read_parquet(path, columns=list(names))
        frame = frame.rename(columns=names)
        frame.insert(0, "trip_id", np.arange(len(frame), dtype=np.int64) + number * FILE_STRIDE)
        frame.to_parquet(out / "prepared" / f"part-{number:05d}.parquet", compression="zstd", index=False)
    del frame
    writers: dict[str, Any] = {}
    needed = ["trip_id", "pickup_at", "dropoff_at", "fare_usd", "trip_distance_mi", *SAME]
    for path in sorted((out / "prepared").glob("*.parquet")):
        frame = pd.read_parquet(path, columns=needed)
        duration = (frame["dropoff_at"] - frame["pickup_at"]).dt.total_seconds() / 60
        kept = plausible(frame, duration)
        frame, duration = frame[kept], duration[kept]
        made = {"trip_id": frame["trip_id"], "hour": frame["pickup_at"].dt.hour}
        made |= {"weekday": frame["pickup_at"].dt.weekday + 1, "month": frame["pickup_at"].dt.month}
        made |= {"duration_min": duration, "haversine_km": haversine_km(frame)}
        made |= {name: frame[name] for name in ("trip_distance_mi", *SAME, "fare_usd")}
        columns = ["trip_id", *FEATURES, "fare_usd"]
        result = pd.DataFrame({n: made[n] if n == "trip_id" else made[n].astype("float32") for n in columns})
        chosen = held_out(result["trip_id"])
        for part, rows in (("train", result[~chosen]), ("test", result[chosen])):
            table = pa.Table.from_pandas(rows, preserve_index=False)
            to = out / part / "part-00000.parquet"
            writers[part] = writers.get(part) or pq.ParquetWriter(to, table.schema, compression="zstd")
            writers[part].write_table(table)
    for writer in writers.values():
        writer.close()


def duckdb(files: dict[str, Path], out: Path) -> None:
    import duckdb as engine

    from runtime.rapids.duckdb_check import TYPES, transformed_sql

    database = engine.connect(":memory:", config={"temp_directory": str(out / "spilled")})
    database.execute("SET enable_progress_bar = false")
    how = "(FORMAT parquet, COMPRESSION zstd)"
    for number, (schema, path) in enumerate(files.items()):
        names = names_of(schema)
        columns = ", ".join(f'"{raw}"::{TYPES[CANONICAL[name]]} AS {name}' for raw, name in names.items())
        if path.suffix == ".csv":
            header = path.open().readline().strip().split(",")
            kinds = {raw: TYPES[CANONICAL[names[raw]]] if raw in names else "VARCHAR" for raw in header}
            listed = ", ".join(f"'{raw}': '{kind}'" for raw, kind in kinds.items())
            row = "row_number() OVER () - 1"
            source = f"read_csv('{path}', header = true, auto_detect = false, delim = ',', columns = {{{listed}}})"
        else:
            row, source = "file_row_number", f"read_parquet('{path}', file_row_number = true)"
        to = out / "prepared" / f"part-{number:05d}.parquet"
        select = f"SELECT {number * FILE_STRIDE} + {row} AS trip_id, {columns} FROM {source}"  # noqa: S608 - ours
        database.execute(f"COPY ({select}) TO '{to}' {how}")
    parts = sorted((out / "prepared").glob("*.parquet"))
    for part in ("train", "test"):
        sql = transformed_sql(parts, LIMITS, FEATURES, (SHARE, SEED), held=part == "test")
        database.execute(f"COPY ({sql}) TO '{out / part / 'part-00000.parquet'}' {how}")


WAYS = {"old": old, "pandas": pandas, "duckdb": duckdb}

if __name__ == "__main__":
    way, green, yellow, to = sys.argv[1:]
    for name in ("prepared", "train", "test"):
        (Path(to) / name).mkdir(parents=True, exist_ok=True)
    WAYS[way]({"green": Path(green), "yellow": Path(yellow)}, Path(to))
