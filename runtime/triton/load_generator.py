"""Sending real rows at a server for as long as it takes to know its rate: closed and open loop, over gRPC.

Closed: so many requests are always under way. Open: requests come at random times (Poisson) whether or not the server
keeps up, and each one's latency counts from when it was due, so that waiting in line is part of it.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from runtime.errors import ToolFailed

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_S = 0.2
FEWEST_WINDOWS = 5
STEADY = 0.05  # of the rate: half of its 95 % confidence interval, at which a measurement ends
TIMEOUT_S = 30.0
DRAIN_S = 5.0
NOT_KNOWN = 1e9  # an interval of too few windows; a number, so that it can be logged
MOST_WAITING = 5000  # of the open loop: the server is hopelessly behind
# 97.5 % point of Student's t by degrees of freedom, from 1; beyond the table the normal distribution's.
_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09)


@dataclass(frozen=True)
class Load:
    """How hard: `level` requests under way (closed), or `level` requests a second (open)."""

    level: float
    kind: str = "closed"


@dataclass(frozen=True)
class Measured:
    """What was seen once the server was warm and its rate steady; latencies in milliseconds as the client sees them.

    `interval`: half of the rate's 95 % confidence interval, as a share of the rate. `steady`: it came below `STEADY`
    within the time, and no request of the open loop was given up.
    """

    kind: str
    level: float
    requests: int
    rate: float
    rows_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    interval: float
    steady: bool

    def values(self) -> dict[str, float]:
        """The figures as metrics."""
        return {k: float(v) for k, v in asdict(self).items() if k not in ("kind", "level")}


@dataclass
class _Record:
    """When each request that was answered ended, and how long it took, both in seconds."""

    ends: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    given_up: int = 0


def measure(  # noqa: PLR0913 - what a measurement has
    address: str, model: str, requests: Sequence[Mapping[str, NDArray[Any]]], types: Mapping[str, str], load: Load, *,
    rows: int = 1, most_s: float = 3.0, seed: int = 0,
) -> Measured:  # fmt: skip
    """Drive `model` at a gRPC `address` until its rate is known to within `STEADY`, or for `most_s` seconds.

    Args:
        address: host:port.
        model: its name.
        requests: inputs by name, sent in turn; make them of real rows, since trees answer made-up ones twice as fast.
        types: Triton's type of each input.
        load: how hard.
        rows: rows in each request.
        most_s: seconds after the warm-up at most.
        seed: of the open loop's arrivals.

    Raises:
        ToolFailed: when a request fails.
    """
    from runtime.triton.flight import run

    return run(_measure(address, model, _prepared(requests, types), load, rows, most_s, seed))


def _prepared(requests: Sequence[Mapping[str, NDArray[Any]]], types: Mapping[str, str]) -> list[list[Any]]:
    """The requests as messages, before the clock starts."""
    from runtime.triton.client import tensors_of

    return [tensors_of(request, types, "grpc") for request in requests]


async def _measure(  # noqa: PLR0913, PLR0917 - what `measure` was asked
    address: str, model: str, requests: list[list[Any]], load: Load, rows: int, most_s: float, seed: int
) -> Measured:
    from tritonclient.grpc.aio import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    record = _Record()
    try:
        async with InferenceServerClient(address) as client:

            async def send(number: int, due: float) -> None:
                await client.infer(model, requests[number % len(requests)], client_timeout=TIMEOUT_S)
                now = time.perf_counter()
                record.ends.append(now)
                record.took.append(now - due)

            over = asyncio.Event()
            closed = load.kind == "closed"
            driver = _closed(send, int(load.level), over) if closed else _open(send, load.level, seed, record, over)
            running = asyncio.ensure_future(driver)
            try:
                start, stop, steady = await _watch(record, running, most_s)
            finally:
                await _end(running, over)
    except InferenceServerException as error:
        from runtime.triton.client import one_line

        raise ToolFailed(f"{model}: a request failed under load: {one_line(str(error.message()))}") from error
    return _figures(record, load, rows, (start, stop), steady=steady)


async def _end(running: asyncio.Future[None], over: asyncio.Event) -> None:
    """Let what is under way come back; what has not after a while is cancelled.

    gRPC's own thread speaks to the event loop for each request, so none may be left when the loop closes.
    """
    over.set()
    done, _ = await asyncio.wait([running], timeout=DRAIN_S)
    if not done:
        running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.sleep(0 if done else WINDOW_S)


async def _closed(send: Any, level: int, over: asyncio.Event) -> None:
    async def worker(number: int) -> None:
        while not over.is_set():
            await send(number, time.perf_counter())
            number += level

    async with asyncio.TaskGroup() as group:
        for number in range(level):
            group.create_task(worker(number))


async def _open(send: Any, rate: float, seed: int, record: _Record, over: asyncio.Event) -> None:
    import numpy as np

    gaps = np.random.default_rng(seed)
    under_way: set[asyncio.Task[None]] = set()
    due, number = time.perf_counter(), 0
    async with asyncio.TaskGroup() as group:
        while not over.is_set():
            due += float(gaps.exponential(1 / rate))
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if len(under_way) >= MOST_WAITING:
                record.given_up += 1
                continue
            task = group.create_task(send(number, due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1


async def _watch(record: _Record, running: asyncio.Future[None], most_s: float) -> tuple[float, float, bool]:
    """Waits for the warm-up to end and the rate to be known; from when to when that was, and whether it is steady."""
    start = await _warm(record, running)
    while True:
        await _pause(running)
        now = time.perf_counter()
        rates = window_rates(record.ends, start, now)
        known = len(rates) >= FEWEST_WINDOWS and half_interval(rates) <= STEADY
        if known or now - start >= most_s:
            return start, now, known and not record.given_up


async def _warm(record: _Record, running: asyncio.Future[None]) -> float:
    """Until two windows in a row have rates within a fifth of each other, or ten windows have passed."""
    start = time.perf_counter()
    for _ in range(10):
        await _pause(running)
        rates = window_rates(record.ends, start, time.perf_counter())
        if len(rates) >= 2 and rates[-1] and abs(rates[-1] - rates[-2]) <= 0.2 * rates[-1]:
            break
    return time.perf_counter()


async def _pause(running: asyncio.Future[None]) -> None:
    """One window; a request that failed ends it at once, with its error."""
    done, _ = await asyncio.wait([running], timeout=WINDOW_S)
    if not done:
        return
    error = running.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    raise error or AssertionError("the driver of a load ended by itself")


def window_rates(ends: Sequence[float], start: float, now: float) -> list[float]:
    """Requests a second in each whole window between `start` and `now`."""
    count = int((now - start) / WINDOW_S)
    found = [0] * count
    for end in reversed(ends):
        if end < start:
            break
        place = int((end - start) / WINDOW_S)
        if place < count:  # an end after `now` is not counted, nor is the last window, which is not whole
            found[place] += 1
    return [number / WINDOW_S for number in found]


def half_interval(rates: Sequence[float]) -> float:
    """Half of the 95 % confidence interval of the mean of `rates`, as a share of that mean; infinite for too few."""
    mean = statistics.fmean(rates) if rates else 0.0
    if len(rates) < 2 or mean == 0:
        return math.inf
    point = _T[len(rates) - 2] if len(rates) - 2 < len(_T) else 1.96
    return point * statistics.stdev(rates) / math.sqrt(len(rates)) / mean


def _figures(record: _Record, load: Load, rows: int, span: tuple[float, float], *, steady: bool) -> Measured:
    import numpy as np

    start, stop = span
    took = [t for end, t in zip(record.ends, record.took, strict=True) if start <= end <= stop]
    if not took:
        raise ToolFailed(f"no request was answered at {load.kind} {load.level:g}; the server is too slow, or stuck")
    p50, p95, p99 = (float(p) * 1000 for p in np.percentile(took, [50, 95, 99]))
    rate, interval = len(took) / (stop - start), half_interval(window_rates(record.ends, start, stop))
    return Measured(
        load.kind, load.level, len(took), rate, rate * rows, p50, p95, p99, min(interval, NOT_KNOWN), steady
    )
