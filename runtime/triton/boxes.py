"""Boxes in images: where an image lies in a network's input, overlaps, non-maximum suppression, density clustering.

Every box is (left, top, right, bottom) in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Box:
    """One object: class, corners in the image's pixels, score."""

    name: str
    left: float
    top: float
    right: float
    bottom: float
    score: float


@dataclass(frozen=True)
class Fit:
    """How an image lies in the network's input: `network = image * scale + offset`, in pixels, (x, y) each."""

    image: tuple[int, int]
    network: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def to_image(self, boxes: NDArray[Any]) -> NDArray[Any]:
        """Boxes (N, 4) of the network's input as boxes of the image, clipped to it."""
        import numpy as np

        scale, offset = np.tile(self.scale, 2), np.tile(self.offset, 2)
        inside: NDArray[Any] = np.clip((boxes - offset) / scale, 0.0, np.tile(self.image, 2))
        return inside


def iou(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of each of `a` (N, 4) with each of `b` (M, 4), (N, M), 0 where both are empty."""
    import numpy as np

    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.prod(np.clip(sides, 0, None), axis=-1)
    union = _area(a)[:, None] + _area(b)[None, :] - common
    found: NDArray[Any] = np.divide(common, union, out=np.zeros_like(common, dtype=float), where=union > 0)
    return found


def _area(boxes: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    area: NDArray[Any] = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=-1)
    return area


def suppressed(boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], most: float) -> NDArray[Any]:
    """Indices that stay, best score first: a box goes when a better one of its class overlaps it more than `most`."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        overlap = iou(boxes[best : best + 1], boxes[rest])[0]
        order = rest[(overlap <= most) | (classes[rest] != classes[best])]
    return np.array(kept, dtype=np.int64)


def dense(distances: NDArray[Any], weights: NDArray[Any], eps: float, least: float) -> NDArray[Any]:
    """The cluster of each item, (N,) from 0, -1 for noise: DBSCAN on a matrix of distances (N, N).

    An item is a core where the weights within `eps` of it, its own too, come to `least`. Cores within `eps` of each
    other are one cluster; another item joins that of the nearest core within `eps`, so that the order of the items
    changes nothing (with sklearn.cluster.DBSCAN it joins the first one found).
    Source: Ester et al., 1996, "A density-based algorithm for discovering clusters".
    """
    import numpy as np

    count = len(weights)
    near = distances <= eps
    core = near @ weights >= least
    labels = np.where(core, np.arange(count), count)
    joined = near & core[:, None] & core[None, :]
    while True:  # the smallest index among the cores that reach each other
        spread = np.where(joined, labels[None, :], count).min(axis=1, initial=count)
        spread = np.where(core, np.minimum(labels, spread), count)
        if (spread == labels).all():
            break
        labels = spread
    reach = np.where(near & core[None, :], distances, np.inf)
    if count:
        nearest = reach.argmin(axis=1)
        border = ~core & np.isfinite(reach[np.arange(count), nearest])
        labels = np.where(border, labels[nearest], labels)
    found = np.unique(labels[labels < count])
    return np.where(labels < count, np.searchsorted(found, labels), -1)
