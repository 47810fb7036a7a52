"""`triton_infer_tensors`: arrays in .npy files through a Triton endpoint, to .npy files of its outputs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput, NgcrunError
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.triton import flight, model_config, tensor_files
from runtime.triton.async_client import PROTOCOLS, AsyncClient
from runtime.triton.client import Endpoint, typed
from runtime.triton.failures import Failure, judged
from runtime.triton.flight import AHEAD, Courier, each, is_of_the_item, reason
from runtime.triton.model_config import TYPES, Signature
from runtime.triton.progress import progress
from runtime.triton.shared_memory import CHOICES, Size
from runtime.triton.tensor_files import Item

ROWS_EACH = 64


@dataclass(kw_only=True)
class Ports:
    """Send arrays in .npy files to a Triton endpoint and write what it answers as .npy files.

    A file is an item: rows of the model's input, or one input without the dimension of the batch. All responses of a
    decoupled model to it are collected, one behind the other. An item that fails is listed in failed.json, and the rest
    is written. A key for the endpoint is taken from the environment variable TRITON_TOKEN.
    """

    tensors: Annotated[Path, Input("Folder with <input>/*.npy; for a model with one input, *.npy will do")]
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
    batch_size: Annotated[int | None, Param("Rows of one request; absent: 64, or fewer", minimum=1)] = None
    clients: Annotated[int, Param("Requests under way at the same time", minimum=1, maximum=256)] = 4
    retries: Annotated[int, Param("Tries after a request that did not get through", minimum=0, maximum=100)] = 4
    timeout_s: Annotated[float, Param("Seconds to wait for one answer", minimum=0.1)] = 60.0
    shared_memory: Annotated[
        str,
        Param(
            "Inputs and answers through shared memory; auto: with a server on this machine, if it can", choices=CHOICES
        ),
    ] = "auto"
    allow_failed: Annotated[float, Param("Share of the items that may fail; not all", minimum=0, maximum=1)] = 1.0
    predictions: Annotated[Path, Output("<output>/<item>.npy, predictions.jsonl, failed.json with what failed")]


@component(name="triton_infer_tensors", version="1", image="triton", is_deterministic=False)
def infer_tensors(ports: Ports, metrics: Metrics) -> None:
    """Write the folder of outputs.

    Raises:
        BadInput: when there are no arrays, or the model cannot be asked in this way.
        ToolFailed: when the server is gone, or more items failed than `allow_failed`.
    """
    endpoint = Endpoint.parse(ports.url, "http" if ports.protocol == "http" else "grpc")
    start = time.perf_counter()
    told, failures, retried = flight.run(_whole(ports, endpoint, metrics))
    count = len(told) + len(failures)
    judged("tensors", failures, count, ports.allow_failed, ports.predictions / "failed.json")
    lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in told]
    (ports.predictions / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
    seconds = time.perf_counter() - start
    figures = {"items": len(told), "failed": len(failures), "items_per_s": count / seconds}
    metrics.log(figures | {"requests_retried": retried})


async def _whole(ports: Ports, endpoint: Endpoint, metrics: Metrics) -> tuple[list[dict[str, Any]], list[Failure], int]:
    """The lines of the items that succeeded, the failures, and the requests that were sent again."""
    told, failures = list[dict[str, Any]](), list[Failure]()
    async with contextlib.AsyncExitStack() as stack:
        version, stream = str(ports.model_version or ""), ports.protocol == "stream"
        client = AsyncClient(endpoint, ports.model_name, version, ports.timeout_s, stream=stream)
        courier = Courier(await stack.enter_async_context(client), {}, ports.clients, ports.retries)
        asking = _Asking(ports, courier, await courier.config())
        items = tensor_files.items_of(ports.tensors, asking.signature.inputs)
        sharing = courier.sharing(ports.shared_memory, asking.size)
        metrics.tags({"shared_memory": await stack.enter_async_context(sharing)})
        advance = stack.enter_context(progress("items"))
        results = contextlib.aclosing(each(items, asking.one, ports.clients + AHEAD))
        async for outcome in await stack.enter_async_context(results):
            failures.append(outcome) if isinstance(outcome, Failure) else told.append(outcome)
            advance(1)
    return told, failures, courier.retried


class _Asking:
    """One model, and how its items are sent."""

    def __init__(self, ports: Ports, courier: Courier, config: Any) -> None:
        if config.model_transaction_policy.decoupled and ports.protocol != "stream":
            todo = "say protocol=stream and give the server's gRPC port"
            raise BadInput.of("protocol", ports.protocol, f"cannot ask {config.name}, which is decoupled", todo)
        self.signature: Signature = model_config.signature_of(config)
        self._ports, self._courier = ports, courier
        courier.types = typed(self.signature.inputs)
        most = config.max_batch_size or math.inf
        if ports.batch_size is not None and ports.batch_size > most:
            wrong, todo = f"is more than the model takes at a time, {most}", f"use batch_size={most}"
            raise BadInput.of("batch_size", ports.batch_size, wrong, todo)
        self._rows = int(min(ports.batch_size or ROWS_EACH, most))

    @property
    def size(self) -> Size:
        """Of one request."""
        return Size(self._request_bytes(), self.signature, self._rows)

    def _request_bytes(self) -> int:
        """Of the inputs of one request, with a margin for their ends; 0 where a dim is free."""
        import numpy as np

        total = 0
        for tensor in self.signature.inputs:
            if tensor.dtype == "BYTES":
                continue
            if any(dim < 0 for dim in tensor.dims):
                return 0
            rows = self._rows if self.signature.batched else 1
            total += rows * math.prod(tensor.dims) * np.dtype(TYPES[tensor.dtype].numpy).itemsize + 64
        return total

    async def one(self, item: Item) -> dict[str, Any] | Failure:
        """What became of one item."""
        try:
            arrays = await asyncio.to_thread(tensor_files.load, item, self.signature)
        except ValueError as error:
            return Failure(item.name, str(error))
        try:
            parts = []
            requests = each(arrays.requests(self._rows), self._courier.send, self._ports.clients + AHEAD)
            async with contextlib.aclosing(requests):
                async for answers in requests:
                    parts += answers
            outputs = tensor_files.joined(parts, arrays)
        except NgcrunError as error:
            if not is_of_the_item(error):
                raise
            return Failure(item.name, reason(error))
        return await asyncio.to_thread(tensor_files.save, self._ports.predictions, item.name, outputs)


if __name__ == "__main__":
    sys.exit(main(infer_tensors))
