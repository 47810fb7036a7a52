"""`data_kitti_to_coco`: KITTI labels as one COCO file, with ids that do not vary, and boxes inside their images."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.data import kitti_read, parallel, pictures
from runtime.data.kitti_read import Labelled, Pair
from runtime.errors import BadInput, Problem
from runtime.execute import main
from runtime.metrics import Metrics

IMAGES, LABELS = ("images", "image_2", "image"), ("labels", "label_2", "label")
SHOWN = 3  # names in an error


@dataclass(kw_only=True)
class Ports:
    """Convert KITTI labels to one COCO file with stable ids, boxes clipped to their images, and a preview.

    NVIDIA's own conversion is tao_annotations, for which TAO's data services are needed.
    """

    kitti: Annotated[Path, Input("Folder with images/ and labels/ (or image_2/ and label_2/)")]
    categories: Annotated[
        Path | None, Input("YAML or JSON: a list of classes, or {class: id}; other classes are left out", "uri_file")
    ] = None
    first_id: Annotated[int, Param("Id of the first category where no ids are given", minimum=0)] = 1
    min_side_px: Annotated[float, Param("Least width and height of a box inside its image", minimum=0)] = 1.0
    workers: Annotated[int | None, Param("Processes side by side; else one a core", minimum=1)] = None
    coco: Annotated[Path, Output("annotations.json, report.json, preview.jpg")]


@component(name="data_kitti_to_coco", version="1", image="data")
def kitti_to_coco(ports: Ports, metrics: Metrics) -> None:
    """Write `annotations.json`, `report.json` with what was left out and why, and `preview.jpg`."""
    pictures.require_pillow("data_kitti_to_coco")
    given = _given(ports.categories, ports.first_id) if ports.categories else None
    read = parallel.each(kitti_read.read, _pairs(ports), "images", ports.workers)
    _require_readable(ports, read)
    names = sorted({box.name for item in read for box in item.boxes})
    ids = given if given is not None else {name: number for number, name in enumerate(names, start=ports.first_id)}
    coco = document(read, ids)
    counts = _counts(read, coco)
    metrics.log(counts)
    if not coco["annotations"]:
        lost = ", ".join(f"{name} {count}" for name, count in counts.items() if "dropped" in name)
        raise BadInput.of("kitti", ports.kitti, f"no box is left ({lost or 'the labels are empty'})", "let more pass")
    unmapped = Counter(box.name for item in read for box in item.boxes if box.name not in ids)
    report = {"counts": counts, "unmapped": dict(sorted(unmapped.items()))}
    for name, content in (("annotations", coco), ("report", report)):
        text = json.dumps(content, indent=2 if name == "report" else None)
        ports.coco.joinpath(f"{name}.json").write_text(text + "\n", encoding="utf-8")
    pictures.preview([_marked(item, ids) for item in read], ports.coco / "preview.jpg")
    metrics.artifact(ports.coco / "preview.jpg", "previews")


def _marked(item: Labelled, ids: Mapping[str, int]) -> pictures.Marked:
    boxes = tuple((b.name, b.left, b.top, b.right, b.bottom) for b in item.boxes if b.name in ids)
    return pictures.Marked(item.pair.image, boxes)


def _given(path: Path, first_id: int) -> dict[str, int]:
    """The ids that a file gives to classes."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError):
        raise BadInput.of("categories", path, "is neither YAML nor JSON", "write a list, or {class: id}") from None
    if isinstance(content, list) and content and all(isinstance(name, str) for name in content):
        if len(set(content)) < len(content):
            raise BadInput.of("categories", path, "names a class twice", "name each once")
        return {name: number for number, name in enumerate(content, start=first_id)}
    if isinstance(content, dict) and content and all(isinstance(name, str) for name in content):
        wrong = [f"{name}: {number}" for name, number in content.items() if type(number) is not int or number < 0]
        if not wrong:
            return dict(content)
        raise BadInput.of(
            "categories", path, f"gives no id to {', '.join(wrong[:SHOWN])}", "write whole numbers from 0"
        )
    raise BadInput.of("categories", path, "is neither a list of classes nor {class: id}", "write one of the two")


def _pairs(ports: Ports) -> list[Pair]:
    """Each image with its label, by name; raises `BadInput` when one of the two is missing."""
    images, labels = _folder(ports, IMAGES), _folder(ports, LABELS)
    pictures_by = _by_stem(ports, images, pictures.SUFFIXES)
    texts_by = _by_stem(ports, labels, (".txt",))
    if not pictures_by:
        todo = f"put the images ({', '.join(pictures.SUFFIXES)}) there"
        raise BadInput.of("kitti", ports.kitti, f"has no image in {images.name}/", todo)
    problems = []
    for these, others, noun, todo in (
        (pictures_by, texts_by, "an image without a label", "add the label (empty where there is nothing to mark)"),
        (texts_by, pictures_by, "a label without an image", "add the image, or remove the label"),
    ):
        alone = sorted(these[stem].name for stem in these.keys() - others.keys())
        if alone:
            problems.append(Problem("kitti", ports.kitti, f"holds {noun}: {_some(alone)}", todo))
    if problems:
        raise BadInput(problems)
    return [Pair(pictures_by[stem], texts_by[stem], ports.min_side_px) for stem in sorted(pictures_by)]


def _folder(ports: Ports, names: Sequence[str]) -> Path:
    for name in names:
        if (ports.kitti / name).is_dir():
            return ports.kitti / name
    raise BadInput.of("kitti", ports.kitti, f"has no folder {names[0]}/", f"known names: {', '.join(names)}")


def _by_stem(ports: Ports, folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in found:
            wrong = f"holds {found[path.stem].name} and {path.name}, which share a label"
            raise BadInput.of("kitti", ports.kitti, wrong, "remove one of them")
        found[path.stem] = path
    return found


def _require_readable(ports: Ports, read: Sequence[Labelled]) -> None:
    broken = [f"{item.pair.image.name} {item.broken}" for item in read if item.broken]
    lines = [f"{item.pair.label.name} line {number}" for item in read for number in item.malformed]
    problems = []
    if broken:
        wrong = f"holds an image that cannot be read: {_some(broken)}"
        problems.append(Problem("kitti", ports.kitti, wrong, "replace or remove it with its label"))
    if lines:
        wrong = f"holds a label line that is not a name and 14 numbers: {_some(lines)}"
        problems.append(Problem("kitti", ports.kitti, wrong, "correct it"))
    if problems:
        raise BadInput(problems)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def document(read: Sequence[Labelled], ids: Mapping[str, int]) -> dict[str, Any]:
    """The COCO document: images in the order given, ids of images and boxes from 1, numbers with two decimals."""
    categories: dict[int, str] = {}
    for name, number in ids.items():  # several classes with one id are one category, named after the first
        categories.setdefault(number, name)
    images, annotations = [], list[dict[str, Any]]()
    for number, item in enumerate(read, start=1):
        width, height = item.size
        images.append({"id": number, "file_name": item.pair.image.name, "width": width, "height": height})
        for box in item.boxes:
            if box.name not in ids:
                continue
            x, y = round(box.left, 2), round(box.top, 2)
            w, h = round(box.right - box.left, 2), round(box.bottom - box.top, 2)
            told = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[box.name]}
            annotations.append(told | {"bbox": [x, y, w, h], "area": round(w * h, 2), "iscrowd": 0})
    named = [{"id": number, "name": name} for number, name in sorted(categories.items())]
    return {"images": images, "annotations": annotations, "categories": named}


def _counts(read: Sequence[Labelled], coco: Mapping[str, Any]) -> dict[str, int]:
    """Images, boxes read, written, clipped, and dropped by reason."""
    dropped: Counter[str] = sum((item.dropped for item in read), Counter())
    cut = dropped.pop("clipped", 0)
    inside, written = sum(len(item.boxes) for item in read), len(coco["annotations"])
    dropped["unmapped"] = inside - written
    counts = {"images": len(read), "boxes_read": inside + sum(dropped.values()) - dropped["unmapped"]}
    counts |= {"boxes_written": written, "boxes_clipped": cut}
    return counts | {f"boxes_dropped_{name}": count for name, count in sorted(dropped.items()) if count}


if __name__ == "__main__":
    sys.exit(main(kitti_to_coco))
