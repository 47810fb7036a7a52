"""The annotations of WIDER FACE: `wider_face_split/wider_face_<split>_bbx_gt.txt`.

An image's path below `WIDER_<split>/images`, the number of its faces, and a line a face: x y w h blur expression
illumination invalid occlusion pose, each line with a blank at its end. An image with 0 faces is followed by one line of
zeros all the same; some faces have no width or no height.

Sources: the readme.txt of wider_face_split, as quoted in github.com/AITTSMD/MTCNN-Tensorflow issue 282; the line of
zeros: github.com/mahyarnajibi/SSH issue 60; boxes without a size: github.com/blue-oil/blueoil issue 27; what each value
means: Datumaro's documentation of the format (blur 0..2, occlusion 0..2, the others 0..1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.data.members import unsafe
from runtime.errors import BadInput

VALUES = 10
SHOWN = 60  # characters of a line in an error


@dataclass(frozen=True)
class Face:
    """One box in pixels, and what is said of it."""

    x: int
    y: int
    width: int
    height: int
    blur: int
    invalid: bool
    occlusion: int


@dataclass(frozen=True)
class Image:
    """One image: its path below the folder of images, and its faces."""

    name: str
    faces: tuple[Face, ...]


def read(port: str, path: Path) -> list[Image]:
    """All images in the order of the file; raises `BadInput` with the line of the first mistake."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise BadInput.of(port, path, "is no text", "give wider_face_<split>_bbx_gt.txt") from None
    found = list(_images(port, path, lines))
    if not found:
        raise BadInput.of(port, path, "lists no image", "give wider_face_<split>_bbx_gt.txt")
    return found


def _images(port: str, path: Path, lines: list[str]) -> Iterator[Image]:
    at = 0
    while at < len(lines):
        name = lines[at].strip()
        if not name:
            at += 1
            continue
        if unsafe(name) or len(name.split()) != 1:
            raise _wrong(port, path, at, lines, "the path of an image")
        count = _count(port, path, at + 1, lines)
        # An image without faces has one line all the same: zeros, which are no face.
        rows = count or int(at + 2 < len(lines) and lines[at + 2].split() == ["0"] * VALUES)
        faces = [_face(port, path, at + 2 + row, lines) for row in range(rows)]
        yield Image(name, tuple(faces[:count]))
        at += 2 + rows


def _count(port: str, path: Path, at: int, lines: list[str]) -> int:
    text = lines[at].strip() if at < len(lines) else ""
    if not (text.isascii() and text.isdigit() and len(text) < VALUES):
        raise _wrong(port, path, at, lines, "the number of faces")
    return int(text)


def _face(port: str, path: Path, at: int, lines: list[str]) -> Face:
    words = lines[at].split() if at < len(lines) else []
    try:
        x, y, width, height, blur, _, _, invalid, occlusion, _ = (int(word) for word in words)
    except ValueError:
        raise _wrong(port, path, at, lines, f"a face of {VALUES} whole numbers") from None
    return Face(x, y, width, height, blur, bool(invalid), occlusion)


def _wrong(port: str, path: Path, at: int, lines: list[str], wanted: str) -> BadInput:
    has = f"has {lines[at][:SHOWN]!r}" if at < len(lines) else "ends"
    todo = "get the file again, or correct the line"
    return BadInput.of(port, f"{path}:{at + 1}", f"{has} where {wanted} should be", todo)
