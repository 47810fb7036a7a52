"""What the conversions of labels say to bad input: one exact line, status 2, nothing half-written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from data_support import GOOD, PHOTO, SAMPLE, SPLIT, kitti, touched

from runtime.component import Component
from runtime.data.kitti_to_coco import kitti_to_coco
from runtime.data.widerface_to_kitti import widerface_to_kitti
from runtime.execute import main


def sample(root: Path) -> Path:
    shutil.copytree(SAMPLE, root)
    return root


def edited(root: Path, old: str, new: str) -> Path:
    path = sample(root) / SPLIT
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return root


def without(root: Path, name: str) -> Path:
    path = sample(root) / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return root


def spoiled(root: Path) -> Path:
    (sample(root) / PHOTO.relative_to(SAMPLE)).write_bytes(b"hello")
    return root


GT = "wider_face_train_bbx_gt.txt"
# name -> (makes the faces, further words, the line); <f> is the folder
WIDER = {
    "no_annotations": (
        lambda at: without(at, "wider_face_split"),
        [],
        f"faces='<f>': lacks wider_face_split/{GT}; give the folder into which the archives of WIDER FACE were unpacked",
    ),
    "no_images": (
        lambda at: without(at, "WIDER_train"),
        [],
        "faces='<f>': lacks WIDER_train/images; give the folder into which the archives of WIDER FACE were unpacked",
    ),
    "other_split": (
        sample,
        ["split=val"],
        "faces='<f>': lacks wider_face_split/wider_face_val_bbx_gt.txt; give the folder into which the archives of WIDER FACE were unpacked",
    ),
    "split_without_boxes": (sample, ["split=test"], "split='test': is not a choice; known: train, val"),
    "absent_image": (
        lambda at: without(at, "WIDER_train/images/1--Temple"),
        [],
        "faces='<f>': lacks 1 of 2 images (1--Temple/1_Temple_China_1_1.jpg); unpack WIDER_train.zip whole",
    ),
    "twice": (
        lambda at: edited(at, "1--Temple/1_Temple_China_1_1", "1--Temple/0_Portrait_Navy_0_1"),
        [],
        "faces='<f>': lists 1 more than once (0_Portrait_Navy_0_1); take one out",
    ),
    "no_count": (
        lambda at: edited(at, "\n3\n", "\nthree\n"),
        [],
        f"faces='<f>/wider_face_split/{GT}:2': has 'three' where the number of faces should be; get the file again, or correct the line",
    ),
    "too_few_faces": (
        lambda at: edited(at, "\n3\n", "\n4\n"),
        [],
        f"faces='<f>/wider_face_split/{GT}:6': has '1--Temple/1_Temple_China_1_1.jpg' where a face of 10 whole numbers should be; get the file again, or correct the line",
    ),
    "too_many_faces": (
        lambda at: edited(at, "\n3\n", "\n2\n"),
        [],
        f"faces='<f>/wider_face_split/{GT}:5': has '180 238 20 22 1 0 0 1 1 0 ' where the path of an image should be; get the file again, or correct the line",
    ),
    "size": (sample, ["size=736"], "size='736': is no size up to 16384x16384; write WIDTHxHEIGHT, such as size=736x416"),
    "huge_size": (
        sample,
        ["size=99999x2"],
        "size='99999x2': is no size up to 16384x16384; write WIDTHxHEIGHT, such as size=736x416",
    ),
    "nothing_left": (
        sample,
        ["min_width_px=5000"],
        "faces='<f>': no image is left (images_dropped_no_face 2, faces_dropped_invalid 1, faces_dropped_no_size 1, faces_dropped_too_small 1); let more pass",
    ),
    "broken_image": (
        spoiled,
        [],
        "faces='<f>': no image is left (images_dropped_broken 1, images_dropped_no_face 1, faces_dropped_broken_image 3); let more pass",
    ),
    "occlusion": (sample, ["max_occlusion=3"], "max_occlusion=3: is above the maximum 2; give a smaller number"),
}  # fmt: skip


def refused(step: Component, words: list[str], tmp_path: Path, capsys) -> str:
    assert main(step, [*words, f"{'kitti' if step is widerface_to_kitti else 'coco'}={tmp_path / 'out'}"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert not [p.name for p in tmp_path.iterdir() if "out" in p.name]
    return captured.err


@pytest.mark.parametrize("case", WIDER)
def test_widerface_to_kitti_refuses(case, tmp_path, capsys):
    makes, words, line = WIDER[case]
    root = makes(tmp_path / "wider")
    said = refused(widerface_to_kitti, [f"faces={root}", *words], tmp_path, capsys)
    assert said.replace(str(root), "<f>") == f"data_widerface_to_kitti: {line}\n"


COCO = {
    "no_images": (lambda r: shutil.rmtree(kitti(r) / "images"), [], "kitti='<f>': has no folder images/; known names: images, image_2, image"),
    "no_labels": (lambda r: shutil.rmtree(kitti(r) / "labels"), [], "kitti='<f>': has no folder labels/; known names: labels, label_2, label"),
    "no_image": (
        lambda r: (kitti(r) / "images" / "a.jpg").rename(r / "images" / "a.tiff"),
        [],
        "kitti='<f>': has no image in images/; put the images (.jpg, .jpeg, .png, .bmp) there",
    ),
    "both_alone": (
        lambda r: (kitti(r, a=GOOD, b=GOOD) / "labels" / "a.txt").rename(r / "labels" / "c.txt"),
        [],
        "kitti='<f>': holds an image without a label: a.jpg; add the label (empty where there is nothing to mark)\n"
        "data_kitti_to_coco: kitti='<f>': holds a label without an image: c.txt; add the image, or remove the label",
    ),
    "two_images_of_a_name": (
        lambda r: shutil.copyfile(PHOTO, kitti(r) / "images" / "a.png"),
        [],
        "kitti='<f>': holds a.jpg and a.png, which share a label; remove one of them",
    ),
    "broken_image": (
        lambda r: touched(kitti(r) / "images" / "a.jpg"),
        [],
        "kitti='<f>': holds an image that cannot be read: a.jpg is empty; replace or remove it with its label",
    ),
    "malformed": (
        lambda r: kitti(r, a=GOOD + "car 1 2\n", b="x\n", c="y\n", d="z\n"),
        [],
        "kitti='<f>': holds a label line that is not a name and 14 numbers: a.txt line 2, b.txt line 1, c.txt line 1 and 1 more; correct it",
    ),
    "nothing_left": (
        lambda r: kitti(r, a="car 0 0 0 9 9 1 1 0 0 0 0 0 0 0\nDontCare 0 0 0 1 1 9 9 0 0 0 0 0 0 0\n"),
        [],
        "kitti='<f>': no box is left (boxes_dropped_dontcare 1, boxes_dropped_flat 1); let more pass",
    ),
    "empty_labels": (lambda r: kitti(r, a=""), [], "kitti='<f>': no box is left (the labels are empty); let more pass"),
    "other_classes": (
        lambda r: touched(kitti(r) / "c.yaml", "[bus]"),
        ["categories=<f>/c.yaml"],
        "kitti='<f>': no box is left (boxes_dropped_unmapped 1); let more pass",
    ),
    "no_categories": (
        lambda r: touched(kitti(r) / "c.yaml", "7"),
        ["categories=<f>/c.yaml"],
        "categories='<f>/c.yaml': is neither a list of classes nor {class: id}; write one of the two",
    ),
    "no_yaml": (
        lambda r: touched(kitti(r) / "c.yaml", "{"),
        ["categories=<f>/c.yaml"],
        "categories='<f>/c.yaml': is neither YAML nor JSON; write a list, or {class: id}",
    ),
    "no_id": (
        lambda r: touched(kitti(r) / "c.yaml", "{car: one, bus: -1}"),
        ["categories=<f>/c.yaml"],
        "categories='<f>/c.yaml': gives no id to car: one, bus: -1; write whole numbers from 0",
    ),
    "class_twice": (
        lambda r: touched(kitti(r) / "c.yaml", "[car, car]"),
        ["categories=<f>/c.yaml"],
        "categories='<f>/c.yaml': names a class twice; name each once",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", COCO)
def test_kitti_to_coco_refuses(case, tmp_path, capsys):
    makes, words, line = COCO[case]
    root = tmp_path / "data"
    makes(root)
    filled = [word.replace("<f>", str(root)) for word in words]
    said = refused(kitti_to_coco, [f"kitti={root}", *filled], tmp_path, capsys)
    assert said.replace(str(root), "<f>") == f"data_kitti_to_coco: {line}\n"
