"""What of a TF1 spec becomes something else in its successor's: sizes, classes, folders, backbones.

Each function takes the old spec as dicts and gives (old key, new key, value) one by one, without an old key where the
successor always has the value; rows that only change their
name are in `runtime/tao/conf/migrate.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Parts = Iterator[tuple[str, str, Any]]
# Source: nvidia-tao-core 7.3.0, config/classification_pyt (head.in_channels) and the width of torchvision's last layer.
BACKBONES = {18: ("resnet_18", 512), 34: ("resnet_34", 512), 50: ("resnet_50", 2048), 101: ("resnet_101", 2048)}


def _all(value: Any) -> list[Any]:
    return value if isinstance(value, list) else ([] if value is None else [value])


def _numbers(text: Any) -> list[int]:
    return [int(word) for word in re.findall(r"\d+", str(text or ""))]


def detection(old: Mapping[str, Any]) -> Parts:
    """Image size, number of classes, and the folders of images where the old spec names them exactly."""
    augmentation = old.get("augmentation_config", {})
    for section, stem in ((augmentation.get("preprocessing", {}), "output_image_"), (augmentation, "output_")):
        if section.get(f"{stem}height") and section.get(f"{stem}width"):
            key = "augmentation_config." + ("preprocessing." if stem == "output_image_" else "")
            size = [section[f"{stem}height"], section[f"{stem}width"]]
            yield f"{key}{stem}height", "dataset.augmentation.eval_spatial_size", size
            yield f"{key}{stem}width", "dataset.augmentation.train_spatial_size", list(size)
    data = old.get("dataset_config", {})
    if "image_size" in data:
        yield "dataset_config.image_size", "dataset.augmentation.eval_spatial_size", _numbers(data["image_size"])
    classes = {str(row.get("value")).lower() for row in _all(data.get("target_class_mapping"))}
    if classes:  # ids from 1, and TAO wants the highest id plus one. Source: shared facts, rtdetr run on a CPU
        yield "dataset_config.target_class_mapping", "dataset.num_classes", len(classes) + 1
    yield from _folders(data, "data_sources", "dataset.train_data_sources[{}].image_dir")
    yield from _folders(data, "validation_data_sources", "dataset.val_data_sources.image_dir")


def _folders(data: Mapping[str, Any], name: str, new_key: str) -> Parts:
    """Folders of images; beside tfrecords stands a root that they lie somewhere below, so that one is not taken."""
    for index, source in enumerate(_all(data.get(name))):
        if "label_directory_path" in source and "image_directory_path" in source:
            yield f"dataset_config.{name}.image_directory_path", new_key.format(index), source["image_directory_path"]


def classification(old: Mapping[str, Any]) -> Parts:
    """Square images, a ResNet of the same depth, the policy of the learning rate, flips."""
    model, train = old.get("model_config", {}), old.get("train_config", {})
    size = _numbers(model.get("input_image_size"))
    if len(size) == 3 and size[1] == size[2]:
        yield "model_config.input_image_size", "dataset.img_size", size[1]
    if model.get("arch") == "resnet" and model.get("n_layers") in BACKBONES:
        backbone, width = BACKBONES[model["n_layers"]]
        yield "model_config.arch", "model.backbone.type", backbone
        yield "model_config.n_layers", "model.head.in_channels", width
    if "step" in train.get("lr_config", {}):
        yield "train_config.lr_config.step", "train.optim.policy", "step"
    if train.get("disable_horizontal_flip"):
        yield "train_config.disable_horizontal_flip", "dataset.augmentation.random_flip.hflip_probability", 0.0


def segmentation(old: Mapping[str, Any]) -> Parts:
    """Square images, the palette of masks whose pixels hold the label's id, the root when the folders allow one."""
    model, data = old.get("model_config", {}), old.get("dataset_config", {})
    if model.get("model_input_width") and model.get("model_input_width") == model.get("model_input_height"):
        yield "model_config.model_input_width", "dataset.segment.img_size", model["model_input_width"]
    classes = _all(data.get("data_class_config", {}).get("target_classes"))
    if classes:
        palette = [
            {
                "label_id": row.get("label_id", 0),
                "seg_class": row.get("name", ""),
                "mapping_class": row.get("mapping_class", row.get("name", "")),
                "rgb": [row.get("label_id", 0)] * 3,
            }
            for row in classes
        ]
        yield "dataset_config.data_class_config", "dataset.segment.palette", palette
        names = {row["mapping_class"] for row in palette}
        yield "dataset_config.data_class_config.target_classes", "dataset.segment.num_classes", len(names)
        yield "dataset_config.dataset", "dataset.segment.label_transform", "None"  # ids are not divided by 255
    paths = [str(data.get(f"train_{part}_path", "")) for part in ("images", "masks")]
    roots = [re.fullmatch(rf"(.+)/{part}/train/?", path) for part, path in zip(("images", "masks"), paths, strict=True)]
    if roots[0] and roots[1] and roots[0][1] == roots[1][1]:
        yield "dataset_config.train_images_path", "dataset.segment.root_dir", roots[0][1]


def instance_segmentation(old: Mapping[str, Any]) -> Parts:
    """The kind of the task, sizes, and the number of classes without the background, which Mask R-CNN counts."""
    data = old.get("data_config", {})
    yield "", "model.mode", "instance"
    for split in ("train", "val"):
        yield "", f"dataset.{split}.type", "coco"
        yield "", f"dataset.{split}.name", split
    if data.get("num_classes"):
        yield "data_config.num_classes", "model.sem_seg_head.num_classes", data["num_classes"] - 1
    size = _numbers(data.get("image_size"))
    if len(size) == 2:
        yield "data_config.image_size", "dataset.augmentation.train_min_size", [min(size)]
        yield "data_config.image_size", "dataset.augmentation.train_max_size", max(size)


def plates(old: Mapping[str, Any]) -> Parts:
    """Nothing but rows."""
    yield from ()


PARTS: dict[str, Callable[[Mapping[str, Any]], Parts]] = {
    "detection": detection,
    "classification": classification,
    "segmentation": segmentation,
    "instance_segmentation": instance_segmentation,
    "plates": plates,
}
