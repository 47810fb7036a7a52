"""Small scenes of real handwritten digits: with boxes (COCO) for RT-DETR, masks for SegFormer, numbers for OCRNet."""

from __future__ import annotations

import json
import random
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).parents[1] / "data" / "digits" / "images"
CLASSES = ["zero", "one"]  # ids 1 and 2
SIDE, DIGIT = 128, 48
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def draw(seed: int, split: str) -> tuple[Image.Image, Image.Image, list[tuple[int, list[int]]]]:
    """An RGB scene, its mask (0 background, 255 digit) and the boxes as (category id, [x, y, width, height])."""
    chance = random.Random(seed)  # noqa: S311 - a drawing, no secret
    scene, mask, boxes = Image.new("RGB", (SIDE, SIDE), (30, 60, 30)), Image.new("L", (SIDE, SIDE), 0), []
    for column in range(2):
        category = chance.randrange(2)
        files = sorted((IMAGES / split / CLASSES[category]).glob("*.png"))
        digit = Image.open(chance.choice(files)).resize((DIGIT, DIGIT))
        x, y = column * 64 + chance.randrange(16), chance.randrange(SIDE - DIGIT)
        scene.paste(digit.convert("RGB"), (x, y))
        mask.paste(digit.point(lambda value: 255 if value > 100 else 0), (x, y))
        boxes.append((category + 1, [x, y, DIGIT, DIGIT]))
    return scene, mask, boxes


def coco(folder: Path, split: str, count: int, seed: int) -> None:
    """`<folder>/<split>/*.png`, `<folder>/annotations/<split>.json` and `<folder>/classmap.txt`."""
    images, annotations = [], []
    (folder / split).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "classmap.txt").write_text("background\n" + "\n".join(CLASSES) + "\n")
    for index in range(count):
        scene, _, boxes = draw(seed + index, split)
        name = f"{index:03d}.png"
        scene.save(folder / split / name)
        images.append({"id": index, "file_name": name, "width": SIDE, "height": SIDE})
        for category, box in boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": category,
                    "bbox": box,
                    "area": DIGIT * DIGIT,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    (folder / "annotations" / f"{split}.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )


def masks(folder: Path, split: str, count: int, seed: int) -> None:
    """`<folder>/images/<split>/*.png` and `<folder>/masks/<split>/*.png`."""
    for kind in ("images", "masks"):
        (folder / kind / split).mkdir(parents=True)
    for index in range(count):
        scene, mask, _ = draw(seed + index, split)
        scene.save(folder / "images" / split / f"{index:03d}.png")
        mask.save(folder / "masks" / split / f"{index:03d}.png")


def numbers(folder: Path, split: str, count: int, seed: int) -> None:
    """`<folder>/<split>/*.png`, numbers of three digits; `<folder>/<split>_gt.txt`; `<folder>/characters.txt`."""
    (folder / split).mkdir(parents=True)
    (folder / "characters.txt").write_text("\n".join("0123456789") + "\n")
    chance, lines = random.Random(seed), []  # noqa: S311 - a drawing, no secret
    files = [sorted((IMAGES / split / name).glob("*.png")) for name in DIGITS]
    for index in range(count):
        number = f"{chance.randrange(1000):03d}"
        strip = Image.new("L", (32 * len(number), 32))
        for place, digit in enumerate(number):
            strip.paste(Image.open(chance.choice(files[int(digit)])), (32 * place, 0))
        strip.save(folder / split / f"{index:03d}.png")
        lines.append(f"{index:03d}.png\t{number}\n")
    (folder / f"{split}_gt.txt").write_text("".join(lines))
