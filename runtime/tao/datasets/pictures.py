"""What image files hold: the header of each, the end of each, and every pixel of a sample."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runtime.tao.datasets.listing import several
from runtime.tao.datasets.parts import Place
from runtime.tao.finding import Finding, error, warning

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
DECODED = 500  # images whose pixels are decoded as well; all when there are fewer
_ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
_END_WITHIN = 4096  # bytes at the end of a file in which its end marker must be
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """The header of an image: pixels, and Pillow's mode (`RGB`, `L`, `I;16`)."""

    width: int
    height: int
    mode: str


def look(paths: Sequence[Path]) -> dict[Path, Picture | str]:
    """The header of each image, or what is wrong with it; a file cut short is found by its end, others by a sample."""
    step = max(1, -(-len(paths) // DECODED))
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        decode = (index % step == 0 for index in range(len(paths)))
        return dict(zip(paths, pool.map(_look, paths, decode), strict=True))


def _look(path: Path, decode: bool) -> Picture | str:
    from PIL import Image, UnidentifiedImageError

    try:
        with path.open("rb") as file, Image.open(file) as image:
            picture = Picture(*image.size, image.mode)
            if decode or not _has_end(file, image.format or ""):
                image.load()
            return picture
    except FileNotFoundError:
        return "does not exist"
    except UnidentifiedImageError:
        return "is no image" if path.stat().st_size else "is empty"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        return "is cut short" if "truncated" in str(problem) else "is broken"


def _has_end(file: BinaryIO, kind: str) -> bool:
    marker = _ENDS.get(kind)
    if marker is None:
        return True
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_WITHIN))
    found = marker in file.read()
    file.seek(place)
    return found


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height after the turn that EXIF asks for, which TAO's detectors make (`ImageOps.exif_transpose`)."""
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(_ORIENTATION) in _TURNED else (width, height)


def good(seen: Mapping[Path, Picture | str]) -> dict[Path, Picture]:
    """Those of `look` that are images."""
    return {path: picture for path, picture in seen.items() if isinstance(picture, Picture)}


def tell(place: Place, root: Path, seen: Mapping[Path, Picture | str]) -> list[Finding]:
    """What the headers say about the images at a place; names are shown relative to `root`."""
    found = []
    broken = [f"{_name(path, root)} {wrong}" for path, wrong in seen.items() if isinstance(wrong, str)]
    if broken:
        wrong = "holds " + several(broken, "image", "that cannot be read")
        found.append(error(place.key, place.value, wrong, "replace or remove them"))
    deep = [_name(path, root) for path, picture in good(seen).items() if picture.mode.startswith(("I", "F"))]
    if deep:
        wrong = "holds " + several(deep, "image", "with more than 8 bits a channel, which TAO clips to white")
        found.append(warning(place.key, place.value, wrong, "scale them to 8 bits"))
    return found


def check(place: Place, paths: Iterable[Path]) -> tuple[dict[Path, Picture], list[Finding]]:
    """Look at the images at a place: those that are good, and the findings about the others."""
    seen = look(list(paths))
    return good(seen), tell(place, place.path, seen)


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
