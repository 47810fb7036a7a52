"""TAO on a real GPU: the same commands as on the CPU, without the shim. Not run so far: the GPU at hand had no TAO."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.tao import env, machine

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "tests" / "data" / "digits"
TAO = env.folder_of("cpu") / "bin" / "classification_pyt"  # the same wheel; torch's own CUDA build
WHY_NOT = (
    "no NVIDIA GPU"
    if not machine.gpu_count()
    else ""
    if TAO.is_file()
    else f"no TAO in {TAO.parent.parent}: python -m runtime.tao.env cpu"
)
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
pytestmark = needs_gpu


def step(folder: Path, action: str, *words: str) -> str:
    common = ["network=classification_pyt", f"dataset={DIGITS / 'images'}", f"spec={DIGITS / 'spec.yaml'}", *words]
    environment = {**os.environ, "NGCRUN_METRICS_FILE": str(folder / "metrics.jsonl")}
    argv = [sys.executable, "-m", f"runtime.tao.{action}", *common]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def figures(folder: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "metric":
            found.setdefault(record["key"], []).append(record["value"])
    return found


def test_a_training_uses_the_gpu_and_learns(tmp_path: Path) -> None:
    out = step(tmp_path, "train", "--spec_overrides=train.num_epochs=6", f"trained={tmp_path / 'trained'}")
    assert "used: True" in out  # Lightning: "GPU available: True (cuda), used: True"
    logged = figures(tmp_path)
    assert logged["val_acc_1"][-1] > 0.8
    assert any(key.startswith("system/gpu_0_memory") for key in logged)
    step(tmp_path, "evaluate", f"checkpoint={tmp_path / 'trained'}", f"report={tmp_path / 'report'}")
    export = "--spec_overrides=export.on_cpu=false"
    step(tmp_path, "export", f"checkpoint={tmp_path / 'trained'}", export, f"exported={tmp_path / 'exported'}")


def test_every_gpu_of_the_machine_trains(tmp_path: Path) -> None:
    count = machine.gpu_count() or 0
    if count < 2:
        pytest.skip("one GPU only")
    ids = ",".join(map(str, range(count)))
    keys = f"--spec_overrides=train.num_epochs=2 train.num_gpus={count} train.gpu_ids=[{ids}]"
    step(tmp_path, "train", keys, f"trained={tmp_path / 'trained'}")


def test_more_gpus_than_there_are_is_told_before_the_start(tmp_path: Path) -> None:
    words = ["network=classification_pyt", f"dataset={DIGITS / 'images'}", f"spec={DIGITS / 'spec.yaml'}"]
    keys = "--spec_overrides=train.num_gpus=99"
    argv = [sys.executable, "-m", "runtime.tao.train", *words, keys, f"trained={tmp_path / 'trained'}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        f"train.num_gpus=99: this machine has {machine.gpu_count()} GPUs; give {machine.gpu_count()} or less"
        in done.stderr
    )
