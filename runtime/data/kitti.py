"""KITTI label files: a text file an image, a box a line of 15 values.

Source: the KITTI development kit's readme: type, truncated, occluded, alpha, bbox (left, top, right, bottom in pixels),
dimensions x3, location x3, rotation_y; a 16th value is a score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FIELDS = 15
DONTCARE = "dontcare"


@dataclass(frozen=True)
class Box:
    """One line: class, box in pixels, share cut off by the border, 0..3 for visible to unknown."""

    name: str
    left: float
    top: float
    right: float
    bottom: float
    truncated: float = 0.0
    occluded: int = 0

    def line(self) -> str:
        """The 15 values; what 2D labels do not have is 0."""
        corners = " ".join(f"{value:.2f}" for value in (self.left, self.top, self.right, self.bottom))
        return f"{self.name} {self.truncated:.2f} {self.occluded} 0.00 {corners} 0.00 0.00 0.00 0.00 0.00 0.00 0.00\n"


def parse(line: str) -> Box | None:
    """The box of a line; None for one that is not a name and 14 or 15 finite numbers."""
    words = line.split()
    if len(words) not in (FIELDS, FIELDS + 1):
        return None
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        return None
    if not all(map(math.isfinite, numbers)):
        return None
    truncated, occluded, _, left, top, right, bottom = numbers[:7]
    return Box(words[0], left, top, right, bottom, truncated, int(occluded))


def clipped(box: Box, width: float, height: float) -> Box:
    """The part of the box that is inside the image."""
    return Box(
        box.name,
        min(max(box.left, 0.0), width),
        min(max(box.top, 0.0), height),
        min(max(box.right, 0.0), width),
        min(max(box.bottom, 0.0), height),
        box.truncated,
        box.occluded,
    )
