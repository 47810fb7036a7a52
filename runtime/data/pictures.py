"""Images as the label formats need them: sizes from headers, resized copies, and a sheet with boxes to look at."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import BadInput

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
QUALITY = 95  # of a JPEG that is written anew: boxes are small, and what is lost here is lost for training
SHOWN, COLUMNS, TILE, CAPTION, GAP = 12, 4, 320, 16, 6  # of the sheet: images, a row, pixels
_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")


@dataclass(frozen=True)
class Marked:
    """An image for the sheet, with the boxes to draw: class, left, top, right, bottom in its pixels."""

    path: Path
    boxes: tuple[tuple[str, float, float, float, float], ...]


def require_pillow(component: str) -> None:
    """Raises `BadInput` where Pillow is not installed."""
    from importlib.util import find_spec

    if find_spec("PIL") is None:
        raise BadInput.of("pillow", component, "needs Pillow, which is not here", "pip install 'ngcrun[data]'")


def size_of(path: Path) -> tuple[int, int] | str:
    """Width and height as the header says, or what is wrong with the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        return "does not exist"
    except UnidentifiedImageError:
        return "is no image" if path.stat().st_size else "is empty"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "is broken"


def copy(source: Path, target: Path, size: tuple[int, int] | None) -> tuple[int, int] | str:
    """Write an image, at `size` if that is given; returns the size it had, or what is wrong with it.

    The bytes are copied where neither size nor format changes. The same input gives the same bytes: JPEG and PNG carry
    no date here, and the version of Pillow is fixed by the environment.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(source) as image:
            before = image.size
            image.load()
            same = size in (None, before) and image.format == {".jpg": "JPEG", ".png": "PNG"}[target.suffix]
            if not same:
                picture = image.convert("RGB")
                if size not in (None, before):
                    picture = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
                options: dict[str, Any] = {"quality": QUALITY} if target.suffix == ".jpg" else {"compress_level": 1}
                picture.save(target, **options)
        if same:
            shutil.copyfile(source, target)
    except FileNotFoundError:
        return "does not exist"
    except UnidentifiedImageError:
        return "is no image" if source.stat().st_size else "is empty"
    except (SyntaxError, ValueError, Image.DecompressionBombError):
        return "is broken"
    except OSError as error:
        if error.errno is not None:  # the disk's, not the image's
            raise
        return "is cut short" if "truncated" in str(error) else "is broken"
    return before


def preview(images: Sequence[Marked], target: Path) -> None:
    """A sheet of up to twelve images, spread evenly over all, with their boxes."""
    from PIL import Image, ImageDraw

    step = max(1, len(images) // SHOWN)
    chosen = images[::step][:SHOWN]
    classes = sorted({box[0] for image in images for box in image.boxes})
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(classes)}
    columns, rows = min(COLUMNS, len(chosen)), -(-len(chosen) // COLUMNS)
    sheet = Image.new("RGB", (columns * (TILE + GAP) + GAP, rows * (TILE + CAPTION + GAP) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, marked in enumerate(chosen):
        x = GAP + number % COLUMNS * (TILE + GAP)
        y = GAP + number // COLUMNS * (TILE + CAPTION + GAP)
        tile = _tile(marked, colours)
        sheet.paste(tile, (x + (TILE - tile.width) // 2, y + (TILE - tile.height) // 2))
        draw.text((x, y + TILE + 2), f"{marked.path.name[-40:]}  {len(marked.boxes)}", fill="black")
    sheet.save(target, quality=90)


def _tile(marked: Marked, colours: dict[str, str]) -> Any:
    from PIL import Image, ImageDraw

    with Image.open(marked.path) as image:
        scale = min(TILE / image.width, TILE / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        tile = image.convert("RGB").resize(size)
    draw = ImageDraw.Draw(tile)
    for name, left, top, right, bottom in marked.boxes:
        corners = [left * scale, top * scale, max(left, right) * scale, max(top, bottom) * scale]
        draw.rectangle(corners, outline=colours[name], width=2)
        draw.text((corners[0] + 3, corners[1] + 1), name, fill=colours[name])
    return tile
