"""Layout `kitti`: a folder of images and a folder of labels, a text file of the same stem an image, a box a line.

Parts: `root`; `images`, `labels` (folders, below the root when there is one); `extension` (of the images, as `.png`);
`mapping` (the classes that the spec knows: a mapping, or a list of {key, value}); `batch_size`.

Sources: the KITTI development kit's readme (15 values: type, truncated, occluded, alpha, bbox x4, dimensions x3,
location x3, rotation_y); NVIDIA/tao_tensorflow1_backend (GitHub), proto of kitti_config (root_directory_path,
image_dir_name, label_dir_name, image_extension), read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from runtime.tao.datasets import pictures
from runtime.tao.datasets.listing import files, folder_missing, several, too_few
from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error, warning

FIELDS = 15


def check(parts: Parts) -> list[Finding]:
    """Images and labels pair up by stem; a label's lines have their fields, boxes inside the image, known classes."""
    images, labels = _below_root(parts, "images"), _below_root(parts, "labels")
    if images is None or labels is None:
        return []
    todo = "give the folders of the images and of the labels"
    absent = [finding for place in (images, labels) if (finding := folder_missing(place, todo))]
    if absent:
        return absent
    extension = parts.first("extension")
    wanted = ("." + str(extension.value).lstrip("."),) if extension else pictures.SUFFIXES
    paths, texts = files(images.path, wanted), files(labels.path, (".txt",))
    if not paths:
        wrong = f"holds no image ({', '.join(wanted)})"
        return [error(images.key, images.value, wrong, "give the folder of the images, or correct the extension")]
    found = _alone(images, paths, texts, "image", "label") + _alone(labels, texts, paths, "label", "image")
    seen, broken = pictures.check(images, paths)
    sizes = {path.stem: (picture.width, picture.height) for path, picture in seen.items()}
    found += [*broken, *_labels(labels, texts, sizes, _classes(parts))]
    return [*found, *too_few(parts, "train", len(paths))]


def _below_root(parts: Parts, part: str) -> Place | None:
    root, place = parts.first("root"), parts.first(part)
    if place is None or root is None:
        return place
    return Place(place.key, str(root.path / str(place.value)))


def _alone(place: Place, these: Iterable[Path], others: Iterable[Path], noun: str, other: str) -> list[Finding]:
    known = {path.stem for path in others}
    alone = [path.name for path in these if path.stem not in known]
    if not alone:
        return []
    wrong = "holds " + several(alone, noun, f"without {'an' if other[0] in 'aeiou' else 'a'} {other}")
    return [error(place.key, place.value, wrong, f"add the {other} (of the same name), or remove the {noun}")]


def _classes(parts: Parts) -> set[str]:
    place = parts.first("mapping")
    if place is None:
        return set()
    if isinstance(place.value, Mapping):
        return {str(key).lower() for key in place.value}
    entries = place.value if isinstance(place.value, list) else []
    return {str(entry["key"]).lower() for entry in entries if isinstance(entry, Mapping) and "key" in entry}


def _labels(
    place: Place, texts: Iterable[Path], sizes: Mapping[str, tuple[int, int]], classes: set[str]
) -> list[Finding]:
    bad: dict[str, list[str]] = {"malformed": [], "flat": [], "outside": []}
    unknown: dict[str, str] = {}
    for path in texts:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            fields = line.split()
            if not fields:
                continue
            kind = _box(fields, sizes.get(path.stem))
            if kind:
                bad[kind].append(f"{path.name} line {number}")
            if classes and fields[0].lower() not in classes:
                unknown.setdefault(fields[0], f"{fields[0]} in {path.name}")
    return _told(place, bad, list(unknown.values()))


def _box(fields: list[str], size: tuple[int, int] | None) -> str:
    """What is wrong with the box of a line: `malformed`, `flat`, `outside`, or nothing."""
    try:
        left, top, right, bottom = (float(field) for field in fields[4:8])
        [float(field) for field in fields[1:4] + fields[8:FIELDS]]
    except ValueError:
        return "malformed"
    if len(fields) < FIELDS:
        return "malformed"
    if right <= left or bottom <= top:
        return "flat"
    return "outside" if size and (left < 0 or top < 0 or right > size[0] or bottom > size[1]) else ""


def _told(place: Place, bad: Mapping[str, list[str]], unknown: list[str]) -> list[Finding]:
    found = []
    if bad["malformed"]:
        wrong = "holds " + several(bad["malformed"], "label line", f"that is not a name and {FIELDS - 1} numbers")
        todo = "write type, truncated, occluded, alpha, left, top, right, bottom, and 7 numbers (0 when 2D)"
        found.append(error(place.key, place.value, wrong, todo))
    if bad["flat"]:
        wrong = "holds " + several(bad["flat"], "box", "without width or height")
        found.append(error(place.key, place.value, wrong, "write left < right and top < bottom"))
    if bad["outside"]:
        wrong = "holds " + several(bad["outside"], "box", "reaching outside the image")
        found.append(warning(place.key, place.value, wrong, "correct them, in pixels"))
    if unknown:
        wrong = "holds " + several(unknown, "class", "that the spec does not map, so its boxes are left out")
        found.append(warning(place.key, place.value, wrong, "add it to the class mapping if it is wanted"))
    return found
