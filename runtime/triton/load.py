"""Measuring a model: latency and rows a second at several batch sizes, with real rows, for a bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from runtime.triton.client import Client, Endpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

LADDER = (1, 8, 64, 512, 4096)
WARM = 3  # requests that are sent first and not counted


@dataclass(frozen=True)
class Figures:
    """What was measured at one batch size; latencies in milliseconds as the client sees them."""

    protocol: str
    batch: int
    clients: int
    requests: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    rows_per_s: float

    def values(self) -> dict[str, float]:
        """The figures as metrics, without the protocol."""
        return {k: float(v) for k, v in asdict(self).items() if k not in ("protocol", "batch", "clients")}


def ladder(max_batch_size: int) -> list[int]:
    """The batch sizes to measure: 1, 8, 64, ... and the largest that is allowed."""
    return sorted({size for size in LADDER if size <= max_batch_size} | {max(1, max_batch_size)})


def measure(  # noqa: PLR0913 - what a measurement has
    endpoint: Endpoint, model: str, rows: Mapping[str, NDArray[Any]], types: Mapping[str, str], batch: int, *,
    batched: bool = True, seconds: float = 0.5, clients: int = 1,
) -> Figures:  # fmt: skip
    """Send requests of `batch` rows for `seconds` from `clients` threads, each waiting for its answer first.

    The rows are the golden ones, repeated and shifted from request to request: trees answer made-up rows up to twice
    as fast as real ones (measured), so those would flatter.
    """
    times: list[list[float]] = [[] for _ in range(clients)]
    errors: list[Exception] = []
    go = threading.Barrier(clients)
    spans: list[float] = [0.0] * clients

    def client(index: int) -> None:
        try:
            with Client(endpoint, model) as connection:
                requests = sendable(rows, batch, batched)
                for request in requests[:WARM]:
                    connection.infer(request, types)
                go.wait(30)
                spans[index] = _loop(
                    lambda i: connection.infer(requests[i % len(requests)], types), seconds, times[index]
                )
        except Exception as error:  # raised again below, in the thread that asked
            errors.append(error)
            go.abort()

    threads = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    return _figures(endpoint.protocol, batch, clients, [t for part in times for t in part], max(spans))


def _loop(send: Callable[[int], object], seconds: float, times: list[float]) -> float:
    start = now = time.perf_counter()
    count = 0
    while now - start < seconds or count < 2:
        send(count)
        after = time.perf_counter()
        times.append(after - now)
        now, count = after, count + 1
    return now - start


def sendable(rows: Mapping[str, NDArray[Any]], batch: int, batched: bool) -> list[dict[str, NDArray[Any]]]:
    """Up to 16 different requests, made before the clock starts."""
    import numpy as np

    if not batched:
        return [dict(rows)] * WARM
    count = len(next(iter(rows.values())))
    starts = [(i * batch) % count for i in range(16)]
    return [
        {name: np.take(a, np.arange(s, s + batch), axis=0, mode="wrap") for name, a in rows.items()} for s in starts
    ]


def _figures(protocol: str, batch: int, clients: int, times: list[float], span: float) -> Figures:
    import numpy as np

    p50, p95, p99 = (float(p) * 1000 for p in np.percentile(times, [50, 95, 99]))
    return Figures(protocol, batch, clients, len(times), p50, p95, p99, len(times) * batch / span)
