"""Layout `voc`: a folder of images and a folder of Pascal VOC XML files, an XML of the same stem an image.

Parts: `<split>_images`, `<split>_annotations` (folders), `batch_size`. Source: the Pascal VOC 2012 development kit,
annotation format.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from runtime.tao.datasets import pictures
from runtime.tao.datasets.listing import files, folder_missing, several, too_few
from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error, warning

Box = tuple[float, float, float, float]


def check(parts: Parts) -> list[Finding]:
    """Each XML opens, names an image that exists, and has boxes inside it."""
    found: list[Finding] = []
    for split in parts.splits("_annotations"):
        for images, labels in zip(parts.places(f"{split}_images"), parts.places(f"{split}_annotations"), strict=False):
            todo = "give the folders of the images and of the XML files"
            absent = [finding for place in (images, labels) if (finding := folder_missing(place, todo))]
            found += absent or _folders(parts, split, images, labels)
    return found


def _folders(parts: Parts, split: str, images: Place, labels: Place) -> list[Finding]:
    paths, texts = files(images.path, pictures.SUFFIXES), files(labels.path, (".xml",))
    if not texts:
        return [error(labels.key, labels.value, "holds no XML file", "give the folder of the annotations")]
    seen, found = pictures.check(images, paths)
    sizes = {path.name: (picture.width, picture.height) for path, picture in seen.items()}
    named = {path.name for path in paths}
    broken, absent, outside = [], [], []
    for path in texts:
        parsed = _parsed(path)
        if parsed is None:
            broken.append(path.name)
            continue
        name, boxes = parsed
        if name not in named:
            absent.append(f"{path.name} names {name or 'nothing'}")
        elif name in sizes and any(_outside(box, sizes[name]) for box in boxes):
            outside.append(path.name)
    if broken:
        wrong = "holds " + several(broken, "file", "that is no VOC annotation")
        found.append(
            error(labels.key, labels.value, wrong, "correct the XML: filename, and object/bndbox with four numbers")
        )
    if absent:
        wrong = "holds " + several(absent, "file", f"whose image is not in {images.path.name}")
        found.append(error(labels.key, labels.value, wrong, "correct <filename> or add the image"))
    if outside:
        wrong = "holds " + several(outside, "file", "with a box outside its image")
        found.append(warning(labels.key, labels.value, wrong, "correct xmin, ymin, xmax, ymax, in pixels"))
    found += _bare(images, paths, texts)
    return [*found, *too_few(parts, split, len(paths))]


def _bare(place: Place, paths: Iterable[Path], texts: Iterable[Path]) -> list[Finding]:
    known = {path.stem for path in texts}
    bare = [path.name for path in paths if path.stem not in known]
    if not bare:
        return []
    wrong = "holds " + several(bare, "image", "without an XML file")
    return [warning(place.key, place.value, wrong, "nothing, when they are to be left out")]


def _parsed(path: Path) -> tuple[str, list[Box]] | None:
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 - the user's own files; expat refuses entity bombs since 2.4.1
        boxes = [_box(node) for node in root.iter("bndbox")]
    except (ElementTree.ParseError, ValueError):
        return None
    return (root.findtext("filename") or "").strip(), boxes


def _box(node: ElementTree.Element) -> Box:
    left, top, right, bottom = (float(node.findtext(side) or "") for side in ("xmin", "ymin", "xmax", "ymax"))
    return left, top, right, bottom


def _outside(box: Box, size: tuple[int, int]) -> bool:
    left, top, right, bottom = box
    return not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1])
