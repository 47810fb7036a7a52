"""WIDER FACE to KITTI to COCO as whole steps: on real photographs, over processes, stopped."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from data_support import GOOD, PHOTO, ROOT, SAMPLE, SPLIT, command, environment, kitti, run, touched
from PIL import Image

from tests.fakes.triton_server import processes


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
    (run_folder,) = (tmp_path / "runs").glob("faces_coco-*")
    coco = json.loads((run_folder / "outputs" / "coco" / "annotations.json").read_text())
    assert [(i["width"], i["height"]) for i in coco["images"]] == [(368, 208)]
    assert [box["bbox"] for box in coco["annotations"]] == [[122.19, 44.37, 142.31, 73.5]]


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
