"""One labelled image of KITTI: its size, and its boxes as COCO takes them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from runtime.data import pictures
from runtime.data.kitti import DONTCARE, Box, clipped, parse


@dataclass(frozen=True)
class Pair:
    """An image and its label file, and the least side that a box must have."""

    image: Path
    label: Path
    min_side_px: float


@dataclass(frozen=True)
class Labelled:
    """What was read: boxes inside the image, those dropped by reason, what is wrong with the files."""

    pair: Pair
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    dropped: Counter[str]
    broken: str = ""
    malformed: tuple[int, ...] = ()


def read(pair: Pair) -> Labelled:
    """Read one pair. DontCare is no object; a box that is flat, outside or too small is dropped and counted."""
    size = pictures.size_of(pair.image)
    if isinstance(size, str):
        return Labelled(pair, (0, 0), (), Counter(), broken=size)
    boxes, dropped, malformed = [], Counter[str](), []
    for number, line in enumerate(pair.label.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        box = parse(line)
        if box is None:
            malformed.append(number)
            continue
        inside = clipped(box, *size)
        reason = _reason(box, inside, pair.min_side_px)
        if reason:
            dropped[reason] += 1
        else:
            dropped["clipped"] += int(inside != box)
            boxes.append(inside)
    return Labelled(pair, size, tuple(boxes), dropped, malformed=tuple(malformed))


def _reason(box: Box, inside: Box, least: float) -> str:
    if box.name.lower() == DONTCARE:
        return "dontcare"
    if box.right <= box.left or box.bottom <= box.top:
        return "flat"
    width, height = inside.right - inside.left, inside.bottom - inside.top
    if width <= 0 or height <= 0:
        return "outside"
    return "too_small" if width < least or height < least else ""
