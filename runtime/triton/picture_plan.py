"""How images are sent to a model and its outputs read: from the ports, the model's parameters, and the task's own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, ToolFailed
from runtime.triton import model_config
from runtime.triton.detectnet import read_clustering
from runtime.triton.model_config import TYPES, Signature
from runtime.triton.postprocess import TASKS, Settings, Task
from runtime.triton.prepare import CHANNELS, INTERPOLATIONS, LAYOUTS, PIXELS, RESIZES, Preparation, preparation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.triton.infer_images import Ports

IMAGES_EACH = 8
# Outputs that only one task has: the parts of names that tell it.
TELLING = {
    "detectnet_v2": ("cov", "bbox"),
    "detr": ("pred_logits", "pred_boxes"),
    "yolo": ("batchednms",),
    "ssd": (" nms ", " nms_1 "),
}
# What a model's parameters on the server may say, and what of: config.pbtxt, `parameters`.
CHOSEN = {"task": tuple(TASKS), "pixels": tuple(PIXELS), "resize": RESIZES, "interpolation": INTERPOLATIONS,
          "channels": CHANNELS, "layout": LAYOUTS}  # fmt: skip
FREE = ("mean", "scale", "labels")


@dataclass(frozen=True)
class Plan:
    """`images_each`: in a request; `stacked`: an image is sent with a dimension for the batch."""

    task: Task
    settings: Settings
    preparation: Preparation
    images_each: int
    stacked: bool

    @property
    def request_bytes(self) -> int:
        """Of the input of one request; 0 where images keep their own sizes."""
        how = self.preparation
        if how.width is None or how.height is None:
            return 0
        import numpy as np

        size = np.dtype(TYPES[how.tensor.dtype].numpy).itemsize
        return self.images_each * how.width * how.height * len(how.pixels.mean) * size

    def split(self, answers: Sequence[dict[str, NDArray[Any]]], count: int) -> Iterator[dict[str, NDArray[Any]]]:
        """The outputs of each image of one request.

        Raises:
            ToolFailed: when the model answered another number of images.
        """
        if len(answers) != 1:
            raise ToolFailed(f"the model gave {len(answers)} answers to one request, and an image has one")
        outputs = answers[0]
        if not self.stacked:
            yield outputs
            return
        short = [name for name, array in outputs.items() if len(array) != count]
        if short:
            raise ToolFailed(f"the model answered {count} images with {', '.join(short)} of another length")
        for index in range(count):
            yield {name: array[index] for name, array in outputs.items()}


def plan_of(config: Any, ports: Ports) -> Plan:
    """The plan for a model as its server describes it.

    Raises:
        BadInput: when the model takes no images, or nobody says what its outputs are.
    """
    signature = model_config.signature_of(config)
    if len(signature.inputs) != 1:
        names = ", ".join(t.name for t in signature.inputs)
        todo = "use triton_infer_tensors"
        raise BadInput.of("model_name", config.name, f"takes more than one input: {names}", todo)
    if config.model_transaction_policy.decoupled and ports.protocol != "stream":
        todo = "say protocol=stream and give the server's gRPC port"
        raise BadInput.of("protocol", ports.protocol, f"cannot ask {config.name}, which is decoupled", todo)
    said = _said(config, ports)
    task = TASKS[_task(said.get("task"), signature)]
    wished = {"pixels": task.pixels, "resize": task.resize} | said
    how = preparation(signature.inputs[0], dict(wished), batched=signature.batched)
    stacked = signature.batched or len(signature.inputs[0].dims) == 4
    return Plan(task, _settings(ports, said, how), how, _images_each(config, ports, how, stacked), stacked)


def _said(config: Any, ports: Ports) -> dict[str, str]:
    """What the ports say, else the model's parameters; raises `BadInput` for a parameter that is no choice."""
    said = {}
    for name in (*CHOSEN, *FREE):
        port = getattr(ports, name)
        value = port if isinstance(port, str) else model_config.parameter(config, name)
        if value is None:
            continue
        if value not in CHOSEN.get(name, (value,)):
            wrong = f"is what {config.name} says in its parameters"
            raise BadInput.of(name, value, wrong, f"say {name}= one of: {', '.join(CHOSEN[name])}")
        said[name] = value
    return said


def _task(said: str | None, signature: Signature) -> str:
    if said is not None:
        return said
    names = f" {' '.join(t.name.lower() for t in signature.outputs)} "
    told = [task for task, parts in TELLING.items() if all(part in names for part in parts)]
    if len(told) == 1:
        return told[0]
    listed = ", ".join(f"{t.name} {t.text()}" for t in signature.outputs)
    wrong = f"is not set, and the model's outputs do not tell it: {listed}"
    raise BadInput.of("task", None, wrong, f"one of: {', '.join(TASKS)}")


def _settings(ports: Ports, said: dict[str, str], how: Preparation) -> Settings:
    labels = _label_file(ports.labels) if ports.labels else _label_list(said.get("labels", ""))
    clustering = read_clustering(ports.clustering) if ports.clustering else {}
    if clustering and not labels:
        labels = tuple(clustering)
    return Settings(labels, ports.threshold, ports.top_k, ports.overlap, how.layout == "nhwc", clustering)


def _label_file(path: Path) -> tuple[str, ...]:
    """The names in a file: a line each, or all on one with `;` between, as TAO's classification writes labels.txt."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput.of("labels", path, "is no text", "give a file with a name a line") from error
    names = text.split(";") if ";" in text else text.splitlines()
    found = tuple(name.strip() for name in names if name.strip())
    if not found:
        raise BadInput.of("labels", path, "names no class", "give a file with a name a line")
    return found


def _label_list(text: str) -> tuple[str, ...]:
    """The names in a parameter: a JSON list, or with `;` or `,` between."""
    try:
        return tuple(str(name) for name in json.loads(text)) if text.startswith("[") else _parted(text)
    except ValueError:
        return _parted(text)


def _parted(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(";" if ";" in text else ",") if name.strip())


def _images_each(config: Any, ports: Ports, how: Preparation, stacked: bool) -> int:
    first = -1 if config.max_batch_size else config.input[0].dims[0] if stacked else 1
    most = config.max_batch_size or (first if first > 0 else math.inf)
    if how.free or (first > 0 and stacked):
        most = 1
    if ports.batch_size is not None and ports.batch_size > most:
        todo = f"use batch_size={most}"
        raise BadInput.of("batch_size", ports.batch_size, f"is more than the model takes at a time, {most}", todo)
    return int(min(ports.batch_size or IMAGES_EACH, most))
