"""From a network's outputs for one image to what they mean: scores of classes, boxes, or a mask. One table, `TASKS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.triton.boxes import Box, Fit, suppressed
from runtime.triton.detectnet import Clustering, clustered

if TYPE_CHECKING:
    from numpy.typing import NDArray

Outputs = Mapping[str, "NDArray[Any]"]  # of one image: without the dimension of the batch


@dataclass(frozen=True)
class Settings:
    """What the postprocessors are told. `threshold`: least score of a box; None where the task has its own rule."""

    labels: tuple[str, ...] = ()
    threshold: float | None = None
    top_k: int = 5
    overlap: float = 0.45
    channels_last: bool = False
    clustering: Mapping[str, Clustering] = field(default_factory=dict)

    def name(self, index: int) -> str:
        """The label of a class, or its number where there is none."""
        return self.labels[index] if index < len(self.labels) else str(index)


@dataclass(frozen=True)
class Prediction:
    """What one image holds, of the task's kind. `classes`: (name, score); `mask`: (height, width) uint8."""

    boxes: tuple[Box, ...] = ()
    classes: tuple[tuple[str, float], ...] = ()
    mask: NDArray[Any] | None = None


@dataclass(frozen=True)
class Task:
    """One row: the function, and how the images are prepared where nobody says (see runtime/triton/prepare.py)."""

    kind: str  # classes, boxes or mask
    run: Callable[[Outputs, Fit, Settings], Prediction]
    pixels: str
    resize: str


def classification(outputs: Outputs, _fit: Fit, settings: Settings) -> Prediction:
    """The `top_k` best classes of one output of any shape with a number a class, best first.

    Numbers that are no distribution (not all 0..1, or not of sum 1) are logits and go through softmax.
    """
    import numpy as np

    scores = _only(outputs).astype(np.float64).ravel()
    if scores.size == 0 or (scores < 0).any() or abs(scores.sum() - 1) > 1e-3:
        powers = np.exp(scores - scores.max(initial=-np.inf))
        scores = powers / powers.sum()
    order = np.argsort(-scores, kind="stable")[: settings.top_k]
    return Prediction(classes=tuple((settings.name(int(i)), float(scores[i])) for i in order))


def detectnet_v2(outputs: Outputs, fit: Fit, settings: Settings) -> Prediction:
    """Boxes from `*cov*` (classes, rows, columns) and `*bbox*` (4 * classes, rows, columns).

    A score is the sum of the coverages of a cluster, so it can be more than 1; its least is `threshold`, or the class's
    own `confidence`.
    """
    coverage, grid = _named(outputs, "cov"), _named(outputs, "bbox")
    if coverage.ndim != 3 or grid.shape != (4 * coverage.shape[0], *coverage.shape[1:]):
        raise _unfit("detectnet_v2", outputs, "coverage (C, H, W) and boxes (4 C, H, W)")
    boxes: list[Box] = []
    for number, covered in enumerate(coverage):
        how = settings.clustering.get(settings.name(number), Clustering())
        if settings.threshold is not None:
            how = Clustering(how.coverage, how.height, how.eps, how.least, settings.threshold)
        corners, scores = clustered(covered, grid[4 * number : 4 * number + 4], fit, how)
        boxes += _boxes(corners, scores, [number] * len(scores), settings)
    return Prediction(boxes=tuple(sorted(boxes, key=lambda box: -box.score)))


def detr(outputs: Outputs, fit: Fit, settings: Settings) -> Prediction:
    """Boxes from `pred_logits` (queries, classes) and `pred_boxes` (queries, 4): centre, width, height, all 0..1.

    Each pair of a query and a class competes with its sigmoid; DINO, Deformable DETR and RT-DETR do so.
    Source: NVIDIA/tao_deploy 2a988a0b, cv/deformable_detr/utils.py.
    """
    import numpy as np

    logits, raw = _named(outputs, "logits"), _named(outputs, "boxes")
    if logits.ndim != 2 or raw.shape != (len(logits), 4):
        raise _unfit("detr", outputs, "pred_logits (queries, classes) and pred_boxes (queries, 4)")
    scores = (1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -80, 80)))).ravel()
    order = np.argsort(-scores, kind="stable")[:QUERIES]
    order = order[scores[order] >= _least(settings)]
    centre, half = raw[:, :2].astype(np.float64), raw[:, 2:].astype(np.float64) / 2
    corners = np.concatenate([centre - half, centre + half], axis=1)[order // logits.shape[1]]
    corners = fit.to_image(corners * np.tile(fit.network, 2))
    return Prediction(boxes=tuple(_boxes(corners, scores[order], order % logits.shape[1], settings)))


def yolo(outputs: Outputs, fit: Fit, settings: Settings) -> Prediction:
    """Boxes after suppression inside the model: a count, boxes (K, 4), scores (K,) and classes (K,).

    The names are `BatchedNMS`, `_1`, `_2`, `_3`, then boxes are 0..1 (TAO's YOLOv3, YOLOv4, YOLOv4-tiny); or
    `num_detections`, `detection_boxes`, ..., then they are pixels of the network's input (EfficientNMS).
    Source: NVIDIA-AI-IOT/tao-toolkit-triton-apps 9a30f969, yolov3_postprocessor.py and yolov3_tao/config.pbtxt;
    NVIDIA/TensorRT, plugin/efficientNMSPlugin/README.md.
    """
    import numpy as np

    batched = "BatchedNMS" in outputs
    names = [f"BatchedNMS{end}" for end in ("", "_1", "_2", "_3")] if batched else [
        "num_detections", "detection_boxes", "detection_scores", "detection_classes"]  # fmt: skip
    if any(name not in outputs for name in names):
        raise _unfit("yolo", outputs, " ".join(names))
    count, boxes, scores, classes = (np.asarray(outputs[name]) for name in names)
    kept = int(np.clip(count.ravel()[0], 0, scores.size))
    scores, numbers = scores.ravel()[:kept].astype(np.float64), classes.ravel()[:kept].astype(np.int64)
    corners = boxes.reshape(-1, 4)[:kept].astype(np.float64) * (np.tile(fit.network, 2) if batched else 1.0)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= _least(settings)]
    return Prediction(boxes=tuple(_boxes(fit.to_image(corners[order]), scores[order], numbers[order], settings)))


def ssd(outputs: Outputs, fit: Fit, settings: Settings) -> Prediction:
    """Boxes from `NMS` (1, K, 7), image, class, score and corners of 0..1 in a row, and their count `NMS_1`.

    SSD, DSSD and RetinaNet of TAO give them; class 0 is the background.
    Source: NVIDIA/tao_deploy 2a988a0b, cv/ssd/inferencer.py; tao-toolkit-triton-apps 9a30f969, retinanet_tao.
    """
    import numpy as np

    if "NMS" not in outputs or "NMS_1" not in outputs or outputs["NMS"].size % 7:
        raise _unfit("ssd", outputs, "NMS (1, K, 7) and NMS_1")
    rows = np.asarray(outputs["NMS"], dtype=np.float64).reshape(-1, 7)
    rows = rows[: int(np.clip(np.asarray(outputs["NMS_1"]).ravel()[0], 0, len(rows)))]
    rows = rows[np.argsort(-rows[:, 2], kind="stable")]
    rows = rows[rows[:, 2] >= _least(settings)]
    corners = fit.to_image(rows[:, 3:] * np.tile(fit.network, 2))
    return Prediction(boxes=tuple(_boxes(corners, rows[:, 2], rows[:, 1], settings)))


def yolo_raw(outputs: Outputs, fit: Fit, settings: Settings) -> Prediction:
    """Boxes from one output (4 + classes, anchors), or turned: centre, width, height in pixels, then 0..1 a class.

    Suppression is done here, by class, at `overlap`. Source: docs.ultralytics.com, YOLOv8 as ONNX: (1, 84, 8400).
    """
    import numpy as np

    head = _only(outputs).astype(np.float64)
    if head.ndim != 2 or min(head.shape) < 5:
        raise _unfit("yolo_raw", outputs, "(4 + classes, anchors)")
    rows = head if head.shape[0] == 4 + len(settings.labels) or head.shape[0] < head.shape[1] else head.T
    numbers, scores = rows[4:].argmax(axis=0), rows[4:].max(axis=0)
    chosen = scores >= _least(settings)
    centre, half = rows[:2, chosen].T, rows[2:4, chosen].T / 2
    corners = fit.to_image(np.concatenate([centre - half, centre + half], axis=1))
    kept = suppressed(corners, scores[chosen], numbers[chosen], settings.overlap)
    return Prediction(boxes=tuple(_boxes(corners[kept], scores[chosen][kept], numbers[chosen][kept], settings)))


def segmentation(outputs: Outputs, fit: Fit, settings: Settings) -> Prediction:
    """The class of each pixel of the image, from numbers a class (C, H, W), or (H, W, C), or class ids (H, W).

    Numbers coarser than the network's input are drawn out over it first, as TAO's SegFormer does, whose export gives a
    quarter of each side. Source: TAO 7.3, cv/segformer/model/segformer_utils.py, `resize`.
    """
    import numpy as np

    array = _only(outputs)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim == 3:
        array = _best(np.moveaxis(array, 2, 0) if settings.channels_last else array, *fit.network)
    if array.ndim != 2:
        raise _unfit("segmentation", outputs, "(classes, H, W) or (H, W)")
    ids = np.clip(np.rint(array), 0, 255).astype(np.uint8)
    # The middle of each pixel of the image, in the network's input, in the mask: the nearest one is taken.
    (width, height), (across, down) = fit.image, (ids.shape[1] / fit.network[0], ids.shape[0] / fit.network[1])
    x = ((np.arange(width) + 0.5) * fit.scale[0] + fit.offset[0]) * across
    y = ((np.arange(height) + 0.5) * fit.scale[1] + fit.offset[1]) * down
    x, y = np.clip(x.astype(int), 0, ids.shape[1] - 1), np.clip(y.astype(int), 0, ids.shape[0] - 1)
    return Prediction(mask=ids[y[:, None], x[None, :]])


def _best(scores: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """The best of (classes, H, W) at each pixel of (width, height) where that is finer, else of (H, W)."""
    import numpy as np

    _, rows, columns = scores.shape
    if (rows, columns) == (height, width) or rows > height or columns > width:
        ids: NDArray[Any] = scores.argmax(axis=0)
        return ids
    (above, below, down), (left, right, across) = _between(rows, height), _between(columns, width)
    best, ids = np.full((height, width), -np.inf, np.float32), np.zeros((height, width), np.uint8)
    for number, one in enumerate(scores.astype(np.float32)):  # one at a time: all of them are much to hold
        tall = one[above] * (1 - down)[:, None] + one[below] * down[:, None]
        drawn = tall[:, left] * (1 - across) + tall[:, right] * across
        better = drawn > best
        best, ids = np.where(better, drawn, best), np.where(better, np.uint8(min(number, 255)), ids)
    return ids


def _between(short: int, long: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """For each of `long` places the two of `short` that it lies between, and how far it is from the first (0..1)."""
    import numpy as np

    place = np.clip((np.arange(long) + 0.5) * short / long - 0.5, 0, short - 1)
    first = place.astype(int)
    return first, np.minimum(first + 1, short - 1), (place - first).astype(np.float32)


# Pixels and resize: as TAO prepares images for these networks.
# Source: tao-toolkit-triton-apps 9a30f969, tao_triton/python/types/frame.py and model/; NVIDIA/tao_deploy 2a988a0b,
# cv/*/dataloader.py; TAO 7.3's schemas (mean and std of classification_pyt, dino, deformable_detr, segformer).
TASKS = {
    "classification": Task("classes", classification, "imagenet", "stretch"),
    "detectnet_v2": Task("boxes", detectnet_v2, "unit", "stretch"),
    "detr": Task("boxes", detr, "imagenet", "stretch"),
    "yolo": Task("boxes", yolo, "caffe", "letterbox"),
    "yolo_raw": Task("boxes", yolo_raw, "unit", "letterbox"),
    "ssd": Task("boxes", ssd, "caffe", "letterbox"),
    "segmentation": Task("mask", segmentation, "signed", "stretch"),
}
LEAST_SCORE, QUERIES = 0.3, 300  # queries that DETR keeps at most, as num_select of TAO's schemas


def _least(settings: Settings) -> float:
    return LEAST_SCORE if settings.threshold is None else settings.threshold


def _boxes(corners: NDArray[Any], scores: Any, numbers: Any, settings: Settings) -> list[Box]:
    rows = zip(corners.tolist(), scores.tolist(), numbers, strict=True)
    return [
        Box(settings.name(int(n)), left, top, right, bottom, score)
        for (left, top, right, bottom), score, n in rows
        if right > left and bottom > top
    ]


def _only(outputs: Outputs) -> NDArray[Any]:
    return next(iter(outputs.values()))


def _named(outputs: Outputs, part: str) -> NDArray[Any]:
    found = [array for name, array in sorted(outputs.items()) if part in name.lower()]
    if len(found) != 1:
        raise _unfit(part, outputs, f"one output whose name holds {part!r}")
    return found[0]


def _unfit(task: str, outputs: Outputs, wanted: str) -> BadInput:
    given = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
    return BadInput.of("task", task, f"wants {wanted}; the model gives {given}", f"one of: {', '.join(TASKS)}")
