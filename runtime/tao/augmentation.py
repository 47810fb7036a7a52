"""`tao_augmentation`: turn, flip, shift and recolour images together with their boxes, with TAO's `augmentation`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.tao.service import ServicePorts


@dataclass(kw_only=True)
class Ports(ServicePorts):
    """Turn, flip, shift and recolour images together with their boxes (NVIDIA DALI)."""

    images: Annotated[Path, Input("The images")]
    labels: Annotated[Path, Input("KITTI: the folder of label files; COCO: the file or its folder")]
    format: Annotated[str, Param("Format of the labels", choices=("kitti", "coco"))]
    width: Annotated[int | None, Param("Width of the new images, pixels; else that of each", minimum=1)] = None
    height: Annotated[int | None, Param("Height of the new images, pixels; else that of each", minimum=1)] = None
    flip_horizontal: Annotated[bool, Param("Mirror left and right")] = False
    flip_vertical: Annotated[bool, Param("Mirror top and bottom")] = False
    seed: Annotated[int, Param("Of DALI; TAO draws from ranges of two or more values unseeded", minimum=0)] = 42
    device: Annotated[str, Param("`cpu` puts DALI on its CPU backend", choices=("gpu", "cpu"))] = "gpu"
    augmented: Annotated[Path, Output("images/, with labels/ (KITTI) or annotations.json (COCO)")]


# TAO picks angles, shifts and colours with an unseeded numpy. Source: nvidia-tao-ds 7.3.0, sharded_pipeline.py
@component(name="tao_augmentation", version="1", image="tao-ds", is_deterministic=False)
def generate(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `augmentation generate` and leave the new images with their labels in `augmented`."""
    from runtime.tao import service

    images, labels = service.images_of(ports.images), service.labels_of("labels", ports.labels, ports.format)
    if (ports.width is None) != (ports.height is None):
        raise BadInput.of("width", ports.width, f"height={ports.height}: TAO wants both or none", "give both")
    if ports.format == "kitti" and (problems := service.unlabelled(images, labels)):
        raise BadInput(problems)
    chosen: list[tuple[str, Any]] = [
        ("random_seed", ports.seed),
        ("data.dataset_type", ports.format),
        ("data.image_dir", str(images)),
        ("data.ann_path", str(labels)),
        ("spatial_aug.flip.flip_horizontal", ports.flip_horizontal),
        ("spatial_aug.flip.flip_vertical", ports.flip_vertical),
    ]
    if ports.width is not None:
        chosen += [("data.output_image_width", ports.width), ("data.output_image_height", ports.height)]
    request = service.Request(
        network="augmentation", dataset=labels, spec=ports.spec, spec_overrides=ports.spec_overrides, chosen=chosen,
        inputs=[ports.images, ports.labels], device=ports.device,
    )  # fmt: skip
    service.run(request, "generate", metrics, ports.augmented, ports.augmented)


if __name__ == "__main__":
    sys.exit(main(generate))
