"""`triton_infer`: rows of a table through a Triton endpoint, local or on AzureML, to a table of predictions."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput, ToolFailed
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.triton.client import FIRST_WAIT_S, LONGEST_WAIT_S, PROTOCOLS, Client, Endpoint, TransportError, typed
from runtime.triton.progress import progress

if TYPE_CHECKING:
    import polars as pl

    from runtime.triton.rows import Layout

T = TypeVar("T")


@dataclass(kw_only=True)
class Ports:
    """Send the rows of a table to a Triton endpoint, local or on AzureML, and write its answers as a table.

    The order of the rows is kept. A key for the endpoint is taken from the environment variable TRITON_TOKEN.
    """

    rows: Annotated[Path, Input("Parquet or CSV file, or a folder of files of one of them")]
    url: Annotated[str, Param("Address of the server: localhost:8000, or https://... for an AzureML endpoint")] = (
        "localhost:8000"
    )
    protocol: Annotated[str, Param("How to talk to it", choices=PROTOCOLS)] = "http"
    model_name: Annotated[str, Param("Model to ask")] = "model"
    model_version: Annotated[
        int | None, Param("Version to ask; absent: the one that the server prefers", minimum=1)
    ] = None
    columns: Annotated[
        str | None, Param("Columns to send, in order, separated by commas; absent: the features that the model names")
    ] = None
    id_column: Annotated[str | None, Param("Column to copy beside the predictions")] = None
    batch_size: Annotated[
        int | None, Param("Rows of one request; absent: 1024, or fewer if the model says so", minimum=1)
    ] = None
    clients: Annotated[int, Param("Requests under way at the same time", minimum=1, maximum=256)] = 4
    retries: Annotated[int, Param("Tries after a request that did not get through", minimum=0, maximum=100)] = 4
    timeout_s: Annotated[float, Param("Seconds to wait for one answer", minimum=0.1)] = 60.0
    predictions: Annotated[Path, Output("Parquet dataset with a row for each row of the input, in the same order")]


@component(name="triton_infer", version="1", image="triton", is_deterministic=False)
def infer(ports: Ports, metrics: Metrics) -> None:
    """Write `part-00000.parquet`.

    Raises:
        BadInput: when the table does not suit the model, or the server says that the request is wrong.
        ToolFailed: when the server cannot be reached after all retries, or fails.
    """
    import polars as pl

    from runtime.triton.rows import layout, require_columns, scan

    endpoint = Endpoint.parse(ports.url, ports.protocol)
    table = scan(ports.rows)
    asker = Asker(ports, endpoint)
    plan = layout(asker.ask(lambda client: client.config()), ports.columns, ports.batch_size)
    require_columns(table, ports.rows, plan, ports.id_column)
    start = time.perf_counter()
    parts = list(_answers(ports, asker, table, plan))
    if not parts:
        raise BadInput.of("rows", ports.rows, "has no rows", "give a table with at least one row")
    result = pl.concat(parts)
    result.write_parquet(ports.predictions / "part-00000.parquet")
    seconds = time.perf_counter() - start
    metrics.log({"rows": result.height, "rows_per_s": result.height / seconds, "requests_retried": asker.retried})


class Asker:
    """Sends requests with a connection a thread, again where one did not get through."""

    def __init__(self, ports: Ports, endpoint: Endpoint) -> None:
        self._ports, self._endpoint = ports, endpoint
        self._own = threading.local()
        self._stop = threading.Event()
        self.retried = 0

    def ask(self, question: Callable[[Client], T]) -> T:
        """The answer; waits longer before each new try and opens a new connection for it."""
        wait = FIRST_WAIT_S
        for left in range(self._ports.retries, -1, -1):
            try:
                return question(self._client())
            except TransportError as error:
                self._drop()
                if left == 0 or self._stop.is_set():
                    raise ToolFailed(f"{error}; tried {self._ports.retries + 1} times: is the server up?") from error
                self.retried += 1
            self._stop.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)
        raise AssertionError("unreachable")  # the last try returns or raises

    def stop(self) -> None:
        """No further tries: the step is ending."""
        self._stop.set()

    def _client(self) -> Client:
        if getattr(self._own, "client", None) is None:
            version = str(self._ports.model_version or "")
            self._own.client = Client(self._endpoint, self._ports.model_name, version, self._ports.timeout_s)
        client: Client = self._own.client
        return client

    def _drop(self) -> None:
        self._own.client.__exit__()
        self._own.client = None


def _answers(ports: Ports, asker: Asker, table: pl.LazyFrame, plan: Layout) -> Iterator[pl.DataFrame]:
    """The predictions in the order of the rows; at most two requests a client wait in memory."""
    from runtime.triton.rows import answer_columns, requests

    types = typed(plan.signature.inputs)

    def one(frame: pl.DataFrame) -> pl.DataFrame:
        feed = requests(frame, plan, ports.rows)
        answers = asker.ask(lambda client: client.infer(feed, types))
        short = [name for name, array in answers.items() if len(array) != frame.height]
        if short or not answers:
            raise ToolFailed(
                f"{ports.model_name}: answered {frame.height} rows with {short or 'no outputs'} of another length"
            )
        return answer_columns(answers, frame[ports.id_column] if ports.id_column else None)

    waiting: deque[Future[pl.DataFrame]] = deque()
    pool = ThreadPoolExecutor(ports.clients, thread_name_prefix="triton_infer")
    try:
        with progress("rows") as advance:
            for frame in _frames(ports, table, plan):
                waiting.append(pool.submit(one, frame))
                if len(waiting) >= 2 * ports.clients:
                    yield _next(waiting, advance)
            while waiting:
                yield _next(waiting, advance)
    finally:
        asker.stop()
        pool.shutdown(cancel_futures=True)


def _next(waiting: deque[Future[pl.DataFrame]], advance: Callable[[int], None]) -> pl.DataFrame:
    part = waiting.popleft().result()
    advance(part.height)
    return part


def _frames(ports: Ports, table: pl.LazyFrame, plan: Layout) -> Iterator[pl.DataFrame]:
    """The rows a request at a time, streamed from disk."""
    from runtime.triton.rows import reading

    wanted = dict.fromkeys(plan.needed() + ([ports.id_column] if ports.id_column else []))
    with reading(ports.rows):
        for chunk in table.select(list(wanted)).collect_batches(chunk_size=max(65536, plan.rows_each)):
            yield from chunk.iter_slices(plan.rows_each)


if __name__ == "__main__":
    sys.exit(main(infer))
