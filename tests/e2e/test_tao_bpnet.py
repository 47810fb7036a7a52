"""The body pose pipeline: COCO and NVIDIA's weights downloaded from stand-ins, BodyPoseNet a stand-in that reads it all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.tf1_support import KEY, archive, completed, manifest, run_pipeline
from tests.fakes import ngc_api, tao_datasets
from tests.fakes.tao_tf1.work import sealed

STEPS = {"convert", "train", "evaluate", "prune", "retrain", "evaluate_pruned", "export", "inference"}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A manifest of three archives with the folders of COCO 2017's own."""
    raw = tmp_path / "raw"
    for part, number in (("train", 3), ("val", 2)):
        images = [{"id": n, "file_name": f"{n:012}.jpg", "width": 32, "height": 24} for n in range(number)]
        for image in images:
            tao_datasets.picture(raw / f"{part}2017" / str(image["file_name"]), (32, 24), int(str(image["id"])))
        document = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
        tao_datasets.write_json(raw / "annotations" / f"person_keypoints_{part}2017.json", document)
    names = ("train2017", "val2017", "annotations")
    archives = [archive(tmp_path / f"{name}.zip", raw, f"{name}/*") for name in names]
    return manifest(tmp_path / "coco.yaml", [(path, {"unpack": True}) for path in archives])


def test_keypoints_and_weights_are_downloaded_and_become_a_pruned_model(tmp_path: Path, coco: Path) -> None:
    few = "num_epoch=2 checkpoint_n_epoch=1"
    inputs = {"manifest": coco, "device": "cpu", "train_overrides": few, "retrain_overrides": few}
    with ngc_api.running() as ngc:
        ngc.add("nvidia/tao/bodyposenet", "trainable_v1.0", {"model.tlt": sealed(KEY).encode(), "README.md": b"x"})
        run = run_pipeline(tmp_path, "bodypose", inputs, **ngc.env)
    assert completed(run) == {"download", "weights"} | {f"bpnet.{name}" for name in STEPS}
    outputs = {step: run / "steps" / f"bpnet.{step}" / "outputs" for step in STEPS}
    converted = outputs["convert"] / "converted"
    masks = sorted(path.name for path in (converted / "train_mask2017").iterdir())
    assert masks == ["000000000000.jpg", "000000000001.jpg", "000000000002.jpg"]
    assert not any(path.is_symlink() for path in converted.rglob("*"))
    spec = (outputs["retrain"] / "trained" / "spec.yaml").read_text()
    assert "num_epoch: 2" in spec and "load_graph: true" in spec
    assert "pose_config_path: ${overlay}/pose_config.json" in spec  # a later step has a folder of its own
    assert (outputs["train"] / "trained" / "train" / "bpnet_model.hdf5").is_file()
    assert json.loads((run / "outputs" / "evaluation_pruned" / "metrics.json").read_text()) == {"AP_0.50:0.95_all": 0.5}
    found = json.loads((run / "outputs" / "predictions" / "inference" / "detections.json").read_text())
    assert [image["full_image_path"] for image in found["images"]] == ["000000000000.jpg", "000000000001.jpg"]
    assert (run / "outputs" / "predictions" / "preview.png").is_file()
