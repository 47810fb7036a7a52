"""Layout `coco`: a folder of images and a COCO annotation file for each split.

Parts: `<split>_images`, `<split>_annotations`; `num_classes`, `contiguous` (a switch that renumbers the categories),
`classmap`, `batch_size`.

Sources (nvidia-tao-pytorch 7.3.0, read): cv/deformable_detr/dataloader/od_dataset.py and
cv/rtdetr/dataloader/od_dataset.py: a label is the category id itself, boxes are cut at the image's edge, a box without
area is dropped, `area` is read; the line of a class in the class map counts from 1, for rtdetr and codetr from 0. Run
with rtdetr: ids 1 and 2 with num_classes 2 fail in the loss, "index 2 is out of bounds".
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from runtime.tao.datasets import coco_file, pictures
from runtime.tao.datasets.coco_file import Document
from runtime.tao.datasets.image_files import check_folder
from runtime.tao.datasets.listing import file_missing, files, folder_missing, several, too_few
from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error, warning

READ_AREA = ("rtdetr", "dino", "deformable_detr", "codetr", "grounding_dino", "mask_grounding_dino")
CLASSMAP_FROM_0 = ("rtdetr", "codetr")


def check(parts: Parts) -> list[Finding]:
    """Each split's file and images, the classes against num_classes and the class map."""
    found: list[Finding] = []
    documents: list[Document] = []
    for split in parts.splits("_annotations"):
        read, findings = check_split(parts, split)
        documents += read
        found += findings
    if parts.action == "inference":
        found += _inference(parts)
    return found + _numbers(parts, documents)


def check_split(parts: Parts, split: str) -> tuple[list[Document], list[Finding]]:
    """Every annotation file of a split with its images."""
    found: list[Finding] = []
    documents, count = [], 0
    reads_area = parts.network.name in READ_AREA
    sources = zip_longest(parts.places(f"{split}_images"), parts.places(f"{split}_annotations"))
    for images, file in sources:
        if file is not None:
            document, findings = coco_file.read(file, reads_area)
            found += findings
            if document is not None:
                documents.append(document)
                count += len(document.images)
                found += [] if images is None else check_images(images, document)
        elif images is not None:
            found += [error(images.key, images.value, "has no annotation file beside it", "give one for each folder")]
    return documents, found + too_few(parts, split, count)


def check_images(place: Place, document: Document) -> list[Finding]:
    """The images of a document: they exist, open, and have the size that is written for them."""
    missing = folder_missing(place, "give the folder of the images")
    if missing:
        return [missing]
    records = [record for record in document.images.values() if not str(record["file_name"]).startswith("h5://")]
    named = {place.path / str(record["file_name"]): record for record in records}
    here = {path: record for path, record in named.items() if path.is_file()}
    absent = [str(record["file_name"]) for path, record in named.items() if path not in here]
    found = []
    if absent:
        wrong = "lacks " + several(absent, "image", f"of {document.place.path.name}")
        found.append(error(place.key, place.value, wrong, "give the folder that file_name counts from, or add them"))
    unnamed = [path.name for path in files(place.path, pictures.SUFFIXES) if path not in named]
    if unnamed:
        wrong = "holds " + several(unnamed, "image", f"that {document.place.path.name} does not name")
        found.append(warning(place.key, place.value, wrong, "nothing, when they are to be left out"))
    seen, broken = pictures.check(place, here)
    other = [
        f"{here[path]['file_name']} is {picture.width}x{picture.height}"
        for path, picture in seen.items()
        if not _same_size(here[path], path, picture)
    ]
    if other:
        wrong = "holds " + several(other, "image", "of another size than the annotation file says")
        found.append(error(place.key, place.value, wrong, "give the images that were annotated"))
    return [*found, *broken]


def _same_size(record: coco_file.Record, path: Path, picture: pictures.Picture) -> bool:
    stated = (record.get("width"), record.get("height"))
    if stated[0] is None or stated[1] is None or stated == (picture.width, picture.height):
        return True
    return stated == pictures.upright_size(path)


def _numbers(parts: Parts, documents: list[Document]) -> list[Finding]:
    stated = parts.first("num_classes")
    names = {key: name for document in documents for key, name in document.names.items()}
    if stated is None or not isinstance(stated.value, int) or not names:
        return []
    renumbered = parts.first("contiguous")
    if renumbered is not None and renumbered.value is True:
        needed, why = len(names), f"{len(names)} categories, which {renumbered.key} renumbers"
    else:
        largest = max(names)
        needed, why = largest + 1, f"{largest} as the largest category id ({names[largest]}), and ids count from 0"
    if stated.value == needed:
        return []
    tell = error if stated.value < needed else warning
    return [tell(stated.key, stated.value, f"the annotations have {why}", f"set it to {needed}")]


def _inference(parts: Parts) -> list[Finding]:
    found: list[Finding] = []
    split = "inference" if "inference_images" in parts.network.layout_paths else "test"
    if f"{split}_annotations" not in parts.network.layout_paths:
        for place in parts.places(f"{split}_images"):
            found += check_folder(parts, split, place, deep=False)
    classmap = parts.first("classmap")
    if classmap is None:
        return found
    missing = file_missing(classmap, "write the class names, a line each")
    return [*found, missing] if missing else found + _classmap(parts, classmap)


def _classmap(parts: Parts, place: Place) -> list[Finding]:
    known = parts.first("val_annotations") or parts.first("train_annotations")
    document = coco_file.read(known)[0] if known is not None and known.path.is_file() else None
    if known is None or document is None:
        return []
    first = 0 if parts.network.name in CLASSMAP_FROM_0 else 1
    lines = dict(enumerate(place.path.read_text(encoding="utf-8", errors="replace").splitlines(), start=first))
    wrong = [
        f"{key} is {name!r} there and {lines.get(key, '').strip()!r} here"
        for key, name in sorted(document.names.items())
        if lines.get(key, "").strip() != name
    ]
    if not wrong:
        return []
    text = "differs from " + known.path.name + " in " + several(wrong, "category", "by its line")
    todo = f"write the name of category {first} in the first line, of {first + 1} in the second, and so on"
    return [error(place.key, place.value, text, todo)]
