"""Layout `odvg`: for training a folder of images and ODVG lines (JSON, an image a line), for the rest COCO.

Parts: as in `coco`, and `train_labels` (the label map: JSON, number to name; without one the lines are phrases).

Source: nvidia-tao-pytorch 7.3.0, cv/grounding_dino/dataloader/odvg.py, read: `file_name`, then `detection.instances`
(with a label map) or `grounding.regions`; boxes are [left, top, right, bottom]; a label that the map lacks is a
KeyError mid-training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from runtime.tao.datasets import coco, coco_file, pictures
from runtime.tao.datasets.image_files import check_folder
from runtime.tao.datasets.listing import file_missing, folder_missing, several, too_few
from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error


@dataclass
class _Lines:
    """What the lines of a file say, and their mistakes."""

    images: list[str] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def check(parts: Parts) -> list[Finding]:
    """Train as ODVG, every other split as COCO whose category ids start at 0."""
    found: list[Finding] = []
    for split in parts.splits("_annotations"):
        if split == "train":
            found += _train(parts)
            continue
        documents, findings = coco.check_split(parts, split)
        found += findings
        for document in documents:
            found += _from_0(document)
    if parts.action == "inference":
        for place in parts.places("inference_images"):
            found += check_folder(parts, "inference", place, deep=False)
    return found


def _from_0(document: coco_file.Document) -> list[Finding]:
    numbers = sorted(document.names)
    if not numbers or numbers == list(range(len(numbers))):
        return []
    wrong = f"has category ids {numbers[0]} to {numbers[-1]} for {len(numbers)} categories"
    place = document.place
    return [
        error(place.key, place.value, wrong, f"number them 0 to {len(numbers) - 1}: an id is a place in the prompt")
    ]


def _train(parts: Parts) -> list[Finding]:
    found: list[Finding] = []
    count = 0
    sources = (parts.places(f"train_{part}") for part in ("images", "annotations", "labels"))
    for images, annotation, labels in zip_longest(*sources):
        if images is None or annotation is None:
            continue
        missing = file_missing(annotation, "give the ODVG file, a JSON object a line")
        known, findings = coco_file.load(labels) if labels else (None, [])
        found += [*findings, missing] if missing else findings
        if missing is None:
            lines = _read(annotation, set(known) if isinstance(known, Mapping) else None)
            count += len(lines.images)
            found += _told(annotation, lines, labels)
            found += _images(images, annotation, lines)
    return [*found, *too_few(parts, "train", count)]


def _read(place: Place, labels: set[str] | None) -> _Lines:
    lines = _Lines()
    kind, items = ("detection", "instances") if labels is not None else ("grounding", "regions")
    text = place.path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            record = json.loads(line)
            lines.images.append(str(record["file_name"]))
            boxes = list(_boxes(record[kind][items]))
        except (ValueError, KeyError, TypeError):
            lines.malformed.append(f"line {number}")
            continue
        lines.flat += [f"line {number}" for (left, top, right, bottom), _ in boxes if right <= left or bottom <= top]
        if labels is not None:
            lines.unknown += [f"{label} in line {number}" for _, label in boxes if label not in labels]
    return lines


def _boxes(items: Any) -> Iterator[tuple[tuple[float, float, float, float], str]]:
    for item in items:
        left, top, right, bottom = (float(number) for number in item["bbox"])
        yield (left, top, right, bottom), str(item.get("label", ""))


def _told(place: Place, lines: _Lines, labels: Place | None) -> list[Finding]:
    found = []
    if lines.malformed:
        what = "detection.instances" if labels else "grounding.regions"
        wrong = "holds " + several(lines.malformed, "line", f"without file_name and {what} with boxes of four numbers")
        todo = "write them so" if labels else "write them so, or name the label map in label_map"
        found.append(error(place.key, place.value, wrong, todo))
    if lines.flat:
        wrong = "holds " + several(lines.flat, "box", "without width or height")
        found.append(
            error(place.key, place.value, wrong, "write [left, top, right, bottom], not COCO's width and height")
        )
    if lines.unknown and labels is not None:
        wrong = "holds " + several(lines.unknown, "label", f"that {labels.path.name} does not have")
        found.append(error(place.key, place.value, wrong, "add it to the label map: its keys are numbers as text"))
    return found


def _images(place: Place, annotation: Place, lines: _Lines) -> list[Finding]:
    missing = folder_missing(place, "give the folder of the images")
    if missing:
        return [missing]
    here = [place.path / name for name in dict.fromkeys(lines.images)]
    absent = [path.name for path in here if not path.is_file()]
    found = []
    if absent:
        wrong = "lacks " + several(absent, "image", f"of {annotation.path.name}")
        found.append(error(place.key, place.value, wrong, "give the folder that file_name counts from, or add them"))
    return [*found, *pictures.check(place, [path for path in here if path.is_file()])[1]]
