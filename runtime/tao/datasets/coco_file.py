"""One COCO annotation file: read, and checked in itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.tao.datasets.listing import file_missing, several
from runtime.tao.datasets.parts import Place
from runtime.tao.finding import Finding, error, warning

Record = Mapping[str, Any]
_LISTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "images": ("image", ("id", "file_name")),
    "annotations": ("annotation", ("image_id", "category_id", "bbox")),
    "categories": ("category", ("id", "name")),
}


@dataclass(frozen=True)
class Document:
    """The records of a COCO file that have what they need."""

    place: Place
    images: Mapping[Any, Record]
    annotations: tuple[Record, ...]
    categories: Mapping[Any, Record]

    @property
    def names(self) -> dict[int, str]:
        """The categories' names by id."""
        return {key: str(record["name"]) for key, record in self.categories.items() if isinstance(key, int)}


def read(place: Place, reads_area: bool = False) -> tuple[Document | None, list[Finding]]:
    """The document at a place, or None, and what is wrong with it; `reads_area`: the network reads each box's area."""
    content, found = load(place)
    if content is None:
        return None, found
    absent = [name for name in _LISTS if not isinstance(content, dict) or not isinstance(content.get(name), list)]
    if absent:
        wrong = f"has no list of {' and of '.join(absent)}"
        return None, [error(place.key, place.value, wrong, "give a COCO annotation file")]
    lists: dict[str, list[Record]] = {}
    for name, (noun, fields) in _LISTS.items():
        wanted = (*fields, "area") if reads_area and name == "annotations" else fields
        lists[name], findings = _complete(place, content[name], noun, wanted)
        found += findings
    for name, noun in (("images", "image"), ("categories", "category")):
        found += _twice(place, lists[name], noun)
    document = Document(
        place,
        {record["id"]: record for record in lists["images"]},
        tuple(lists["annotations"]),
        {record["id"]: record for record in lists["categories"]},
    )
    return document, [*found, *_references(document), *_boxes(document)]


def load(place: Place) -> tuple[Any, list[Finding]]:
    """The JSON at a place, or None and why not."""
    missing = file_missing(place, "give the annotation file")
    if missing:
        return None, [missing]
    try:
        return json.loads(place.path.read_bytes()), []
    except json.JSONDecodeError as problem:
        wrong = f"is no JSON: line {problem.lineno}, column {problem.colno}: {problem.msg}"
    except UnicodeDecodeError:
        wrong = "is no JSON: it is no text"
    return None, [error(place.key, place.value, wrong, "give the annotation file as JSON")]


def _complete(
    place: Place, records: Iterable[Any], noun: str, fields: tuple[str, ...]
) -> tuple[list[Record], list[Finding]]:
    whole, lacking = [], Counter[str]()
    for record in records:
        absent = [f for f in fields if not isinstance(record, dict) or not _usable(f, record.get(f))]
        lacking.update(absent)
        if not absent:
            whole.append(record)
    found = []
    for field, number in lacking.items():
        wrong = f"holds {number} of its {noun} records without a usable {field!r}"
        found.append(error(place.key, place.value, wrong, "write it for each"))
    return whole, found


def _usable(field: str, value: Any) -> bool:
    if field == "bbox":
        return isinstance(value, list) and len(value) == 4 and all(isinstance(n, int | float) for n in value)
    if field.endswith("id"):
        return isinstance(value, int | str)
    return isinstance(value, int | float) if field == "area" else isinstance(value, str) and bool(value)


def _twice(place: Place, records: Iterable[Record], noun: str) -> list[Finding]:
    twice = [f"id {key}" for key, number in Counter(record["id"] for record in records).items() if number > 1]
    if not twice:
        return []
    wrong = "holds " + several(twice, f"{noun} id", "more than once")
    return [error(place.key, place.value, wrong, "give each its own id")]


def _references(document: Document) -> list[Finding]:
    place, found = document.place, []
    for field, known, noun in (
        ("image_id", document.images, "image"),
        ("category_id", document.categories, "category"),
    ):
        unknown = sorted({str(a[field]) for a in document.annotations if a[field] not in known})
        if unknown:
            wrong = "holds " + several(unknown, f"{field} value", f"that no {noun} has")
            found.append(error(place.key, place.value, wrong, f"add the {noun} or remove its annotations"))
    used = {annotation["image_id"] for annotation in document.annotations}
    bare = [str(record["file_name"]) for key, record in document.images.items() if key not in used]
    if not used & set(document.images):
        found.append(
            error(place.key, place.value, "annotates none of its images", "give the annotations of these images")
        )
    elif bare:
        wrong = "holds " + several(bare, "image", "without an annotation")
        found.append(warning(place.key, place.value, wrong, "nothing, when they show nothing of interest"))
    return found


def _boxes(document: Document) -> list[Finding]:
    place, flat, outside = document.place, [], []
    for annotation in document.annotations:
        image = document.images.get(annotation["image_id"])
        x, y, width, height = annotation["bbox"]
        name = f"{image['file_name']} {annotation['bbox']}" if image else str(annotation["bbox"])
        if width <= 0 or height <= 0:
            flat.append(name)
        elif image and _sized(image) and (x < 0 or y < 0 or x + width > image["width"] or y + height > image["height"]):
            outside.append(name)
    found = []
    if flat:
        wrong = "holds " + several(flat, "box", "without width or height, which TAO drops")
        found.append(warning(place.key, place.value, wrong, "correct them: [x, y, width, height]"))
    if outside:
        wrong = "holds " + several(outside, "box", "reaching outside the image, which TAO cuts")
        found.append(warning(place.key, place.value, wrong, "correct them: [x, y, width, height] in pixels"))
    return found


def _sized(image: Record) -> bool:
    return all(isinstance(image.get(side), int | float) for side in ("width", "height"))
