"""What BodyPoseNet's programs read before they work, and what they leave: it trains nothing and finds no one.

Source: NVIDIA/tao_tensorflow1_backend (GitHub, commit 2ec95cb), cv/bpnet: scripts/*.py, dataio/coco_dataset.py,
dataio/coco_converter.py, dataloaders/{bpnet_dataloader,dataset_config,pose_config}.py, trainers/bpnet_trainer.py,
inferencer/bpnet_inferencer.py, exporter/bpnet_exporter.py, read. What they raise for a missing key or file, this does too.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

IMAGES = ("jpg", "jpeg", "png")


def work(task: str, args: dict[str, Any]) -> None:
    """Do the task: read what the real one reads, write what it writes."""
    {
        "dataset_convert": _convert,
        "train": _train,
        "evaluate": _evaluate,
        "inference": _infer,
        "export": _export,
        "prune": _prune,
    }[task](args)


def _yaml(path: str) -> dict[str, Any]:
    return dict(yaml.safe_load(Path(path).read_text()))


def _person(document: dict[str, Any]) -> dict[str, Any]:
    found = dict(next(c for c in document["categories"] if c["name"] == "person"))
    assert found["num_joints"] == len(found["keypoints"])
    assert len(found["skeleton"]) == len(found["skeleton_edge_names"])
    return found


def _annotations(spec: dict[str, Any], part: str) -> dict[str, Any]:
    """One part of the dataset, as COCODataset loads it: both parts, whatever it is asked for."""
    _person(spec)
    spec["data_filtering_params"]["min_acceptable_interperson_dist_ratio"]
    for name in ("train_data", "test_data"):
        json.loads((Path(spec["root_directory_path"]) / spec[name]["annotation_root_dir_path"]).read_text())
    path = Path(spec["root_directory_path"]) / spec[part]["annotation_root_dir_path"]
    return dict(json.loads(path.read_text()))


def _convert(args: dict[str, Any]) -> None:
    if not args["dataset_spec"].endswith((".json", ".yaml")):
        raise ValueError("Experiment spec file extension not supported.")
    spec = _yaml(args["dataset_spec"])
    part = spec[f"{args['mode']}_data"]
    records = []
    for image in _annotations(spec, f"{args['mode']}_data")["images"]:
        mask = Path(spec["root_directory_path"]) / part["mask_root_dir_path"] / image["file_name"]
        if args["generate_masks"]:
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (image["width"], image["height"]), 255).save(mask)
        records.append([f"{part[key]}/{image['file_name']}" for key in ("images_root_dir_path", "mask_root_dir_path")])
    target = Path(f"{args['output_filename']}-fold-000-of-{args['num_partitions']:03}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records))


def _train(args: dict[str, Any]) -> None:
    spec = _yaml(args["experiment_spec_file"])
    assert spec["num_epoch"] % spec["checkpoint_n_epoch"] == 0, "Checkpoint_n_epoch should be a divisor of num_epoch"
    weights = spec.get("pretrained_weights")
    assert weights or not spec["load_graph"], "Load graph is True, please specify pretrained model to use"
    assert spec.get("inference_spec"), "Please specify inference spec path in the config file."
    if weights:
        Path(weights).read_bytes()
    loader = spec["dataloader"]
    _person(json.loads(Path(loader["pose_config"]["pose_config_path"]).read_text()))
    data = loader["dataset_config"]
    _ = data["val_records_folder_path"], data["val_records_path"]
    for path in data["dataset_specs"].values():
        coco = json.loads(Path(path).read_text())
        _person(coco)
        assert set(coco["visibility_flags"]["value"]) == set(coco["visibility_flags"]["mapping"])
    for name in data["train_records_path"]:
        for pair in json.loads((Path(data["train_records_folder_path"]) / name).read_text()):
            for path in pair:
                Image.open(data["root_data_path"] + path).load()  # an image, then its mask, below one root
    folder = Path(args["results_dir"] or spec["checkpoint_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"model.epoch-{spec['num_epoch']}.hdf5").write_text("stand-in model")
    shutil.copyfile(folder / f"model.epoch-{spec['num_epoch']}.hdf5", folder / "bpnet_model.hdf5")
    shutil.copyfile(args["experiment_spec_file"], folder / "experiment_spec.yaml")


def _inferencer(args: dict[str, Any]) -> None:
    """What BpNetInferencer reads of the two specs, and the model."""
    spec = _yaml(_yaml(args["inference_spec"])["train_spec"])
    _ = spec["model"]["data_format"], spec["dataloader"]["normalization_params"]["image_scale"]
    _person(json.loads(Path(spec["dataloader"]["pose_config"]["pose_config_path"]).read_text()))
    Path(args["model_filename"]).read_bytes()


def _evaluate(args: dict[str, Any]) -> None:
    _annotations(json.loads(Path(args["dataset_spec"]).read_text()), "test_data")
    _inferencer(args)


def _infer(args: dict[str, Any]) -> None:
    _inferencer(args)
    found = []
    shown = Path(args["results_dir"]) / "images_annotated"
    for index, path in enumerate(sorted(Path(args["input"]).iterdir())):
        if path.suffix.lstrip(".").lower() in IMAGES:
            found.append({"full_image_path": path.name, "keypoints": [], "scores": []})
            if args["dump_visualizations"]:
                shown.mkdir(parents=True, exist_ok=True)
                Image.open(path).save(shown / f"{index}.png")
    (Path(args["results_dir"]) / "detections.json").write_text(json.dumps({"images": found}))


def _export(args: dict[str, Any]) -> None:
    _ = _yaml(args["experiment_spec"])["dataloader"]["normalization_params"]
    Path(args["model"]).read_bytes()
    Path(args["output_file"]).parent.mkdir(parents=True, exist_ok=True)
    Path(args["output_file"]).write_text("stand-in output")


def _prune(args: dict[str, Any]) -> None:
    Path(args["model"]).read_bytes()
    Path(args["output_file"]).write_text("stand-in model")
