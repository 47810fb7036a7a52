"""What is written of each image: the image with its boxes, KITTI labels, a mask, and all of them as one COCO file."""

from __future__ import annotations

import colorsys
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from runtime.data import kitti
from runtime.triton.postprocess import Prediction, Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANNOTATED, KITTI, MASKS = "annotated", "kitti", "masks"
COCO, LINES, FAILED = "coco.json", "predictions.jsonl", "failed.json"
QUALITY, OVERLAY = 90, 0.5


@dataclass(frozen=True)
class Item:
    """One image: its file, its name as told, and the name without suffix that what is written of it carries."""

    path: Path
    name: str
    stem: str


def items_of(paths: Sequence[Path], folder: Path) -> list[Item]:
    """The images with names relative to the folder; those that differ only in their suffix keep it in the stem."""
    names = [path.relative_to(folder).as_posix() for path in paths]
    stems = Counter(str(PurePosixPath(name).with_suffix("")).casefold() for name in names)
    found = []
    for path, name in zip(paths, names, strict=True):
        stem = str(PurePosixPath(name).with_suffix(""))
        found.append(Item(path, name, name if stems[stem.casefold()] > 1 else stem))
    return found


def colour(name: str) -> tuple[int, int, int]:
    """A colour for a class, the same in every run."""
    red, green, blue = colorsys.hsv_to_rgb(zlib.crc32(name.encode()) % 360 / 360, 0.85, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def write_picture(folder: Path, item: Item, picture: Any, found: Prediction, settings: Settings) -> dict[str, Any]:
    """Write what belongs to one image; returns its line for predictions.jsonl."""
    told: dict[str, Any] = {"image": item.name, "width": picture.width, "height": picture.height}
    if found.mask is not None:
        told |= {"mask": f"{MASKS}/{item.stem}.png", "pixels": _counts(found.mask, settings)}
        _mask_image(found.mask, settings).save(_place(folder, str(told["mask"])), compress_level=1)
        picture = _overlaid(picture, found.mask, settings)
    elif found.classes:
        told["classes"] = [{"name": name, "score": round(score, 6)} for name, score in found.classes]
        _caption(picture, f"{found.classes[0][0]} {found.classes[0][1]:.2f}")
    else:
        told["boxes"] = [_rounded(asdict(box)) for box in found.boxes]
        _place(folder, f"{KITTI}/{item.stem}.txt").write_text("".join(kitti_lines(found)), encoding="utf-8")
        _draw(picture, found)
    picture.save(_place(folder, f"{ANNOTATED}/{item.stem}.jpg"), quality=QUALITY)
    return told


def kitti_lines(found: Prediction) -> list[str]:
    """A line a box with its score as the 16th value; blanks in a name become `_`, as blanks part the values."""
    lines = []
    for box in found.boxes:
        name = "_".join(box.name.split()) or "_"
        line = kitti.Box(name, box.left, box.top, box.right, box.bottom).line().rstrip("\n")
        lines.append(f"{line} {box.score:.6f}\n")
    return lines


def coco(records: Iterable[Mapping[str, Any]], folder: Path, settings: Settings) -> dict[str, Any]:
    """The COCO document of boxes or masks: ids from 1, images in their order, classes in that of the labels."""
    ids = {name: number for number, name in enumerate(settings.labels, start=1)}
    images, annotations = [], list[dict[str, Any]]()
    for number, told in enumerate(records, start=1):
        size = {"width": told["width"], "height": told["height"]}
        images.append({"id": number, "file_name": told["image"]} | size)
        marks = _box_marks(told) if "boxes" in told else _mask_marks(told, folder, settings)
        for name, mark in marks:
            ids.setdefault(name, len(ids) + 1)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": ids[name], "iscrowd": 0} | mark
            )
    named = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": named}


def write_json(path: Path, document: Any) -> None:
    """Write a document with a line end, the same bytes for the same document."""
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _box_marks(told: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    marks = []
    for box in told["boxes"]:
        w, h = round(box["right"] - box["left"], 2), round(box["bottom"] - box["top"], 2)
        mark = {"bbox": [box["left"], box["top"], w, h], "area": round(w * h, 2), "score": box["score"]}
        marks.append((box["name"], mark))
    return marks


def _mask_marks(told: Mapping[str, Any], folder: Path, settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """A run-length mask for each class in the image, uncompressed.

    Source: cocodataset/cocoapi, common/maskApi.h: counts of 0 and 1 in turn, column by column.
    """
    import numpy as np
    from PIL import Image

    marks = []
    with Image.open(folder / told["mask"]) as image:
        ids = np.asarray(image)
    for number in np.unique(ids).tolist():
        mask = ids == number
        flat = np.concatenate([[False], mask.ravel(order="F")])
        changes = np.flatnonzero(flat[1:] != flat[:-1])
        counts = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        box = [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
        run = {"counts": counts, "size": [told["height"], told["width"]]}
        marks.append((settings.name(number), {"bbox": box, "area": int(mask.sum()), "segmentation": run}))
    return marks


def _rounded(box: dict[str, Any]) -> dict[str, Any]:
    """Two decimals for pixels, as in COCO and KITTI files; six for the score."""
    return {k: v if k == "name" else round(v, 6 if k == "score" else 2) for k, v in box.items()}


def _place(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _draw(picture: Any, found: Prediction) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    width = max(1, round(min(picture.size) / 200))
    for box in reversed(found.boxes):  # the best on top
        shade = colour(box.name)
        draw.rectangle((box.left, box.top, box.right, box.bottom), outline=shade, width=width)
        draw.text((box.left + width + 1, box.top + width), f"{box.name} {box.score:.2f}", fill=shade)


def _caption(picture: Any, text: str) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    draw.rectangle(draw.textbbox((2, 2), text), fill="black")
    draw.text((2, 2), text, fill="white")


def _mask_image(mask: NDArray[Any], settings: Settings) -> Any:
    """A palette image: its values are the class ids, its colours are those of the classes."""
    from PIL import Image

    image = Image.fromarray(mask)
    image.putpalette([value for number in range(256) for value in colour(settings.name(number))])
    return image


def _overlaid(picture: Any, mask: NDArray[Any], settings: Settings) -> Any:
    from PIL import Image

    return Image.blend(picture, _mask_image(mask, settings).convert("RGB"), OVERLAY)


def _counts(mask: NDArray[Any], settings: Settings) -> dict[str, int]:
    import numpy as np

    return {settings.name(number): int((mask == number).sum()) for number in np.unique(mask).tolist()}
