"""Pictures of what came out: a sheet of predictions, and the curves of a training."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHOWN = 12  # predictions on a sheet, four a row
TILE, CAPTION = 240, 18  # pixels: a side, and the line below


def labelled(results: Path) -> list[tuple[Path, str]]:
    """The images of TAO's `result.csv` with the predicted class and its score; empty where there is none.

    Source: nvidia-tao-pytorch 7.3.0, classification_pyt inference (img_name, pred_label, pred_score).
    """
    for table in sorted(results.rglob("result.csv")):
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if rows and {"img_name", "pred_label", "pred_score"} <= set(rows[0]):
            step = max(1, len(rows) // SHOWN)  # the rows are sorted by class
            return [
                (Path(r["img_name"]), f"{r['pred_label']}  {_score(r['pred_score'])}") for r in rows[::step][:SHOWN]
            ]
    return []


def _score(text: str) -> str:
    try:
        return f"{float(text):.2f}"
    except ValueError:
        return text


def make_preview(pictures: Sequence[tuple[Path, str]], target: Path) -> Path | None:
    """A sheet of the first pictures with a caption each; None without Pillow, or when fewer than two open."""
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        return None
    tiles = [(tile, caption) for path, caption in pictures[:SHOWN] if (tile := _tile(path)) is not None]
    if len(tiles) < 2:
        return None
    columns, rows = min(4, len(tiles)), -(-len(tiles) // 4)
    sheet = Image.new("RGB", (columns * (TILE + 8), rows * (TILE + CAPTION + 8)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (tile, caption) in enumerate(tiles):
        x, y = index % 4 * (TILE + 8), index // 4 * (TILE + CAPTION + 8)
        sheet.paste(tile, (x + (TILE - tile.width) // 2, y + (TILE - tile.height) // 2))
        draw.text((x + 4, y + TILE + 3), caption[:36], fill="black")
    sheet.save(target)
    return target


def _tile(path: Path) -> Any:
    """The picture, as large as a tile allows; None when it does not open."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except OSError:
        return None
    scale = min(TILE / image.width, TILE / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)


def draw_curves(history: Mapping[str, Sequence[tuple[int, float]]], target: Path) -> Path | None:
    """Each metric over the epochs, a plot each; None without matplotlib, or when nothing has two points."""
    curves = {name: points for name, points in sorted(history.items()) if len(points) > 1}
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    if not curves:
        return None
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(rows, columns, squeeze=False).flat, curves.items(), strict=False):
        axes.plot([step for step, _ in points], [value for _, value in points], marker="o", markersize=3)
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in figure.axes[len(curves) :]:
        axes.set_visible(False)
    figure.savefig(target)
    return target
