"""What a finished action leaves: which file is the model, its figures, pictures, a preview of predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime.metrics import Metrics
from runtime.tao.checkpoint import CARD, SUFFIXES
from runtime.tao.network import Action, Network
from runtime.tao.pictures import SHOWN, draw_curves, labelled, make_preview
from runtime.tao.status import Followed

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
    sheet = results / "preview.png"
    preview = make_preview(labelled(results), sheet) or make_preview([(p, p.name) for p in pictures], sheet)
    curves = draw_curves(followed.history, results / "curves.png")
    for path in [preview, curves, results / CARD, *([] if len(pictures) > SHOWN else pictures)]:
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


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
