"""The TF1 pipelines run as a user would, with the stand-ins of TAO's images and data of a few kilobytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.tao_tf1 import install

ROOT = Path(__file__).parents[2]
PIPELINES = ROOT / "component_specs" / "pipelines"
KEY = "s3cret-of-the-models"


def run_pipeline(folder: Path, name: str, inputs: Mapping[str, object], **variables: str) -> Path:
    """The run folder of a pipeline that went through, and whose every file lacks the key."""
    env = install(folder / "bin", Path(os.environ["NGCRUN_TAO_SCHEMA"]))
    env |= {"NGCRUN_TAO_KEY": KEY, "PYTHONPATH": str(ROOT), **variables}
    words = [f"{key}={value}" for key, value in inputs.items()]
    argv = [sys.executable, "-m", "runtime", "pipeline", str(PIPELINES / f"{name}.yaml"), *words, "--no-mlflow"]
    argv += ["--runs", str(folder / "runs")]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = next((folder / "runs").glob(f"{name}-*"))
    held = [p for p in run.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    assert held == []
    return run


def completed(run: Path) -> set[str]:
    """The names of the steps, all of which went through."""
    steps = json.loads((run / "run.json").read_text())["steps"]
    assert {step["status"] for step in steps} == {"completed"}
    return {step["name"] for step in steps}


def manifest(path: Path, entries: list[tuple[Path, dict[str, Any]]]) -> Path:
    """A manifest of files here, with their checksums."""
    told = [{"url": str(f), "sha256": hashlib.sha256(f.read_bytes()).hexdigest(), **more} for f, more in entries]
    path.write_text(yaml.safe_dump(told))
    return path


def archive(path: Path, folder: Path, pattern: str) -> Path:
    """A zip of the files in a folder that match."""
    with zipfile.ZipFile(path, "w") as made:
        for file in sorted(folder.glob(pattern)):
            made.write(file, file.relative_to(folder))
    return path
