"""`triton_infer`: rows of a table through a Triton endpoint, local or on AzureML, to a table of predictions."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput, NgcrunError, ToolFailed
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.triton import flight
from runtime.triton.async_client import PROTOCOLS, AsyncClient
from runtime.triton.client import Endpoint, typed
from runtime.triton.failures import Failure, judged
from runtime.triton.flight import AHEAD, Courier, each, is_of_the_item, reason
from runtime.triton.progress import progress

if TYPE_CHECKING:
    import polars as pl

    from runtime.triton.rows import Layout

FAILED = "failed.json"
_MARK = "\0failed"  # a column of rows without a prediction, for as long as they are put together
Part = tuple["pl.DataFrame", list[Failure]]


@dataclass(kw_only=True)
class Ports:
    """Send the rows of a table to a Triton endpoint, local or on AzureML, and write its answers as a table.

    The order of the rows is kept. A key for the endpoint is taken from the environment variable TRITON_TOKEN.
    """

    rows: Annotated[Path, Input("Parquet or CSV file, or a folder of files of one of them")]
    url: Annotated[str, Param("Address of the server: localhost:8000, or https://... for an AzureML endpoint")] = (
        "localhost:8000"
    )
    protocol: Annotated[str, Param("How to talk to it; stream: gRPC with a stream a request", choices=PROTOCOLS)] = (
        "http"
    )
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
    allow_failed: Annotated[
        float, Param("Share of the rows that may stay without a prediction; not all", minimum=0, maximum=1)
    ] = 0.0
    predictions: Annotated[Path, Output("Parquet dataset with a row for each row of the input, in the same order")]


@component(name="triton_infer", version="1", image="triton", is_deterministic=False)
def infer(ports: Ports, metrics: Metrics) -> None:
    """Write `part-00000.parquet`, and `failed.json` where rows may fail.

    Raises:
        BadInput: when the table does not suit the model, or the server says that the request is wrong.
        ToolFailed: when the server cannot be reached after all retries, or fails.
    """
    from runtime.triton.rows import scan

    endpoint = Endpoint.parse(ports.url, "http" if ports.protocol == "http" else "grpc")
    table = scan(ports.rows)
    start = time.perf_counter()
    result, failures, retried = flight.run(_whole(ports, endpoint, table))
    if ports.allow_failed:
        judged("rows", failures, result.height, ports.allow_failed, ports.predictions / FAILED)
    result.write_parquet(ports.predictions / "part-00000.parquet")
    seconds = time.perf_counter() - start
    figures = {"rows": result.height, "rows_per_s": result.height / seconds, "requests_retried": retried}
    metrics.log(figures | ({"failed": len(failures)} if ports.allow_failed else {}))


async def _whole(ports: Ports, endpoint: Endpoint, table: pl.LazyFrame) -> tuple[pl.DataFrame, list[Failure], int]:
    """The predictions in the order of the rows, the rows without one, and the requests that were sent again."""
    import polars as pl

    from runtime.triton.rows import layout, require_columns

    parts, failures = list["pl.DataFrame"](), list[Failure]()
    version, stream = str(ports.model_version or ""), ports.protocol == "stream"
    async with AsyncClient(endpoint, ports.model_name, version, ports.timeout_s, stream=stream) as client:
        courier = Courier(client, {}, ports.clients, ports.retries)
        plan = layout(await courier.config(), ports.columns, ports.batch_size)
        courier.types = typed(plan.signature.inputs)
        require_columns(table, ports.rows, plan, ports.id_column)
        asking = _Asking(ports, courier, plan)
        results = each(_frames(ports, table, plan), asking.one, ports.clients + AHEAD)
        with progress("rows") as advance:
            async with contextlib.aclosing(results):
                async for part, failed in results:
                    parts.append(part)
                    failures += failed
                    advance(part.height)
    if not parts:
        raise BadInput.of("rows", ports.rows, "has no rows", "give a table with at least one row")
    result = pl.concat(parts, how="diagonal" if failures else "vertical")
    return result.select(pl.exclude(_MARK)), failures, courier.retried


class _Asking:
    """One model, and how rows are sent to it."""

    def __init__(self, ports: Ports, courier: Courier, plan: Layout) -> None:
        self._ports, self._courier, self._plan = ports, courier, plan
        inputs = plan.signature.inputs
        self._any_count = plan.signature.batched or inputs[0].dims[0] == -1

    async def one(self, numbered: tuple[int, pl.DataFrame]) -> Part:
        """The predictions for some rows; where rows may fail, those that are at fault are found by halving."""
        import polars as pl

        first, frame = numbered
        try:
            return await self._answered(frame), []
        except NgcrunError as error:
            if not self._ports.allow_failed or not is_of_the_item(error):
                raise
            if frame.height == 1 or not self._any_count:
                rows = {_MARK: [True] * frame.height}
                ids = frame.select(self._ports.id_column) if self._ports.id_column else pl.DataFrame()
                failures = [Failure(f"row {first + index}", reason(error)) for index in range(frame.height)]
                return ids.with_columns(pl.Series(name, values) for name, values in rows.items()), failures
        half = frame.height // 2
        parts = [await self.one((first + at, frame[at:end])) for at, end in ((0, half), (half, frame.height))]
        return pl.concat([part for part, _ in parts], how="diagonal"), [f for _, failed in parts for f in failed]

    async def _answered(self, frame: pl.DataFrame) -> pl.DataFrame:
        from runtime.triton.rows import answer_columns, requests

        feed = requests(frame, self._plan, self._ports.rows)
        answers = await self._courier.send(feed)
        if len(answers) != 1:
            raise ToolFailed(f"{self._ports.model_name}: gave {len(answers)} answers to one request of rows")
        short = [name for name, array in answers[0].items() if len(array) != frame.height]
        if short or not answers[0]:
            raise ToolFailed(
                f"{self._ports.model_name}: answered {frame.height} rows with {short or 'no outputs'} of another length"
            )
        return answer_columns(answers[0], frame[self._ports.id_column] if self._ports.id_column else None)


def _frames(ports: Ports, table: pl.LazyFrame, plan: Layout) -> Iterator[tuple[int, pl.DataFrame]]:
    """The number of the first row, and the rows of a request, streamed from disk."""
    from runtime.triton.rows import reading

    wanted = dict.fromkeys(plan.needed() + ([ports.id_column] if ports.id_column else []))
    first = 0
    with reading(ports.rows):
        for chunk in table.select(list(wanted)).collect_batches(chunk_size=max(65536, plan.rows_each)):
            for frame in chunk.iter_slices(plan.rows_each):
                yield first, frame
                first += frame.height


if __name__ == "__main__":
    sys.exit(main(infer))
