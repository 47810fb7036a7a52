"""Layout `image_folders`: <split>/<class>/<image>.

Parts: the splits; `classes` (the folder that holds classes.txt), `num_classes`, `batch_size`.

Source: nvidia-tao-pytorch 7.3.0, cv/classification_pyt/dataloader/dataset.py, read and run: a class's number is its
line in <root_dir>/classes.txt, which TAO writes into the dataset when it is absent; a class folder that has no line is
not read; a missing folder of images is no error there, only `num_samples=0`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runtime.tao.datasets import pictures
from runtime.tao.datasets.image_files import check_folder
from runtime.tao.datasets.listing import files, folder_missing, folders, plural, several, too_few
from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error, warning

Classes = Mapping[str, list[Path]]

# Endings that TAO globs for, case and all; other networks read any of pictures.SUFFIXES.
READ_SUFFIXES = {"classification_pyt": (".jpg", ".png", ".JPEG")}


def check(parts: Parts) -> list[Finding]:
    """The splits, their classes against each other, classes.txt and num_classes; every image opens."""
    if parts.action == "inference":  # TAO reads the images below, whatever their folders are called
        places = [(split, place) for split in parts.splits() for place in parts.places(split)]
        return [finding for split, place in places for finding in check_folder(parts, split, place)]
    found: list[Finding] = []
    seen: dict[str, tuple[Place, Classes]] = {}
    for split in parts.splits():
        for place in parts.places(split):
            classes, findings = _split(parts, split, place)
            found += findings
            if classes:
                seen[split] = (place, classes)
    return found + _against(seen, "train", "val") + _against(seen, "reference", "query") + _numbers(parts, seen)


def _split(parts: Parts, split: str, place: Place) -> tuple[Classes, list[Finding]]:
    layout = f"put the images of a class into {place.path.name or split}/<class>/"
    missing = folder_missing(place, layout)
    if missing:
        return {}, [missing]
    classes = {folder.name: files(folder, pictures.SUFFIXES) for folder in folders(place.path)}
    if not classes:
        return {}, [error(place.key, place.value, "holds no class folder", layout)]
    found = _unread(parts, place, classes)
    empty = [name for name, images in classes.items() if not images]
    if empty:
        wrong = "holds " + several(empty, "class", "without an image")
        tell = error if split == "train" else warning
        found.append(tell(place.key, place.value, wrong, "add images or remove the folder"))
    loose = [path.name for path in files(place.path, pictures.SUFFIXES)]
    if loose:
        wrong = "holds " + several(loose, "image", "outside the class folders, which TAO does not read")
        found.append(warning(place.key, place.value, wrong, layout))
    images = [path for paths in classes.values() for path in paths]
    _, broken = pictures.check(place, images)
    return classes, [*found, *broken, *too_few(parts, split, len(images))]


def _unread(parts: Parts, place: Place, classes: Classes) -> list[Finding]:
    read = READ_SUFFIXES.get(parts.network.name)
    if read is None:
        return []
    unread = [f"{name}/{path.name}" for name, paths in classes.items() for path in paths if path.suffix not in read]
    if not unread:
        return []
    wrong = "holds " + several(unread, "image", "whose ending TAO does not read")
    return [error(place.key, place.value, wrong, f"rename them; TAO reads {', '.join(read)}")]


def _against(seen: Mapping[str, tuple[Place, Classes]], first: str, second: str) -> list[Finding]:
    if first not in seen or second not in seen:
        return []
    (place, known), (other, classes) = seen[first], seen[second]
    new = [name for name in classes if name not in known]
    found = []
    if new:
        wrong = "holds " + several(new, "class", f"that {first} does not have")
        found.append(error(other.key, other.value, wrong, f"rename them as in {place.value}, or remove them"))
    absent = [name for name in known if name not in classes]
    if absent and second == "val":
        wrong = "lacks " + several(absent, "class", f"of {first}")
        found.append(warning(other.key, other.value, wrong, "add images of them, or their figures will be missing"))
    return found


def _numbers(parts: Parts, seen: Mapping[str, tuple[Place, Classes]]) -> list[Finding]:
    if "train" not in seen:
        return []
    names = sorted(seen["train"][1])
    found: list[Finding] = []
    root = parts.first("classes")
    if root is not None:
        found += _classes_file(root, names)
    stated = parts.first("num_classes")
    if stated is not None and isinstance(stated.value, int) and stated.value != len(names):
        tell = error if stated.value < len(names) else warning
        wrong = f"train has {plural(len(names), 'class folder')}"
        found.append(tell(stated.key, stated.value, wrong, f"set it to {len(names)}"))
    return found


def _classes_file(root: Place, names: list[str]) -> list[Finding]:
    path = root.path / "classes.txt"
    if not path.is_file():
        wrong = "has no classes.txt, so TAO would write one into the dataset"
        return [
            error(root.key, root.value, wrong, f"write it: the {len(names)} class names of train, sorted, a line each")
        ]
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    found = []
    unknown = [name for name in lines if name not in names]
    if unknown:
        wrong = "holds " + several(
            [name or "an empty line" for name in unknown], "line", "that is no class folder of train"
        )
        found.append(error(root.key, str(path), wrong, "write the names of the folders, a line each"))
    absent = [name for name in names if name not in lines]
    if absent:
        wrong = "lacks " + several(absent, "class folder", "of train, which TAO then does not read")
        found.append(error(root.key, str(path), wrong, "add a line for each"))
    twice = sorted({name for name in lines if lines.count(name) > 1})
    if twice:
        wrong = "holds " + several(twice, "name", "more than once")
        found.append(error(root.key, str(path), wrong, "keep one line each"))
    return found
