"""The features of a trip, the limits of a plausible one, and `features.json`, which says what a feature table holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.rapids.schemas import REQUIRED, TARGET, TARGET_UNIT

if TYPE_CHECKING:
    import polars as pl

EARTH_RADIUS_KM = 6371.0088  # mean radius. Source: IUGG, Geodetic Reference System 1980
FEATURES_FILE = "features.json"
FARE = {"name": TARGET, "unit": TARGET_UNIT}


@dataclass
class Limits:
    """What a plausible trip stays within, bounds included; None is no bound. The defaults surround New York City."""

    min_fare_usd: float | None = 2.5
    max_fare_usd: float | None = 250.0
    min_distance_mi: float | None = 0.05
    max_distance_mi: float | None = 100.0
    min_duration_min: float | None = 1.0
    max_duration_min: float | None = 180.0
    min_lon: float | None = -74.6
    max_lon: float | None = -72.8
    min_lat: float | None = 40.2
    max_lat: float | None = 41.4


NO_LIMITS = Limits(**dict.fromkeys(Limits.__dataclass_fields__))


def feature_expressions() -> dict[str, pl.Expr]:
    """Each feature by name, from canonical columns, float32; null where what it needs is missing.

    Units end the names; `hour` is 0..23, `weekday` 1 (Monday)..7, `month` 1..12.
    Only operations that cudf-polars has are used.
    """
    import polars as pl

    at = pl.col("pickup_at")
    made = {
        "hour": at.dt.hour(),
        "weekday": at.dt.weekday(),
        "month": at.dt.month(),
        "duration_min": duration_min(),
        "trip_distance_mi": pl.col("trip_distance_mi"),
        "haversine_km": haversine_km(),
    }
    same = ("passenger_count", "rate_code_id", "pickup_lon", "pickup_lat", "dropoff_lon", "dropoff_lat")
    made |= {name: pl.col(name) for name in (*same, "pickup_location_id", "dropoff_location_id")}
    return {name: expression.cast(pl.Float32).alias(name) for name, expression in made.items()}


def duration_min() -> pl.Expr:
    """From pickup to dropoff, in minutes; negative when the clock says so."""
    import polars as pl

    return (pl.col("dropoff_at") - pl.col("pickup_at")).dt.total_seconds().cast(pl.Float64) / 60.0


def haversine_km() -> pl.Expr:
    """Great-circle distance from pickup to dropoff in km; null without coordinates."""
    import polars as pl

    radians = math.pi / 180.0
    lat_1, lat_2 = pl.col("pickup_lat") * radians, pl.col("dropoff_lat") * radians
    lon = (pl.col("dropoff_lon") - pl.col("pickup_lon")) * radians
    half = ((lat_2 - lat_1) / 2).sin() ** 2 + lat_1.cos() * lat_2.cos() * (lon / 2).sin() ** 2
    return half.sqrt().arcsin() * (2 * EARTH_RADIUS_KM)


def drop_tests(limits: Limits) -> dict[str, pl.Expr]:
    """Reason -> whether a trip is dropped for it, in the order in which they are tried; null counts as false."""
    import polars as pl

    tests = {f"missing_{name}": pl.col(name).is_null() for name in REQUIRED}
    ranges = {
        "fare_out_of_range": (pl.col(TARGET), limits.min_fare_usd, limits.max_fare_usd),
        "distance_out_of_range": (pl.col("trip_distance_mi"), limits.min_distance_mi, limits.max_distance_mi),
        "duration_out_of_range": (duration_min(), limits.min_duration_min, limits.max_duration_min),
    }
    for name, (value, low, high) in ranges.items():
        tests[name] = ~value.is_finite() | _outside(value, low, high)
    places = [_outside(pl.col(f"{end}_lon"), limits.min_lon, limits.max_lon) for end in ("pickup", "dropoff")]
    places += [_outside(pl.col(f"{end}_lat"), limits.min_lat, limits.max_lat) for end in ("pickup", "dropoff")]
    tests["outside_area"] = (places[0] | places[1] | places[2] | places[3]).fill_null(value=False)
    return tests


def _outside(value: pl.Expr, low: float | None, high: float | None) -> pl.Expr:
    import polars as pl

    below = value < low if low is not None else pl.lit(value=False)
    return below | (value > high if high is not None else pl.lit(value=False))


def write_features(folder: Path, names: list[str], target: Mapping[str, str] = FARE, **more: Any) -> None:
    """Write `features.json`: the features in the order of their columns, their types, and the target with its unit."""
    content = {
        "features": [{"name": name, "dtype": "float32"} for name in names],
        "target": dict(target),
        **more,
    }
    folder.joinpath(FEATURES_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_features(port: str, folder: Path, made_by: str) -> dict[str, Any]:
    """The content of a folder's `features.json`; raises `BadInput` when it is not one that `made_by` wrote."""
    path = folder / FEATURES_FILE
    todo = f"give the output of {made_by}"
    if not path.is_file():
        raise BadInput.of(port, folder, f"holds no {FEATURES_FILE}", todo)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = [feature["name"] for feature in content["features"]]
        content["target"]["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput.of(port, path, f"is not a feature list ({type(error).__name__}: {error})", todo) from error
    if not names:
        raise BadInput.of(port, path, "lists no features", todo)
    return dict(content)
