"""WIDER FACE to KITTI to COCO as whole steps: on real photographs, over processes, stopped, and on what is no input."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from data_support import ROOT, command, environment, run
from PIL import Image

from runtime.component import Component
from runtime.data.kitti_to_coco import kitti_to_coco
from runtime.data.widerface_to_kitti import widerface_to_kitti
from runtime.execute import main
from tests.fakes.triton_server import processes

SAMPLE = Path(__file__).parents[1] / "data" / "wider"
PHOTO = SAMPLE / "WIDER_train" / "images" / "0--Portrait" / "0_Portrait_Navy_0_1.jpg"
SPLIT = "wider_face_split/wider_face_train_bbx_gt.txt"


def digests(folder: Path) -> dict[str, str]:
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def many(root: Path, count: int) -> Path:
    """A dataset of `count` images, all of them one real photograph, with a face each."""
    lines = []
    for number in range(count):
        name = f"{number % 3}--Event/{number % 3}_Event_{number:05}.jpg"
        path = root / "WIDER_train" / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(PHOTO)
        lines += [name, "1", f"{80 + number % 9} 64 99 106 0 0 0 0 0 0 "]
    (root / "wider_face_split").mkdir()
    (root / SPLIT).write_text("\n".join(lines) + "\n")
    return root


def test_the_sample_becomes_kitti_and_coco_and_every_face_is_accounted_for(tmp_path):
    done = run("widerface_to_kitti", f"faces={SAMPLE}", "size=736x416", "kitti=kitti", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(digests(tmp_path / "kitti")) == [
        "images/0_Portrait_Navy_0_1.jpg",
        "labels/0_Portrait_Navy_0_1.txt",
        "preview.jpg",
        "report.json",
    ]
    assert json.loads((tmp_path / "kitti" / "report.json").read_text()) == {
        "split": "train",
        "size": "736x416",
        "counts": {
            "images_read": 2,
            "images_written": 1,
            "images_dropped_no_face": 1,
            "faces_read": 3,
            "faces_written": 1,
            "faces_dropped_invalid": 1,
            "faces_dropped_no_size": 1,
        },
        "broken": [],
    }
    label = (tmp_path / "kitti" / "labels" / "0_Portrait_Navy_0_1.txt").read_text()
    assert label == "face 0.00 0 0.00 244.38 88.75 529.00 235.73 0.00 0.00 0.00 0.00 0.00 0.00 0.00\n"
    assert run("kitti_to_coco", "kitti=kitti", "coco=coco", "first_id=0", cwd=tmp_path).returncode == 0
    coco = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    assert coco == {
        "images": [{"id": 1, "file_name": "0_Portrait_Navy_0_1.jpg", "width": 736, "height": 416}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 0,
                "bbox": [244.38, 88.75, 284.62, 146.98],
                "area": 41833.45,
                "iscrowd": 0,
            }
        ],
        "categories": [{"id": 0, "name": "face"}],
    }
    for name in ("kitti", "coco"):
        with Image.open(tmp_path / name / "preview.jpg") as sheet:
            sheet.load()


def test_one_process_or_many_the_bytes_are_the_same(tmp_path):
    faces = many(tmp_path / "wider", 90)
    for workers in ("1", "3"):
        words = [f"faces={faces}", "size=64x48", f"workers={workers}", f"kitti={workers}"]
        assert run("widerface_to_kitti", *words, cwd=tmp_path).returncode == 0
        words = [f"kitti={workers}", f"workers={workers}", f"coco=coco{workers}"]
        assert run("kitti_to_coco", *words, cwd=tmp_path).returncode == 0
    assert len(digests(tmp_path / "1")) == 2 * 90 + 2
    assert digests(tmp_path / "1") == digests(tmp_path / "3")
    assert digests(tmp_path / "coco1") == digests(tmp_path / "coco3")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_conversion_that_is_stopped_leaves_no_process_and_no_output(tmp_path, number):
    faces = many(tmp_path / "wider", 3000)
    words = [f"faces={faces}", "size=1600x1600", "workers=2", "kitti=out"]
    process = subprocess.Popen(
        command("widerface_to_kitti", *words), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 30
    while len(list(tmp_path.glob(".out.partial-*/out/images/*"))) < 20:
        assert time.monotonic() < until
        time.sleep(0.05)
    family = children(process.pid)
    assert len(family) >= 2
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    if number == signal.SIGTERM:
        assert (process.returncode, said) == (130, "data_widerface_to_kitti: stopped; no output was written\n")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["wider"]
    assert gone(family)


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return found


def gone(pids: list[int], within_s: float = 8.0) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if not set(pids) & set(processes("python")):
            return True
        time.sleep(0.05)
    return False


def test_the_pipeline_goes_from_a_manifest_to_coco(tmp_path):
    file = ROOT / "component_specs" / "pipelines" / "faces_coco.yaml"
    argv = [sys.executable, "-m", "runtime", "pipeline", str(file), "--no-mlflow", "size=368x208"]
    done = subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (run_folder,) = (tmp_path / "runs").iterdir()
    coco = json.loads((run_folder / "outputs" / "coco" / "annotations.json").read_text())
    assert [(i["width"], i["height"]) for i in coco["images"]] == [(368, 208)]
    assert [box["bbox"] for box in coco["annotations"]] == [[122.19, 44.37, 142.31, 73.5]]


# --- bad input --------------------------------------------------------------------------------------------------------


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


def kitti(root: Path, images: str = "images", **labels: str) -> Path:
    """A dataset with one photograph for each label."""
    for name in (images, "labels"):
        (root / name).mkdir(parents=True)
    for stem, text in (labels or {"a": "car 0 0 0 1 1 9 9 0 0 0 0 0 0 0\n"}).items():
        shutil.copyfile(PHOTO, root / images / f"{stem}.jpg")
        (root / "labels" / f"{stem}.txt").write_text(text)
    return root


def touched(path: Path, text: str = "") -> Path:
    path.write_text(text)
    return path


GOOD = "car 0 0 0 1 1 9 9 0 0 0 0 0 0 0\n"
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


def test_the_kitti_benchmarks_own_names_of_folders_will_do_and_given_ids_are_kept(tmp_path):
    kitti(tmp_path / "data", a=GOOD + GOOD.replace("car", "bus") + GOOD.replace("car", "tree"))
    (tmp_path / "data" / "images").rename(tmp_path / "data" / "image_2")
    (tmp_path / "data" / "labels").rename(tmp_path / "data" / "label_2")
    touched(tmp_path / "ids.yaml", "{bus: 5, car: 0}\n")
    assert run("kitti_to_coco", "kitti=data", "categories=ids.yaml", "coco=out", cwd=tmp_path).returncode == 0
    coco = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert coco["categories"] == [{"id": 0, "name": "car"}, {"id": 5, "name": "bus"}]
    assert [box["category_id"] for box in coco["annotations"]] == [0, 5]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["unmapped"], report["counts"]["boxes_dropped_unmapped"]) == ({"tree": 1}, 1)
