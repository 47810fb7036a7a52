"""DetectNet_v2: the grids that the network gives as boxes, one for each cluster of cells.

Source: NVIDIA-AI-IOT/tao-toolkit-triton-apps 9a30f969, tao_triton/python/postprocessing (the stride, 35 as the norm of
a box and 0.5 as the offset of a cell, the fields of the clustering file); NVIDIA/tao_deploy 2a988a0b,
cv/detectnet_v2/utils.py (distance 1 - IoU, as a matrix of distances, and coverage as the weight).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.triton.boxes import Fit, dense, iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORM, OFFSET = 35.0, 0.5


@dataclass(frozen=True)
class Clustering:
    """How the cells of one class become boxes. `confidence`: least sum of the coverages of a cluster.

    The defaults are those of clustering_config_peoplenet.prototxt in tao-toolkit-triton-apps.
    """

    coverage: float = 0.005
    height: float = 4.0
    eps: float = 0.3
    least: float = 0.05
    confidence: float = 0.9


def read_clustering(path: Path) -> dict[str, Clustering]:
    """The clustering of each class in a `PostprocessingConfig` in protobuf text, as TAO's Triton client takes it."""
    from runtime.tao import prototext

    todo = "give a file like clustering_config_peoplenet.prototxt"
    try:
        tree = prototext.to_dict(path.read_text(encoding="utf-8"))
    except (BadInput, UnicodeDecodeError) as error:
        raise BadInput.of("clustering", path, f"is no protobuf text ({str(error).splitlines()[0]})", todo) from error
    entries = tree.get("classwise_clustering_config", [])
    found = {}
    for entry in entries if isinstance(entries, list) else [entries]:
        try:
            found[str(entry["key"])] = _clustering(entry["value"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput.of("clustering", path, f"has a class without its settings ({error!r})", todo) from error
    if not found:
        raise BadInput.of("clustering", path, "names no class", todo)
    return found


def _clustering(value: Mapping[str, Any]) -> Clustering:
    scan = value.get("dbscan_config", {})
    named = {
        "coverage": value.get("coverage_threshold"), "height": value.get("minimum_bounding_box_height"),
        "eps": scan.get("dbscan_eps"), "least": scan.get("dbscan_min_samples"),
        "confidence": scan.get("dbscan_confidence_threshold"),
    }  # fmt: skip
    return Clustering(**{f.name: float(named[f.name]) for f in fields(Clustering) if named[f.name] is not None})


def cells(grid: NDArray[Any], fit: Fit) -> NDArray[Any]:
    """Boxes of the network's input, (4, rows, columns), of one class's grid of the same shape.

    A cell holds the distances from its centre to the four sides, all outward, in units of `NORM` pixels.
    """
    import numpy as np

    _, rows, columns = grid.shape
    x = np.arange(columns) * (fit.network[0] / columns) + OFFSET
    y = np.arange(rows)[:, None] * (fit.network[1] / rows) + OFFSET
    zero = np.zeros((rows, columns))
    centres = np.stack([x + zero, y + zero, x + zero, y + zero])
    outward = np.array([-1.0, -1.0, 1.0, 1.0])[:, None, None]
    corners: NDArray[Any] = centres + outward * NORM * grid
    return corners


def clustered(coverage: NDArray[Any], grid: NDArray[Any], fit: Fit, how: Clustering) -> tuple[Any, Any]:
    """Boxes (N, 4) of the image and their scores (N,), best first, of one class's coverage (rows, columns) and grid.

    A cluster's box is the mean of its cells' boxes, weighted by coverage; its score is the sum of their coverages.
    """
    import numpy as np

    chosen = coverage > how.coverage
    boxes, weights = fit.to_image(cells(grid, fit)[:, chosen].T), coverage[chosen].astype(float)
    labels = dense(1.0 - iou(boxes, boxes), weights, how.eps, how.least)
    count = int(labels.max(initial=-1)) + 1
    member = labels[None, :] == np.arange(count)[:, None]
    sums = member @ weights
    means = (member * weights) @ boxes / sums[:, None] if count else np.zeros((0, 4))
    valid = (sums > how.confidence) & (means[:, 3] - means[:, 1] > how.height)
    order = np.argsort(-sums[valid], kind="stable")
    return means[valid][order], sums[valid][order]
