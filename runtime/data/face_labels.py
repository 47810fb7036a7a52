"""From one image of WIDER FACE to an image and a label file of KITTI."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from runtime.data import pictures
from runtime.data.kitti import Box, clipped
from runtime.data.widerface import Face

FACE = "face"
# Why a face is left out, in the order in which it is asked; the first that holds counts.
REASONS = ("no_size", "invalid", "occluded", "blurred", "outside", "too_small")


@dataclass(frozen=True)
class Rules:
    """What is kept, and how it is written. Sizes are those in the image that is written."""

    min_width_px: float
    min_height_px: float
    skip_invalid: bool
    max_occlusion: int
    max_blur: int
    size: tuple[int, int] | None
    keep_empty: bool


@dataclass(frozen=True)
class Job:
    """One image: where it is, where it and its label go, its faces."""

    source: Path
    image: Path
    label: Path
    faces: tuple[Face, ...]
    rules: Rules


@dataclass(frozen=True)
class Outcome:
    """What became of it: the boxes written, the faces dropped by reason, and why the whole image was, if it was."""

    job: Job
    boxes: tuple[Box, ...]
    dropped: Counter[str]
    wrong: str = ""

    @property
    def written(self) -> bool:
        """Whether the image and its label are there."""
        return not self.wrong


def convert(job: Job) -> Outcome:
    """Write the image and its label; an image that is broken, or on which no face is left, is not written."""
    size = pictures.size_of(job.source)
    if isinstance(size, str):
        return Outcome(job, (), Counter(broken_image=len(job.faces)), size)
    boxes, dropped = _boxes(job, size)
    if not boxes and not job.rules.keep_empty:
        return Outcome(job, (), dropped, "no face")
    copied = pictures.copy(job.source, job.image, job.rules.size)
    if isinstance(copied, str):
        job.image.unlink(missing_ok=True)
        return Outcome(job, (), Counter(broken_image=len(job.faces)), copied)
    job.label.write_text("".join(box.line() for box in boxes), encoding="utf-8")
    return Outcome(job, tuple(boxes), dropped)


def _boxes(job: Job, size: tuple[int, int]) -> tuple[list[Box], Counter[str]]:
    width, height = job.rules.size or size
    scale = width / size[0], height / size[1]
    boxes, dropped = [], Counter[str]()
    for face in job.faces:
        whole = Box(
            FACE,
            face.x * scale[0],
            face.y * scale[1],
            (face.x + face.width) * scale[0],
            (face.y + face.height) * scale[1],
            occluded=face.occlusion,
        )
        inside = clipped(whole, width, height)
        reason = _reason(face, inside, job.rules)
        if reason:
            dropped[reason] += 1
            continue
        cut = 1.0 - _area(inside) / _area(whole)
        boxes.append(Box(FACE, inside.left, inside.top, inside.right, inside.bottom, cut, face.occlusion))
    return boxes, dropped


def _reason(face: Face, inside: Box, rules: Rules) -> str:
    width, height = inside.right - inside.left, inside.bottom - inside.top
    tests = (
        face.width <= 0 or face.height <= 0,
        rules.skip_invalid and face.invalid,
        face.occlusion > rules.max_occlusion,
        face.blur > rules.max_blur,
        width <= 0 or height <= 0,
        width < rules.min_width_px or height < rules.min_height_px,
    )
    return next((reason for reason, holds in zip(REASONS, tests, strict=True) if holds), "")


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)
