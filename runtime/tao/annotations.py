"""`tao_annotations`: convert the labels of a dataset from one format to another with TAO's `annotations convert`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput, MissingOutput, Problem
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.tao.service import ServicePorts

# TAO calls any other pair a success and writes nothing. Source: nvidia-tao-ds 7.3.0, annotations/conversion/mapping.py
PAIRS = (
    ("kitti", "coco"),
    ("coco", "kitti"),
    ("coco", "odvg"),
    ("coco", "coco"),
    ("odvg", "coco"),
    ("aicity", "ovpkl"),
    ("nvidia_pas", "tao_clip"),
    ("nvidia_paidf_pas", "tao_clip"),
)
_LABELS_KEY = {
    "kitti": "kitti.label_dir",
    "coco": "coco.ann_file",
    "odvg": "odvg.ann_file",
    "aicity": "aicity.root",
    "nvidia_pas": "nvidia_pas.root",
    "nvidia_paidf_pas": "nvidia_paidf_pas.raw_output_dir",
}


@dataclass(kw_only=True)
class Ports(ServicePorts):
    """Convert the labels of a dataset from one format to another (KITTI, COCO, ODVG, AICity, PAS)."""

    labels: Annotated[Path, Input("KITTI: the folder; COCO, ODVG: the file or its folder; else the data's root")]
    source: Annotated[str, Param("Format of the labels: kitti, coco, odvg, aicity, nvidia_pas, nvidia_paidf_pas")]
    target: Annotated[str, Param("Format to write; `coco` to `coco` numbers the categories 0, 1, ...")]
    images: Annotated[Path | None, Input("The images, whose sizes KITTI to COCO needs")] = None
    mapping: Annotated[Path | None, Input("KITTI: classes and their aliases; ODVG: its label map", "uri_file")] = None
    converted: Annotated[Path, Output("labels/ (KITTI) or annotations.json (COCO), and TAO's status")]


def check(ports: Ports) -> list[Problem]:
    """What is wrong with the pair of formats and what it needs."""
    source, target = ports.source.lower(), ports.target.lower()
    if (source, target) not in PAIRS:
        known = ", ".join(f"{a} to {b}" for a, b in PAIRS)
        return [Problem("source", ports.source, f"TAO cannot convert it to {ports.target}", f"it has: {known}")]
    if source == "kitti" and ports.images is None:
        return [Problem("images", None, "KITTI to COCO needs the sizes of the images", "give images=PATH")]
    return []


@component(name="tao_annotations", version="1", image="tao-ds")
def convert(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `annotations convert` and leave labels in `converted` whose numbering does not vary."""
    from runtime.tao import service

    problems = check(ports)
    if problems:
        raise BadInput(problems)
    source, target = ports.source.lower(), ports.target.lower()
    labels = service.labels_of("labels", ports.labels, source)
    chosen = [
        ("data.input_format", source.upper()),
        ("data.output_format", target.upper()),
        (_LABELS_KEY[source], str(labels)),
        *{"kitti": _kitti, "odvg": _odvg}.get(source, _nothing_more)(ports, labels),
    ]
    request = service.Request(
        network="annotations", dataset=labels, spec=ports.spec, spec_overrides=ports.spec_overrides, chosen=chosen,
        inputs=[path for path in (ports.labels, ports.images, ports.mapping) if path is not None],
    )  # fmt: skip
    place = ports.converted / "labels" if target == "kitti" else ports.converted
    service.run(request, "convert", metrics, ports.converted, place)
    _judge(ports.converted, source, target)
    if target == "coco":
        _tidy(ports.converted, source)


def _nothing_more(_ports: Ports, _labels: Path) -> list[tuple[str, Any]]:
    return []


def _kitti(ports: Ports, labels: Path) -> list[tuple[str, Any]]:
    from runtime.tao import service

    images = service.images_of(ports.images or labels)
    if problems := service.unlabelled(images, labels):
        raise BadInput(problems)
    mapping = ports.mapping.absolute() if ports.mapping else ports.converted / "mapping.yaml"
    if ports.mapping is None:  # TAO would number the classes in the order of its directory listing
        mapping.write_text(service.mapping_text(service.classes_of(labels)), encoding="utf-8")
    return [("kitti.image_dir", str(images)), ("kitti.mapping", str(mapping)), ("kitti.project", "annotations")]


def _odvg(ports: Ports, labels: Path) -> list[tuple[str, Any]]:
    """Without a label map TAO writes nothing; without `add_background` it numbers boxes from 0 and classes from 1.

    Source: nvidia-tao-ds 7.3.0, annotations/conversion/odvg_to_coco.py, run.
    """
    table = ports.mapping or labels.with_name(f"{labels.stem}_labelmap.json")
    if not table.is_file():
        todo = "give mapping=FILE, the label map ({number: class})"
        raise BadInput.of("labels", labels, f"there is no {table.name} beside it", todo)
    return [("odvg.labelmap_file", str(table.absolute())), ("coco.add_background", True)]


def _judge(converted: Path, source: str, target: str) -> None:
    """TAO says that it finished whether or not it wrote labels."""
    glob = {"kitti": "labels/*.txt", "coco": "*.json", "odvg": "*.jsonl"}.get(target, "*")
    ours = ("model.json", "metrics.json", "spec.yaml", "mapping.yaml", "log.txt", "convert")
    if not any(path.name not in ours for path in converted.glob(glob)):
        raise MissingOutput(f"annotations convert: TAO said that it finished, but wrote no {target} ({source})")


def _tidy(converted: Path, source: str) -> None:
    """Name the COCO file `annotations.json`, and undo what TAO's numbering leaves to chance."""
    made = converted / "annotations.json"
    for path in sorted(converted.glob("*.json")):
        if path.name not in ("model.json", "metrics.json", made.name):
            path.rename(made)
    coco = json.loads(made.read_text(encoding="utf-8"))
    if source == "odvg":
        coco["categories"] = [category for category in coco["categories"] if category["id"] != 0]
    if source in ("kitti", "odvg"):
        coco = in_order(coco)
    made.write_text(json.dumps(coco) + "\n", encoding="utf-8")


def in_order(coco: dict[str, Any]) -> dict[str, Any]:
    """The same COCO with images by name and ids that follow; TAO numbers in the order of its directory listing."""
    images = sorted(coco["images"], key=lambda image: str(image["file_name"]))
    numbers = {image["id"]: number for number, image in enumerate(images, 1)}
    boxes = sorted(coco["annotations"], key=lambda box: (numbers[box["image_id"]], box["id"]))
    return {
        "images": [{**image, "id": numbers[image["id"]]} for image in images],
        "annotations": [{**box, "id": n, "image_id": numbers[box["image_id"]]} for n, box in enumerate(boxes, 1)],
        "categories": coco["categories"],
    }


if __name__ == "__main__":
    sys.exit(main(convert))
