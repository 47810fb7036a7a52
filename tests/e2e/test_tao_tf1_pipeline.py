"""The TF1 pipelines, as they go to AzureML, on this machine with the stand-ins of TAO's TF1 and deploy images.

Real are the download, the conversion of the faces, the specs and their checks, and the Triton repository; the training
and the engines are stand-ins (tests/fakes/tao_tf1), which need no GPU and prove nothing about one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.triton import model_config
from tests.e2e.tf1_support import ROOT, archive, completed, manifest, run_pipeline
from tests.fakes import tao_datasets

WIDER = ROOT / "tests" / "data" / "wider"
FEW = "training_config.num_epochs=1 training_config.checkpoint_interval=1"
OVERRIDES = {
    "device": "cpu",
    "train_overrides": FEW,
    "retrain_overrides": FEW,
    "qat_overrides": f"{FEW} training_config.enable_qat=true",
}
DETECTNET_STEPS = {
    "convert", "train", "evaluate", "prune", "retrain", "evaluate_pruned", "export", "calibrate", "engine", "retrain_qat",
    "export_qat", "engine_qat", "inference", "package",
}  # fmt: skip


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    """A manifest of two archives with the folders of KITTI's own."""
    raw = tmp_path / "raw"
    for index, kind in enumerate(("Car", "Van", "Cyclist", "Pedestrian", "DontCare")):
        tao_datasets.picture(raw / "training" / "image_2" / f"{index:06}.png", (64, 48), index)
        label = raw / "training" / "label_2" / f"{index:06}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text(f"{kind} 0 0 0 2.00 2.00 30.00 40.00 0 0 0 0 0 0 0\n")
    tao_datasets.picture(raw / "testing" / "image_2" / "000000.png", (64, 48), 7)
    parts = {"images": "t*/image_2/*", "labels": "training/label_2/*"}
    archives = [archive(tmp_path / f"{name}.zip", raw, pattern) for name, pattern in parts.items()]
    return manifest(tmp_path / "kitti.yaml", [(path, {"unpack": True}) for path in archives])


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A manifest of the two committed photographs, once as the part `train` and once as `val`."""
    entries: list[tuple[Path, dict[str, Any]]] = []
    for part in ("train", "val"):
        boxes = WIDER / "wider_face_split" / "wider_face_train_bbx_gt.txt"
        entries.append((boxes, {"path": f"wider_face_split/wider_face_{part}_bbx_gt.txt"}))
        pictures = sorted((WIDER / "WIDER_train").rglob("*.jpg"))
        entries += [(p, {"path": f"WIDER_{part}/{p.relative_to(WIDER / 'WIDER_train')}"}) for p in pictures]
    return manifest(tmp_path / "faces.yaml", entries)


def check_engines(run: Path) -> None:
    """Each INT8 engine got its scales from where the pipeline says."""
    engine = (run / "outputs" / "engine" / "gen_trt_engine" / "model.engine").read_text()
    assert engine == "stand-in engine, int8, calibrated on calibration.tensor"
    engine = (run / "outputs" / "engine_qat" / "gen_trt_engine" / "model.engine").read_text()
    assert engine == "stand-in engine, int8, 2 scales of the training"


def config_of(run: Path, name: str) -> Any:
    return model_config.read(run / "outputs" / "repository" / name / "config.pbtxt")


def test_kitti_is_downloaded_and_becomes_engines_and_a_triton_repository(tmp_path: Path, kitti: Path) -> None:
    run = run_pipeline(tmp_path, "detectnet_v2", {"manifest": kitti, **OVERRIDES})
    assert completed(run) == {"download"} | {f"detectnet_v2.{name}" for name in DETECTNET_STEPS}
    steps = run / "steps"
    qat = (steps / "detectnet_v2.retrain_qat" / "outputs" / "trained" / "spec.txt").read_text()
    assert "enable_qat: true" in qat and "load_graph: true" in qat
    assert str(steps / "detectnet_v2.convert" / "outputs" / "converted" / "tfrecords") in qat
    assert f'image_directory_path: "{steps}/download/outputs/data/training"' in qat
    check_engines(run)
    config = config_of(run, "detectnet_v2")
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 16)
    shapes = {t.name: list(t.dims) for t in (*config.input, *config.output)}
    assert shapes == {
        "input_1": [3, 384, 1248], "output_bbox/BiasAdd": [12, 24, 78], "output_cov/Sigmoid": [3, 24, 78]
    }  # fmt: skip


def test_wider_face_is_downloaded_and_becomes_a_detector_of_faces(tmp_path: Path, faces: Path) -> None:
    run = run_pipeline(tmp_path, "facenet", {"manifest": faces, "min_side_px": 8, **OVERRIDES})
    assert completed(run) == {"download", "faces", "unseen"} | {f"detectnet_v2.{name}" for name in DETECTNET_STEPS}
    spec = (run / "steps" / "detectnet_v2.train" / "outputs" / "trained" / "spec.txt").read_text()
    assert 'key: "face"' in spec and '"car"' not in spec
    assert f'image_directory_path: "{run}/steps/faces/outputs/kitti"' in spec
    check_engines(run)
    shapes = {t.name: list(t.dims) for t in (*config_of(run, "facenet").input, *config_of(run, "facenet").output)}
    assert shapes == {"input_1": [3, 416, 736], "output_bbox/BiasAdd": [4, 26, 46], "output_cov/Sigmoid": [1, 26, 46]}
