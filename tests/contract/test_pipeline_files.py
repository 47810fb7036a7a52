"""What lies beside the pipelines: specs against NVIDIA's own messages and our checker, manifests, BodyPoseNet's files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.data import sources
from runtime.tao import cli, network, spec_text
from runtime.tao.check_prototext import real_verdict
from runtime.tao.examine import Asked, examine
from runtime.tao.prototext import to_dict

PIPELINES = Path(__file__).parents[2] / "component_specs" / "pipelines"
SPECS = sorted(PIPELINES.glob("*/*.txt"))
# In `flights` a contract and a recipe, in `pictures` an ensemble.
MANIFESTS = sorted(p for p in PIPELINES.glob("*/*.yaml") if p.parent.name not in ("flights", "pictures"))
ACTIONS = {"convert": "dataset_convert", "train": "train", "inference": "inference"}
DETECTNET = network.find("detectnet_v2")
BPNET = network.find("bpnet")


def test_there_are_files_to_check() -> None:
    names = {f"{folder}/{stem}.txt" for folder in ("detectnet_v2", "facenet") for stem in ACTIONS}
    assert {str(p.relative_to(PIPELINES)) for p in SPECS} == names
    manifests = {"detectnet_v2/kitti.yaml", "facenet/wider_face.yaml", "bodypose/coco_2017.yaml"}
    assert {str(p.relative_to(PIPELINES)) for p in MANIFESTS} == manifests


@pytest.mark.parametrize("path", SPECS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_spec_is_one_that_tao_and_our_checker_take(path: Path) -> None:
    action = DETECTNET.action(ACTIONS[path.stem])
    assert examine(Asked(DETECTNET, action, path, device="any"), needs=False).findings == []
    text = spec_text.read_user_spec(path)
    folder = Path(os.environ["NGCRUN_TAO_SCHEMA"])
    assert real_verdict(DETECTNET.schema, folder, action.message, text) is None


def test_a_check_looks_into_the_folder_that_is_predicted_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "testing" / "image_2").mkdir(parents=True)
    (tmp_path / "testing" / "image_2" / "0.png").write_bytes(b"x")
    words = ["check", "detectnet_v2", str(PIPELINES / "detectnet_v2" / "inference.txt"), "inference"]
    assert cli.main([*words, f"dataset={tmp_path}", "images=testing/image_2"]) == 0
    assert cli.main([*words, f"dataset={tmp_path}"]) == 2
    wrong = (
        f"error: images='{tmp_path}/test/image_2': is no folder with images; name one below the dataset: images=FOLDER"
    )
    assert wrong in capsys.readouterr().out.splitlines()


def classes_in(spec: Any, *keys: str) -> set[str]:
    for key in keys:
        spec = spec[key]
    return {entry.get("key") or entry.get("name") for entry in (spec if isinstance(spec, list) else [spec])}


@pytest.mark.parametrize(
    ("folder", "classes"), [("detectnet_v2", {"car", "cyclist", "pedestrian"}), ("facenet", {"face"})]
)
def test_every_part_of_a_spec_has_the_same_classes(folder: str, classes: set[str]) -> None:
    spec = to_dict((PIPELINES / folder / "train.txt").read_text())
    for keys in (
        ("postprocessing_config", "target_class_config"),
        ("evaluation_config", "minimum_detection_ground_truth_overlap"),
        ("evaluation_config", "evaluation_box_config"),
        ("cost_function_config", "target_classes"),
        ("bbox_rasterizer_config", "target_class_config"),
    ):
        assert classes_in(spec, *keys) == classes, keys
    mapping = spec["dataset_config"]["target_class_mapping"]
    assert {m["value"] for m in (mapping if isinstance(mapping, list) else [mapping])} == classes
    shown = to_dict((PIPELINES / folder / "inference.txt").read_text())
    assert classes_in(shown, "bbox_handler_config", "classwise_bbox_handler_config") == classes
    size = spec["augmentation_config"]["preprocessing"]
    assert shown["inferencer_config"]["image_width"] == size["output_image_width"]
    assert shown["inferencer_config"]["image_height"] == size["output_image_height"]
    assert size["output_image_width"] % 16 == size["output_image_height"] % 16 == 0  # the network's stride


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.stem)
def test_a_manifest_pins_every_file_and_says_where_its_checksums_come_from(path: Path) -> None:
    wanted = sources.from_manifest(path, unpack=False)
    sources.check(wanted, allow_unverified=False)
    assert len(wanted) >= 2
    assert all(w.sha256 and w.size_bytes and w.unpack and w.url.startswith("http") for w in wanted)
    assert "# Source of addresses and checksums: " in path.read_text()
    assert "Terms: " in path.read_text()


def test_the_files_of_bpnet_are_what_its_loaders_ask_for() -> None:
    coco, pose = (json.loads(BPNET.files[name]) for name in ("coco_spec.json", "pose_config.json"))
    for document, number, limbs in ((coco, 17, 19), (pose, 18, 19)):
        (person,) = document["categories"]
        assert (person["name"], person["num_joints"]) == ("person", number)
        assert len(set(person["keypoints"])) == number
        assert [[person["keypoints"][i - 1] for i in pair] for pair in person["skeleton"]] == person[
            "skeleton_edge_names"
        ]
        assert len(person["skeleton"]) == limbs
    assert set(coco["categories"][0]["keypoints"]) | {"neck"} == set(pose["categories"][0]["keypoints"])
    model = yaml.safe_load(BPNET.spec)["model"]
    assert model["heat_channels"] == 18 + 1 and model["paf_channels"] == 2 * 19
    assert BPNET.actions["dataset_convert"].spec == BPNET.files["coco_spec.json"]
    infer = {BPNET.files["infer.yaml"], BPNET.actions["evaluate"].spec, BPNET.actions["inference"].spec}
    assert len(infer) == 1
