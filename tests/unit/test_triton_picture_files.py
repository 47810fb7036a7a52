"""What is written of an image's predictions: names, KITTI lines, COCO, masks; and what a model's parameters say."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime.data import kitti
from runtime.errors import BadInput, ToolFailed
from runtime.triton import model_config
from runtime.triton.boxes import Box
from runtime.triton.failures import Failure, judged
from runtime.triton.infer_images import Ports
from runtime.triton.model_config import Plan, Signature, Tensor
from runtime.triton.picture_files import Item, coco, colour, items_of, kitti_lines, write_picture
from runtime.triton.picture_plan import plan_of
from runtime.triton.postprocess import Prediction, Settings


def test_images_that_differ_only_in_their_suffix_keep_it(tmp_path):
    names = ["a.jpg", "a.png", "b.jpg", "deep/A.jpg", "deep/c.d.jpg"]
    found = items_of([tmp_path / name for name in names], tmp_path)
    assert [item.name for item in found] == names
    assert [item.stem for item in found] == ["a.jpg", "a.png", "b", "deep/A", "deep/c.d"]


def test_kitti_lines_are_read_back_with_their_score():
    found = Prediction(boxes=(Box("traffic light", 1, 2, 3.456, 4, 0.5), Box("", 0, 0, 1, 1, 1.25)))
    lines = kitti_lines(found)
    boxes = [kitti.parse(line) for line in lines]
    assert [(b.name, b.left, b.right) for b in boxes] == [("traffic_light", 1, 3.46), ("_", 0, 1)]
    assert [line.split()[15] for line in lines] == ["0.500000", "1.250000"]


def test_a_label_in_any_script_is_drawn(tmp_path):
    box = Box("Fußgänger 歩行者", 1, 1, 30, 30, 0.5)
    picture = Image.new("RGB", (40, 40))
    item = Item(tmp_path / "a.png", "a.png", "a")
    told = write_picture(tmp_path, item, picture, Prediction(boxes=(box,)), Settings())
    assert told["boxes"] == [{"name": box.name, "left": 1, "top": 1, "right": 30, "bottom": 30, "score": 0.5}]
    document = coco([told], tmp_path, Settings(labels=("a",)))
    assert document["categories"] == [{"id": 1, "name": "a"}, {"id": 2, "name": box.name}]
    assert document["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 2, "iscrowd": 0, "bbox": [1, 1, 29, 29], "area": 841, "score": 0.5}
    ]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10_000))
def test_the_run_lengths_of_a_mask_give_the_mask_back(tmp_path_factory, width, height, seed):
    folder = tmp_path_factory.mktemp("mask")
    mask = np.random.default_rng(seed).integers(0, 4, (height, width)).astype(np.uint8)
    item = Item(folder / "a.png", "a.png", "a")
    told = write_picture(folder, item, Image.new("RGB", (width, height)), Prediction(mask=mask), Settings())
    rebuilt = np.zeros((height, width), int)
    for mark in coco([told], folder, Settings())["annotations"]:
        counts, name = mark["segmentation"]["counts"], mark["category_id"]
        assert sum(counts) == width * height
        one = np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T.astype(bool)
        x, y, w, h = mark["bbox"]
        assert one[y : y + h, x : x + w].sum() == one.sum() == mark["area"]
        rebuilt[one] = name
    names = list(np.unique(mask))
    assert (np.array([names.index(v) + 1 for v in mask.ravel()]).reshape(mask.shape) == rebuilt).all()
    with Image.open(folder / "masks" / "a.png") as image:
        assert (np.asarray(image) == mask).all()


def test_colours_are_the_same_in_every_process():
    assert colour("person") == colour("person") != colour("car")


def config(outputs=(("y", (3,)),), parameters=None, dims=(3, 4, 4), most=4):
    signature = Signature(
        (Tensor("x", "FP32", dims),), tuple(Tensor(name, "FP32", shape) for name, shape in outputs), most > 0
    )
    return model_config.build(Plan("m", "python", signature, most, parameters=parameters or {}))


def ports(tmp_path, **words):
    return Ports(images=tmp_path, predictions=tmp_path / "out", **words)


def test_a_port_wins_over_the_models_parameter_and_that_over_the_task(tmp_path):
    said = {"task": "classification", "pixels": "caffe", "labels": '["a", "b"]'}
    plan = plan_of(config(parameters=said), ports(tmp_path))
    assert (plan.task.kind, plan.settings.labels, plan.images_each) == ("classes", ("a", "b"), 4)
    assert (plan.preparation.pixels.channels, plan.preparation.resize) == ("bgr", "stretch")
    assert plan.request_bytes == 4 * 3 * 4 * 4 * 4
    plan = plan_of(config(parameters=said), ports(tmp_path, task="yolo_raw", pixels="unit", batch_size=2))
    assert (plan.task.kind, plan.preparation.pixels.channels, plan.preparation.resize) == ("boxes", "rgb", "letterbox")
    assert plan.images_each == 2


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        ((("output_cov/Sigmoid", (1, 1, 1)), ("output_bbox/BiasAdd", (4, 1, 1))), "detectnet_v2"),
        ((("pred_logits", (9, 2)), ("pred_boxes", (9, 4))), "detr"),
        ((("NMS", (1, 9, 7)), ("NMS_1", (1, 1, 1))), "ssd"),
        ((("BatchedNMS", (1,)), ("BatchedNMS_1", (9, 4))), "yolo"),
    ],
)
def test_outputs_with_telling_names_need_no_task(tmp_path, outputs, kind):
    assert plan_of(config(outputs), ports(tmp_path)).task.run.__name__ == kind


def test_a_network_that_takes_any_size_gets_one_image_a_request(tmp_path):
    plan = plan_of(config(dims=(3, -1, -1)), ports(tmp_path, task="classification"))
    assert (plan.images_each, plan.request_bytes) == (1, 0)
    with pytest.raises(BadInput, match="batch_size=2: is more than the model takes at a time, 1"):
        plan_of(config(dims=(3, -1, -1)), ports(tmp_path, task="classification", batch_size=2))


def test_a_parameter_that_is_no_choice_is_told(tmp_path):
    with pytest.raises(BadInput, match="pixels='bright': is what m says in its parameters; say pixels= one of: raw, "):
        plan_of(config(parameters={"pixels": "bright"}), ports(tmp_path, task="classification"))


@pytest.mark.parametrize("text", ["cat\ndog\n", "cat;dog", " cat ; dog;\n"])
def test_labels_are_a_line_each_or_as_taos_classification_writes_them(tmp_path, text):
    (tmp_path / "labels.txt").write_text(text)
    plan = plan_of(config(), ports(tmp_path, task="classification", labels=tmp_path / "labels.txt"))
    assert plan.settings.labels == ("cat", "dog")


@pytest.mark.parametrize(("data", "said"), [(b"\n", "names no class"), (b"\xff\xfe\x00", "is no text")])
def test_a_file_without_labels_is_refused(tmp_path, data, said):
    (tmp_path / "labels.txt").write_bytes(data)
    with pytest.raises(BadInput, match=said):
        plan_of(config(), ports(tmp_path, task="classification", labels=tmp_path / "labels.txt"))


def test_an_answer_of_another_length_is_a_failure(tmp_path):
    plan = plan_of(config(), ports(tmp_path, task="classification"))
    assert [o["y"].tolist() for o in plan.split([{"y": np.eye(2)}], 2)] == [[1, 0], [0, 1]]
    with pytest.raises(ToolFailed, match="answered 3 images with y of another length"):
        list(plan.split([{"y": np.eye(2)}], 3))
    with pytest.raises(ToolFailed, match="gave 0 answers"):
        list(plan.split([], 1))


@pytest.mark.parametrize(
    ("failed", "count", "allowed", "ends"),
    [(0, 3, 0.0, False), (1, 3, 1.0, False), (1, 3, 0.34, False), (1, 3, 0.3, True), (3, 3, 1.0, True)],
)
def test_failures_end_the_step_when_they_are_too_many_or_all(  # noqa: PLR0917 - fixtures, a case
    tmp_path, capsys, failed, count, allowed, ends
):
    failures = [Failure(f"{number}.png", "is empty") for number in range(failed)]
    if ends:
        with pytest.raises(ToolFailed, match=f"{failed} of {count} images failed"):
            judged("images", failures, count, allowed, tmp_path / "failed.json")
    else:
        judged("images", failures, count, allowed, tmp_path / "failed.json")
        assert ("the rest is written, see failed.json" in capsys.readouterr().err) == bool(failed)
    assert len(json.loads((tmp_path / "failed.json").read_text())) == failed


def test_many_failures_are_told_in_a_few_lines(tmp_path, capsys):
    judged("images", [Failure(f"{n}.png", "is empty") for n in range(9)], 10, 1.0, tmp_path / "failed.json")
    assert capsys.readouterr().err.splitlines()[4:] == [
        "images='4.png': is empty", "and 4 more", "9 of 10 images failed; the rest is written, see failed.json",
    ]  # fmt: skip
