"""`triton_infer_images`: a folder of images through a Triton endpoint, to annotated images, labels and masks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput, NgcrunError
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.triton import flight, model_config, picture_files
from runtime.triton.async_client import PROTOCOLS, AsyncClient
from runtime.triton.client import Endpoint, typed
from runtime.triton.failures import Failure, judged
from runtime.triton.flight import AHEAD, Courier, each, is_of_the_item, reason
from runtime.triton.picture_files import Item
from runtime.triton.picture_plan import Plan, plan_of
from runtime.triton.postprocess import TASKS, Prediction
from runtime.triton.prepare import CHANNELS, INTERPOLATIONS, LAYOUTS, PIXELS, RESIZES, prepared, read
from runtime.triton.progress import progress
from runtime.triton.shared_memory import CHOICES, Size

if TYPE_CHECKING:
    from runtime.triton.boxes import Fit


@dataclass(kw_only=True)
class Ports:
    """Send a folder of images to a Triton endpoint and write annotated images, KITTI and COCO labels, and masks.

    An image that cannot be read or that the server refuses is listed in failed.json, and the rest is written. What is
    absent of the task's settings is read from the model's parameters on the server, else it is the task's own. A key
    for the endpoint is taken from the environment variable TRITON_TOKEN.
    """

    images: Annotated[Path, Input("Folder with .jpg, .jpeg, .png or .bmp images, at any depth")]
    labels: Annotated[
        Path | None, Input("File with the names of the classes, a line each or with ; between", type="uri_file")
    ] = None
    clustering: Annotated[
        Path | None, Input("DetectNet_v2: clustering_config.prototxt of TAO's Triton client", type="uri_file")
    ] = None
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
    task: Annotated[
        str | None, Param("What the outputs are; absent: as the model says, or its outputs tell", choices=tuple(TASKS))
    ] = None
    threshold: Annotated[float | None, Param("Least score of a box; absent: 0.3, DetectNet_v2: of each class")] = None
    top_k: Annotated[int, Param("Classes to tell of an image that is classified", minimum=1)] = 5
    overlap: Annotated[float, Param("Overlap at which yolo_raw drops a box", minimum=0, maximum=1)] = 0.45
    resize: Annotated[str | None, Param("How an image fills the input", choices=RESIZES)] = None
    interpolation: Annotated[
        str | None, Param("How its pixels are resized; absent: bilinear", choices=INTERPOLATIONS)
    ] = None
    pixels: Annotated[str | None, Param("What becomes of a pixel of 0..255", choices=tuple(PIXELS))] = None
    channels: Annotated[str | None, Param("Their order; absent: as pixels says", choices=CHANNELS)] = None
    layout: Annotated[str | None, Param("Of the input; absent: as its dims tell", choices=LAYOUTS)] = None
    mean: Annotated[str | None, Param("Subtracted from a pixel: a number, or three with commas")] = None
    scale: Annotated[str | None, Param("Multiplied with it then: a number, or three with commas")] = None
    batch_size: Annotated[int | None, Param("Images of one request; absent: 8, or fewer", minimum=1)] = None
    clients: Annotated[int, Param("Requests under way at the same time", minimum=1, maximum=256)] = 4
    retries: Annotated[int, Param("Tries after a request that did not get through", minimum=0, maximum=100)] = 4
    timeout_s: Annotated[float, Param("Seconds to wait for one answer", minimum=0.1)] = 60.0
    shared_memory: Annotated[
        str,
        Param(
            "Inputs and answers through shared memory; auto: with a server on this machine, if it can", choices=CHOICES
        ),
    ] = "auto"
    allow_failed: Annotated[float, Param("Share of the images that may fail; not all", minimum=0, maximum=1)] = 1.0
    predictions: Annotated[
        Path, Output("annotated/, kitti/ and coco.json or masks/, predictions.jsonl, failed.json with what failed")
    ]


@component(name="triton_infer_images", version="1", image="triton", is_deterministic=False)
def infer_images(ports: Ports, metrics: Metrics) -> None:
    """Write the folder of predictions.

    Raises:
        BadInput: when there are no images, or model and task do not suit each other or images.
        ToolFailed: when the server is gone, or more images failed than `allow_failed`.
    """
    from runtime.data.pictures import SUFFIXES, require_pillow

    require_pillow("triton_infer_images")
    endpoint = Endpoint.parse(ports.url, "http" if ports.protocol == "http" else "grpc")
    paths = [p for p in sorted(ports.images.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    items = picture_files.items_of([p for p in paths if p.name[0] not in "._"], ports.images)
    if not items:
        todo = f"give a folder with files that end in {', '.join(SUFFIXES)}"
        raise BadInput.of("images", ports.images, "holds no image", todo)
    start = time.perf_counter()
    records, failures, figures = flight.run(_Run(ports, endpoint).whole(items, metrics))
    judged("images", failures, len(items), ports.allow_failed, ports.predictions / picture_files.FAILED)
    with (ports.predictions / picture_files.LINES).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(told, ensure_ascii=False) + "\n" for told in records)
    seconds = time.perf_counter() - start
    metrics.log({"images": len(records), "failed": len(failures), "images_per_s": len(items) / seconds} | figures)


class _Run:
    """One run's settings, and what it found."""

    def __init__(self, ports: Ports, endpoint: Endpoint) -> None:
        self._ports, self._endpoint = ports, endpoint
        self._plan: Plan
        self._courier: Courier
        self._size: Size

    async def whole(
        self, items: Sequence[Item], metrics: Metrics
    ) -> tuple[list[dict[str, Any]], list[Failure], dict[str, float]]:
        """The lines of the images that succeeded, the failures, and figures."""
        ports = self._ports
        version = str(ports.model_version or "")
        stream = ports.protocol == "stream"
        async with AsyncClient(self._endpoint, ports.model_name, version, ports.timeout_s, stream=stream) as client:
            self._courier = Courier(client, {}, ports.clients, ports.retries)
            config = await self._courier.config()
            self._plan = plan_of(config, ports)
            signature = model_config.signature_of(config)
            self._courier.types = typed(signature.inputs)
            self._size = Size(self._plan.request_bytes, signature, self._plan.images_each)
            records, failures = await self._all(items, metrics)
        figures = {"requests_retried": float(self._courier.retried)}
        if self._plan.task.kind != "classes":
            document = await asyncio.to_thread(picture_files.coco, records, ports.predictions, self._plan.settings)
            picture_files.write_json(ports.predictions / picture_files.COCO, document)
            figures["annotations"] = float(len(document["annotations"]))
        return records, failures, figures

    async def _all(self, items: Sequence[Item], metrics: Metrics) -> tuple[list[dict[str, Any]], list[Failure]]:
        records, failures = list[dict[str, Any]](), list[Failure]()
        most = self._plan.images_each
        groups = (items[first : first + most] for first in range(0, len(items), most))
        async with contextlib.AsyncExitStack() as stack:
            told = await stack.enter_async_context(self._courier.sharing(self._ports.shared_memory, self._size))
            metrics.tags({"shared_memory": told})
            advance = stack.enter_context(progress("images"))
            results = await stack.enter_async_context(
                contextlib.aclosing(each(groups, self._group, self._ports.clients + AHEAD))
            )
            async for outcomes in results:
                for outcome in outcomes:
                    failures.append(outcome) if isinstance(outcome, Failure) else records.append(outcome)
                advance(len(outcomes))
        return records, failures

    async def _group(self, group: Sequence[Item]) -> list[dict[str, Any] | Failure]:
        """What became of each image of one request, in order."""
        loaded = await asyncio.gather(*(asyncio.to_thread(self._load, item) for item in group))
        good = [entry for entry in loaded if not isinstance(entry, Failure)]
        answered = iter(await self._asked(good))
        return [entry if isinstance(entry, Failure) else next(answered) for entry in loaded]

    def _load(self, item: Item) -> _Loaded | Failure:
        try:
            picture = read(item.path)
            array, fit = prepared(picture, self._plan.preparation)
        except ValueError as error:
            return Failure(item.name, str(error))
        return _Loaded(item, picture, array, fit)

    async def _asked(self, good: Sequence[_Loaded]) -> list[dict[str, Any] | Failure]:
        """The images as one request; where the server refuses it, each alone, to find the one that is at fault."""
        import numpy as np

        if not good:
            return []
        arrays = [entry.array for entry in good]
        try:
            feed = {self._plan.preparation.tensor.name: np.stack(arrays) if self._plan.stacked else arrays[0]}
            answers = await self._courier.send(feed)
            outputs = list(self._plan.split(answers, len(good)))
        except NgcrunError as error:
            if not is_of_the_item(error):
                raise
            if len(good) == 1:
                return [Failure(good[0].item.name, reason(error))]
            alone = await asyncio.gather(*(self._asked([entry]) for entry in good))
            return [outcome for outcomes in alone for outcome in outcomes]
        return await asyncio.gather(*(asyncio.to_thread(self._told, *pair) for pair in zip(good, outputs, strict=True)))

    def _told(self, entry: _Loaded, outputs: dict[str, Any]) -> dict[str, Any] | Failure:
        found: Prediction = self._plan.task.run(outputs, entry.fit, self._plan.settings)
        return picture_files.write_picture(
            self._ports.predictions, entry.item, entry.picture, found, self._plan.settings
        )


@dataclass(frozen=True)
class _Loaded:
    item: Item
    picture: Any
    array: Any
    fit: Fit


if __name__ == "__main__":
    sys.exit(main(infer_images))
