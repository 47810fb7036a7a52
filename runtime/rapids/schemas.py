"""The public NYC taxi trip schemas, the columns we make of them, and telling which schema a file is in.

Source: NYC TLC trip record data dictionaries (nyc.gov/site/tlc/about/tlc-trip-record-data.page) for the names with
location ids; Azure Open Datasets "NYC Taxi & Limousine Commission" for the 2016 names with coordinates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from runtime.errors import Problem

Kind = Literal["time", "number", "whole"]

TARGET = "fare_usd"
TARGET_UNIT = "USD"
TRIP_ID = "trip_id"
ROW_ID = "row_id"  # what numbers the rows of a table that is no table of trips

# Canonical column -> what its cells are. Units end the name.
CANONICAL: dict[str, Kind] = {
    "pickup_at": "time",
    "dropoff_at": "time",
    "fare_usd": "number",
    "trip_distance_mi": "number",
    "passenger_count": "whole",
    "vendor_id": "whole",
    "rate_code_id": "whole",
    "payment_type": "whole",
    "pickup_lon": "number",
    "pickup_lat": "number",
    "dropoff_lon": "number",
    "dropoff_lat": "number",
    "pickup_location_id": "whole",
    "dropoff_location_id": "whole",
    "tip_usd": "number",
    "tolls_usd": "number",
    "total_usd": "number",
}
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
REQUIRED = ("pickup_at", "dropoff_at", "fare_usd", "trip_distance_mi")


@dataclass
class Columns:
    """Which column of the raw file holds what; None is the name in the schema that the file is recognised as."""

    pickup_at: str | None = None
    dropoff_at: str | None = None
    fare: str | None = None
    trip_distance: str | None = None
    passenger_count: str | None = None
    vendor_id: str | None = None
    rate_code_id: str | None = None
    payment_type: str | None = None
    pickup_lon: str | None = None
    pickup_lat: str | None = None
    dropoff_lon: str | None = None
    dropoff_lat: str | None = None
    pickup_location_id: str | None = None
    dropoff_location_id: str | None = None
    tip: str | None = None
    tolls: str | None = None
    total: str | None = None


# Canonical name -> field of `Columns`, where dropping the unit is all that differs.
FIELDS: dict[str, str] = {name: name.removesuffix("_usd").removesuffix("_mi") for name in CANONICAL}

_TLC = Columns(
    fare="fare_amount",
    trip_distance="trip_distance",
    passenger_count="passenger_count",
    vendor_id="VendorID",
    rate_code_id="RatecodeID",
    payment_type="payment_type",
    pickup_location_id="PULocationID",
    dropoff_location_id="DOLocationID",
    tip="tip_amount",
    tolls="tolls_amount",
    total="total_amount",
)
_AZURE_2016 = Columns(
    fare="fareAmount",
    trip_distance="tripDistance",
    passenger_count="passengerCount",
    vendor_id="vendorID",
    payment_type="paymentType",
    pickup_location_id="puLocationId",
    dropoff_location_id="doLocationId",
    tip="tipAmount",
    tolls="tollsAmount",
    total="totalAmount",
)

SCHEMAS: dict[str, Columns] = {
    "green_2016": dataclasses.replace(
        _AZURE_2016,
        pickup_at="lpepPickupDatetime",
        dropoff_at="lpepDropoffDatetime",
        rate_code_id="rateCodeID",
        pickup_lon="pickupLongitude",
        pickup_lat="pickupLatitude",
        dropoff_lon="dropoffLongitude",
        dropoff_lat="dropoffLatitude",
    ),
    "yellow_2016": dataclasses.replace(
        _AZURE_2016,
        pickup_at="tpepPickupDateTime",
        dropoff_at="tpepDropoffDateTime",
        rate_code_id="rateCodeId",
        pickup_lon="startLon",
        pickup_lat="startLat",
        dropoff_lon="endLon",
        dropoff_lat="endLat",
    ),
    "tlc_yellow": dataclasses.replace(_TLC, pickup_at="tpep_pickup_datetime", dropoff_at="tpep_dropoff_datetime"),
    "tlc_green": dataclasses.replace(_TLC, pickup_at="lpep_pickup_datetime", dropoff_at="lpep_dropoff_datetime"),
    "tlc_plain": dataclasses.replace(_TLC, pickup_at="pickup_datetime", dropoff_at="dropoff_datetime"),
    "tlc_snake": dataclasses.replace(
        _TLC,
        pickup_at="pickup_datetime",
        dropoff_at="dropoff_datetime",
        vendor_id="vendor_id",
        rate_code_id="rate_code_id",
        pickup_location_id="pickup_location_id",
        dropoff_location_id="dropoff_location_id",
    ),
}


def id_of(columns: Iterable[str]) -> str:
    """The column that numbers the rows of a table: trip_id, or row_id where that is there."""
    return ROW_ID if ROW_ID in set(columns) else TRIP_ID


@dataclass(frozen=True)
class Recognised:
    """A file's schema: its name, and canonical column -> column in the file, only for those that the file has."""

    name: str
    sources: dict[str, str]


def recognise(header: list[str], wanted: Columns) -> Recognised | list[str]:
    """The schema of a file by its header alone; else, for each schema tried, `<columns> of <name>`, nearest first.

    Names set in `wanted` come before those of a schema. When `wanted` names every required column, it is tried alone.
    """
    own = {name: getattr(wanted, field) for name, field in FIELDS.items() if getattr(wanted, field) is not None}
    tried = {"columns": Columns()} if all(name in own for name in REQUIRED) else SCHEMAS
    misses: list[tuple[int, str]] = []
    found: list[Recognised] = []
    for schema, columns in tried.items():
        sources = {n: getattr(columns, f) for n, f in FIELDS.items() if getattr(columns, f) is not None} | own
        # A name that the user wrote must be there even if its column is not required.
        absent = [sources[n] for n in sources if sources[n] not in header and (n in REQUIRED or n in own)]
        if absent:
            tried_as = "your columns" if schema == "columns" else f"schema {schema}"
            misses.append((len(absent), f"{', '.join(absent)} of {tried_as}"))
        else:
            found.append(Recognised(schema, {n: s for n, s in sources.items() if s in header}))
    if found:  # the fullest match: schemas share the names of their required columns
        return max(found, key=lambda match: len(match.sources))
    return [text for _, text in sorted(misses, key=lambda miss: miss[0])]


def unknown_schema(file: str, header: list[str], misses: list[str], separator: str) -> Problem:
    """The problem of a file in no known schema: what was found, what is known, and what to do."""
    other = next((n for n, s in SEPARATORS.items() if n != separator and len(header) == 1 and s in header[0]), None)
    if other is not None:
        wrong = f"has one column, named {header[0][:60]!r}: its cells are not separated by a {separator}"
        return Problem("trips", file, wrong, f"set separator={other}")
    found = ", ".join(header[:30]) + (", ..." if len(header) > 30 else "")
    wrong = f"is in no known schema: found {found}; not found {'; '.join(misses)}"
    return Problem(
        "trips", file, wrong, "name its columns, such as columns.fare=NAME, or give a file in a known schema"
    )
