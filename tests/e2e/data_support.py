"""Running data steps as a shell does, and small inputs for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "data" / "wider"
PHOTO = SAMPLE / "WIDER_train" / "images" / "0--Portrait" / "0_Portrait_Navy_0_1.jpg"
SPLIT = "wider_face_split/wider_face_train_bbx_gt.txt"
GOOD = "car 0 0 0 1 1 9 9 0 0 0 0 0 0 0\n"


def command(verb: str, *words: str) -> list[str]:
    """The argv of a step."""
    return [sys.executable, "-m", f"runtime.data.{verb}", *words]


def environment(**more: str) -> dict[str, str]:
    """Ours without secrets and proxies, and `more`."""
    dropped = ("NGCRUN_DOWNLOAD_TOKEN", "NGC_API_KEY", "NGC_CLI_API_KEY", "MLFLOW_TRACKING_URI")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PYTHONPATH": str(ROOT), "no_proxy": "*", **more}


def run(verb: str, *words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A step to its end."""
    return subprocess.run(
        command(verb, *words), cwd=cwd, env=environment(**env), capture_output=True, text=True, check=False, timeout=120
    )


def report(folder: Path) -> dict[str, Any]:
    """download.json."""
    return dict(json.loads((folder / "download.json").read_text()))


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the report."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: data for name, data in found.items() if name != "download.json"}


def kitti(root: Path, images: str = "images", **labels: str) -> Path:
    """A dataset of KITTI with one photograph for each label."""
    for name in (images, "labels"):
        (root / name).mkdir(parents=True)
    for stem, text in (labels or {"a": GOOD}).items():
        shutil.copyfile(PHOTO, root / images / f"{stem}.jpg")
        (root / "labels" / f"{stem}.txt").write_text(text)
    return root


def touched(path: Path, text: str = "") -> Path:
    """Write a text file."""
    path.write_text(text)
    return path
