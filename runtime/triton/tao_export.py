"""What an exported TAO network says of itself: which outputs it has, and how its images were prepared in training.

It goes into config.pbtxt as parameters, from which triton_infer_images takes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.tao.checkpoint import CARD

# Which task of runtime/triton/postprocess.py reads the outputs of a network. Source: TAO 7.3's export of each, and
# tao-toolkit-triton-apps 9a30f969, tao_triton/python/postprocessing.
TASKS = {
    "classification_pyt": "classification",
    "classification_tf1": "classification",
    "classification_tf2": "classification",
    "detectnet_v2": "detectnet_v2",
    "dino": "detr",
    "deformable_detr": "detr",
    "rtdetr": "detr",
    "yolo_v3": "yolo",
    "yolo_v4": "yolo",
    "yolo_v4_tiny": "yolo",
    "ssd": "ssd",
    "dssd": "ssd",
    "retinanet": "ssd",
    "segformer": "segmentation",
    "unet": "segmentation",
}
# How images are prepared, where it is not as the task has it and no experiment.yaml says it. Both are proved against
# TAO's own predictions (tests/tao/test_networks.py).
# Sources: tao_deploy 2a988a0b, cv/rtdetr/scripts/inference.py; TAO 7.3, cv/segformer/dataloader/augmentation.py.
LOOKS = {"rtdetr": {"pixels": "unit"}, "segformer": {"interpolation": "bicubic"}}
# Names of the mean and the standard deviation in a network's experiment.yaml, of pixels from 0 to 1.
# Source: nvidia-tao-core 7.3, the schemas of classification_pyt, segformer, dino and deformable_detr.
NORMALISATION = (("mean", "std"), ("input_mean", "input_std"))


def parameters(folder: Path) -> dict[str, str]:
    """`task`, what `LOOKS` has, and `mean` and `scale` of pixels 0 to 255, of what tao_export wrote; else empty."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    network = card.get("network") if isinstance(card, dict) else None
    if network not in TASKS:
        return {}
    found = {"task": TASKS[network]} | LOOKS.get(network, {})
    for path in sorted(folder.rglob("experiment.yaml")):
        found |= _pixels(path)
    return found


def _pixels(path: Path) -> dict[str, str]:
    import yaml

    try:
        dataset = yaml.safe_load(path.read_text(encoding="utf-8")).get("dataset")
    except (OSError, yaml.YAMLError, AttributeError):
        return {}
    for part in _parts(dataset):
        for means, deviations in NORMALISATION:
            mean, std = _of_a_pixel(part.get(means)), _of_a_pixel(part.get(deviations))
            if mean and std and min(std) > 0:
                return {
                    "mean": ",".join(f"{255 * m:.6g}" for m in mean),
                    "scale": ",".join(f"{1 / (255 * s):.9g}" for s in std),
                }
    return {}


def _parts(node: Any) -> Iterator[Mapping[str, Any]]:
    """A mapping and all those inside it."""
    if isinstance(node, Mapping):
        yield node
        for inner in node.values():
            yield from _parts(inner)


def _of_a_pixel(value: Any) -> list[float]:
    """Three numbers from 0 to 1, a channel each; empty for anything else."""
    if not isinstance(value, list) or len(value) != 3:
        return []
    return [float(v) for v in value] if all(isinstance(v, float | int) and 0 <= v <= 1 for v in value) else []
