"""Layout `image_files`: a folder of images, in folders below or not, without labels. Parts: the splits."""

from __future__ import annotations

from pathlib import Path

from runtime.tao.datasets import pictures
from runtime.tao.datasets.listing import files, folder_missing, too_few
from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error


def check(parts: Parts) -> list[Finding]:
    """Each folder exists, holds images, fills a batch; every image opens."""
    found: list[Finding] = []
    for split in parts.splits():
        for place in parts.places(split):
            found += check_folder(parts, split, place)
    return found


def check_folder(parts: Parts, split: str, place: Place, deep: bool = True) -> list[Finding]:
    """One folder of images; with `deep`, those of the folders below too."""
    missing = folder_missing(place, "give the folder of the images")
    if missing:
        return [missing]
    paths = below(place.path) if deep else files(place.path, pictures.SUFFIXES)
    if not paths:
        wrong = f"holds no image ({', '.join(pictures.SUFFIXES)})"
        return [error(place.key, place.value, wrong, "give the folder of the images")]
    _, found = pictures.check(place, paths)
    return [*found, *too_few(parts, split, len(paths))]


def below(folder: Path) -> list[Path]:
    """Every image in a folder and below it, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in pictures.SUFFIXES and path.is_file())
