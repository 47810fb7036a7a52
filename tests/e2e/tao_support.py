"""TAO steps run in this process on the stand-ins, with small real datasets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime.component import Component
from runtime.execute import main
from tests.fakes import tao_datasets, tao_pyt, tao_tf1

SMALL = "dataset.num_classes=2 dataset.img_size=16 dataset.batch_size=2 dataset.workers=0 train.num_epochs=3"


def have_tao(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-ins first on PATH, and make `folder` the working directory; returns it."""
    tao_tf1.install(folder / "bin", Path(os.environ["NGCRUN_TAO_SCHEMA"]))
    monkeypatch.setenv("PATH", tao_pyt.install(folder / "bin"))
    for name in ("WORLD_SIZE", "RANK", "NODE_RANK", "NGCRUN_TAO_KEY", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


def run(component: Component, *words: str, **ports: object) -> int:
    """The exit status of a step on the CPU; a port that is None is not bound."""
    given = {"device": "cpu", **ports}
    return main(component, [*(f"--{n}={v}" for n, v in given.items() if v is not None), *words])


def classes(folder: Path) -> Path:
    """Two classes of pictures for classification_pyt."""
    tao_datasets.classes(folder)
    return folder


def kitti(folder: Path) -> Path:
    """Pictures and labels for detectnet_v2, and the tfrecords of a conversion."""
    for index in range(4):
        tao_datasets.picture(folder / "train" / "image_2" / f"{index}.png", (64, 48), index)
        label = folder / "train" / "label_2" / f"{index}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text("car 0 0 0 2.00 2.00 30.00 40.00 0 0 0 0 0 0 0\n")
    (folder / "tfrecords").mkdir()
    (folder / "tfrecords" / "part-fold-000-of-002").write_text("x")
    return folder


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def records(path: Path, kind: str = "metric") -> list[dict[str, Any]]:
    """What a JSON lines file of metrics holds of one kind."""
    return [r for r in map(json.loads, path.read_text().splitlines()) if r["kind"] == kind]


def plain(text: str, folder: Path) -> list[str]:
    """Lines of stderr with the folder as `<d>`, without the tail of the log and without warnings."""
    lines = [re.sub(r"\(process \d+\)", "(process N)", line) for line in text.replace(str(folder), "<d>").splitlines()]
    return [line for line in lines if not line.startswith(("  | ", "warning: "))]


def left_over(folder: Path, known: Sequence[str]) -> list[str]:
    """What stands in a folder beside `known`."""
    return sorted(p.name for p in folder.iterdir() if p.name not in known)
