"""What a finished action leaves: which file is the model, its figures, pictures, a preview of predictions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.metrics import Metrics
from runtime.tao.checkpoint import CARD, SUFFIXES
from runtime.tao.network import Action, Network
from runtime.tao.status import Followed

PICTURES = 12  # of predictions, in the preview
TILE = 240  # pixels a side
_IMAGES = (".png", ".jpg", ".jpeg")


def status_file(results: Path, action: Action) -> Path:
    """Where TAO writes its status: in the folder of the action. TF1 is told to by the flags in its network file."""
    return results / (action.runs or action.name) / "status.json"


def collect(network: Network, action: Action, results: Path, followed: Followed, metrics: Metrics) -> dict[str, Any]:
    """Write `model.json`, `metrics.json`, preview and curves, hand pictures to the metrics; returns the card."""
    model = model_file(network, action, results)
    card = {
        "network": network.name,
        "action": action.name,
        "checkpoint": str(model.relative_to(results)) if model else None,
        "metrics": followed.figures,
        "monitor": network.monitor,
        "epochs": followed.epoch + 1 or None,
    }
    _write(results / CARD, card)
    _write(results / "metrics.json", followed.figures)
    pictures = sorted(p for p in results.rglob("*") if p.suffix.lower() in _IMAGES)
    preview = make_preview(pictures, results / "preview.png") if len(pictures) > 1 else None
    curves = draw_curves(followed.history, results / "curves.png")
    for path in [preview, curves, results / CARD, *([] if len(pictures) > PICTURES else pictures)]:
        if path is not None:
            metrics.artifact(path)
    status = status_file(results, action)
    if status.is_file():
        metrics.artifact(status)
    return card


def model_file(network: Network, action: Action, results: Path) -> Path | None:
    """The model that the action wrote: the first declared file that is one, links followed."""
    globs = [*action.writes, *([f"train/{network.latest}"] if network.latest else [])]
    for glob in globs:
        for path in sorted(results.glob(glob)):
            if path.suffix in SUFFIXES and path.is_file():
                real = path.resolve()
                return real if real.is_relative_to(results.resolve()) else path
    return None


def make_preview(pictures: Iterable[Path], target: Path) -> Path | None:
    """A sheet of the first pictures, four a row; None without Pillow, or when none opens."""
    try:
        from PIL import Image
    except ImportError:
        return None
    tiles = []
    for path in list(pictures)[:PICTURES]:
        try:
            with Image.open(path) as image:
                tile = image.convert("RGB")
        except OSError:
            continue
        tile.thumbnail((TILE, TILE))
        tiles.append(tile)
    if not tiles:
        return None
    rows = -(-len(tiles) // 4)
    sheet = Image.new("RGB", (min(4, len(tiles)) * TILE, rows * TILE), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % 4 * TILE, index // 4 * TILE))
    sheet.save(target)
    return target


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


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
