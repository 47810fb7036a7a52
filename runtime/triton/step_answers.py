"""Ready-made steps `classes`, `boxes` and `mask`: from a network's outputs to what they mean, as the image client does.

They are copied beside a model.py and run inside the server, which has numpy (runtime/triton/ready_files.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runtime.triton.boxes import Box, Fit
from runtime.triton.detectnet import Clustering
from runtime.triton.postprocess import TASKS, Settings
from runtime.triton.step_pictures import FIT, fit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.triton.postprocess import Prediction

    Arrays = Mapping[str, NDArray[Any]]

CLASSES, SCORES, BOXES, COUNT, MASK, SIZE = "classes", "scores", "boxes", "count", "mask", "size"
ANYWHERE = Fit((1, 1), (1, 1))  # a class has no place


def open_step(settings: Mapping[str, Any]) -> Callable[[Arrays], dict[str, NDArray[Any]]]:
    """The function of a step. Settings: `task`, `settings` (fields of `Settings`), `stacked`, `max_boxes`.

    `max_boxes`: boxes of each image, filled up with zeros; 0: as many as the image of the request with the most has.
    """
    task, told = TASKS[settings["task"]], settings_of(settings["settings"])

    def predict(inputs: Arrays) -> dict[str, NDArray[Any]]:
        images = [task.run(o, fit, told) for o, fit in _images(inputs, stacked=settings["stacked"])]
        if task.kind == "mask":
            found = as_masks(images)
        else:
            found = as_boxes(images, settings["max_boxes"]) if task.kind == "boxes" else as_classes(images)
        return found if settings["stacked"] else {name: array[0] for name, array in found.items()}

    return predict


def settings_of(fields: Mapping[str, Any]) -> Settings:
    """Settings from their fields as JSON has them."""
    clustering = {name: Clustering(**how) for name, how in fields["clustering"].items()}
    return Settings(**{**fields, "labels": tuple(fields["labels"]), "clustering": clustering})


def _images(inputs: Arrays, *, stacked: bool) -> Iterator[tuple[dict[str, NDArray[Any]], Fit]]:
    """The outputs of each image of a request, and how it lies in the network's input."""
    outputs = {name: array for name, array in inputs.items() if name != FIT}
    fits = inputs.get(FIT)
    if not stacked:
        yield outputs, ANYWHERE if fits is None else fit_of(fits)
        return
    for index in range(len(next(iter(outputs.values())))):
        one = {name: array[index] for name, array in outputs.items()}
        yield one, ANYWHERE if fits is None else fit_of(fits[index])


def as_classes(images: list[Prediction]) -> dict[str, NDArray[Any]]:
    """`classes` (N, K) text and `scores` (N, K) FP64, best first."""
    import numpy as np

    names = [[name for name, _ in image.classes] for image in images]
    return {CLASSES: np.array(names, dtype=object), SCORES: np.array([[s for _, s in i.classes] for i in images])}


def as_masks(images: list[Prediction]) -> dict[str, NDArray[Any]]:
    """`mask` (N, H, W) uint8, the class of each pixel, and `size` (N, 2), each image's width and height.

    H and W are of the largest image; a smaller one is at the left and top, with zeros beyond its size.
    """
    import numpy as np

    masks = [mask for image in images if (mask := image.mask) is not None]
    sizes = np.array([mask.shape[::-1] for mask in masks], dtype=np.int32)
    found = np.zeros((len(masks), *sizes.max(axis=0)[::-1].tolist()), dtype=np.uint8)
    for whole, mask in zip(found, masks, strict=True):
        whole[: mask.shape[0], : mask.shape[1]] = mask
    return {MASK: found, SIZE: sizes}


def as_boxes(images: list[Prediction], most: int) -> dict[str, NDArray[Any]]:
    """`boxes` (N, M, 4), `scores` (N, M), `classes` (N, M) and `count` (N, 1), how many of the M are boxes; best first.

    A box is left, top, right, bottom in the image's pixels. With `most` the best ones are kept.
    """
    import numpy as np

    length = most or max(1, *(len(image.boxes) for image in images))
    boxes, scores = np.zeros((len(images), length, 4)), np.zeros((len(images), length))
    classes = np.full((len(images), length), "", dtype=object)
    count = np.zeros((len(images), 1), dtype=np.int32)
    for row, image in enumerate(images):
        kept = image.boxes[:length]
        count[row] = len(kept)
        for place, box in enumerate(kept):
            boxes[row, place], scores[row, place], classes[row, place] = _corners(box), box.score, box.name
    return {BOXES: boxes, SCORES: scores, CLASSES: classes, COUNT: count}


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom
