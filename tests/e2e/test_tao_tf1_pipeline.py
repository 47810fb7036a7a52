"""The detectnet_v2 pipeline, as it goes to AzureML, on this machine with the stand-in of TAO's TF1 image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.tao_support import kitti
from tests.fakes import tao_datasets
from tests.fakes.tao_tf1 import install

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "component_specs" / "pipelines" / "detectnet_v2.yaml"
KEY = "s3cret-of-the-models"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """KITTI without tfrecords, which a step of the pipeline makes, and pictures to predict on."""
    folder = kitti(tmp_path / "kitti")
    for path in (folder / "tfrecords").iterdir():
        path.unlink()
    (folder / "tfrecords").rmdir()
    tao_datasets.picture(folder / "test" / "image_2" / "0.png", (64, 48), 7)
    return folder


def test_every_step_runs_and_the_key_is_nowhere(tmp_path: Path, dataset: Path) -> None:
    env = install(tmp_path / "bin", Path(os.environ["NGCRUN_TAO_SCHEMA"]))
    env |= {"NGCRUN_TAO_KEY": KEY, "PYTHONPATH": str(ROOT)}
    few = "training_config.num_epochs=1 training_config.checkpoint_interval=1"
    words = [
        f"dataset={dataset}",
        "device=cpu",
        f"train_overrides={few}",
        f"retrain_overrides={few}",
        f"qat_overrides={few} training_config.enable_qat=true",
    ]
    argv = [
        sys.executable,
        "-m",
        "runtime",
        "pipeline",
        str(PIPELINE),
        *words,
        "--no-mlflow",
        "--runs",
        str(tmp_path / "runs"),
    ]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = next((tmp_path / "runs").glob("detectnet_v2-*"))
    steps = json.loads((run / "run.json").read_text())["steps"]
    assert [step["status"] for step in steps] == ["completed"] * 11
    qat = (run / "steps" / "detectnet_v2.retrain_qat" / "outputs" / "trained" / "spec.txt").read_text()
    assert "enable_qat: true" in qat and "load_graph: true" in qat
    assert str(run / "steps" / "detectnet_v2.convert" / "outputs" / "converted" / "tfrecords") in qat
    assert list((run / "outputs" / "exported_qat" / "export").glob("model.onnx"))
    held = [p for p in run.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    assert held == []
