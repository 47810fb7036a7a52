"""NVIDIA's perf_analyzer as the load of a measurement, where it is on PATH: a client in C++ costs less than ours.

Source: triton-inference-server/perf_analyzer, docs/cli.md, docs/input_data.md; measured with 2.44.0 and 2.47.0.
"""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import vendor
from runtime.errors import ToolFailed
from runtime.triton.load_generator import Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "perf_analyzer"
WINDOWS = 3  # a rate is steady when those of the last three windows agree, so a measurement has three at least
STEADY_PERCENT, ROUGHLY_PERCENT = 10, 50  # the largest of the three against the smallest; 10 is its own default
TRIALS = 6  # windows at most
UNSTEADY = "Failed to obtain stable measurement"


def there() -> bool:
    """Whether it can be started."""
    return shutil.which(NAME) is not None


def write_data(path: Path, rows: Mapping[str, NDArray[Any]], *, batched: bool) -> None:
    """Write the rows as its input file: each row an entry, or all as one for a model without batches."""
    if batched:
        count = len(next(iter(rows.values())))
        entries = [
            {name: _content(array[i : i + 1].reshape(array.shape[1:])) for name, array in rows.items()}
            for i in range(count)
        ]
    else:
        entries = [{name: _content(array) for name, array in rows.items()}]
    path.write_text(json.dumps({"data": entries}), encoding="utf-8")


def _content(array: NDArray[Any]) -> dict[str, Any]:
    """A tensor's bytes, so that it reads no numbers from text; strings as they are."""
    shape = list(array.shape) or [1]
    if array.dtype.kind in "OUS":
        texts = [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in array.ravel()]
        return {"content": texts, "shape": shape}
    raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return {"content": {"b64": base64.b64encode(raw).decode("ascii")}, "shape": shape}


def measure(  # noqa: PLR0913 - what a measurement has
    address: str, model: str, data: Path, level: int, *, rows: int = 1, most_s: float = 3.0
) -> Measured | None:
    """What it says of `level` requests at once of `rows` rows each at a gRPC address.

    Where it finds no rate to be steady it is asked again for a rough one, told as such; None without that, too.

    Args:
        address: host:port.
        model: its name.
        data: what `write_data` wrote; its log and its table come to lie beside it.
        level: requests that are always under way.
        rows: rows in each request.
        most_s: seconds of the shortest measurement, of three windows; an unsteady one takes twice as long, and again.

    Raises:
        ToolFailed: when it fails, with its last lines.
    """
    table = data.with_suffix(f".{model}.{level}.csv")
    argv = [
        NAME, "-m", model, "-i", "grpc", "-u", address, "-b", str(rows), "--concurrency-range", str(level),
        "--input-data", str(data), "--measurement-interval", str(max(100, int(1000 * most_s / WINDOWS))),
        "--max-trials", str(TRIALS), "-f", str(table),
    ]  # fmt: skip
    for percent in (STEADY_PERCENT, ROUGHLY_PERCENT):
        log = data.with_suffix(f".{model}.{level}.{percent}.log")
        log.unlink(missing_ok=True)
        try:
            vendor.run([*argv, "--stability-percentage", str(percent)], log)
        except ToolFailed:
            if UNSTEADY not in vendor.tail(log, 20):
                raise
        else:
            return parse(table.read_text(encoding="utf-8"), log.read_text(encoding="utf-8"), level, rows, percent)
    return None


def parse(table: str, log: str, level: int, rows: int, percent: int = STEADY_PERCENT) -> Measured:
    """The figures of its table, whose latencies are in microseconds, and the number of requests of its log."""
    try:
        (row,) = csv.DictReader(table.splitlines())
        rate = float(row["Inferences/Second"])
        p50, p95, p99 = (float(row[f"p{p} latency"]) / 1000 for p in (50, 95, 99))
        requests = sum(map(int, re.findall(r"^\s+Request count: (\d+)", log, re.MULTILINE)[:1]))
    except (ValueError, KeyError, TypeError) as error:
        raise ToolFailed(f"{NAME}: its table cannot be read ({error}); say load=own") from error
    steady = percent <= STEADY_PERCENT
    return Measured("closed", level, requests, rate / rows, rate, p50, p95, p99, interval=percent / 100, steady=steady)
