"""The real nvidia-tao-ds on a CPU, on two real photographs. It is in the cache, or where NGCRUN_TAO_DS_ENV says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from runtime.tao import env

BOXES = {  # drawn by hand, in pixels: x1 y1 x2 y2
    "china": [("temple", 118, 20, 520, 330), ("roof", 160, 60, 470, 170), ("tree", 0, 150, 110, 330)],
    "flower": [("flower", 180, 40, 450, 300), ("leaf", 0, 300, 120, 420)],
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/ and labels/ (KITTI); fails where nvidia-tao-ds is not installed."""
    assert (env.folder_of("ds") / "bin" / "annotations").is_file(), "make it: python -m runtime.tao.env ds"
    root = tmp_path_factory.mktemp("photographs")
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    found = load_sample_images()
    for file, pixels in zip(found.filenames, found.images, strict=True):
        name = Path(file).stem
        Image.fromarray(pixels).save(root / "images" / f"{name}.jpg", quality=95)
        rows = [f"{label} 0 0 0 {x1} {y1} {x2} {y2} 0 0 0 0 0 0 0\n" for label, x1, y1, x2, y2 in BOXES[name]]
        (root / "labels" / f"{name}.txt").write_text("".join(rows))
    return root


def step(name: str, **ports: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", f"runtime.tao.{name}", *(f"--{port}={value}" for port, value in ports.items())]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=300)


def kitti_boxes(folder: Path) -> dict[str, list[tuple[str, float, float, float, float]]]:
    rows = {p.stem: [line.split() for line in p.read_text().splitlines()] for p in sorted(folder.glob("*.txt"))}
    return {name: [(r[0], *(float(v) for v in r[4:8])) for r in lines] for name, lines in rows.items()}


def named_boxes(coco: dict[str, list[dict[str, object]]]) -> list[tuple[object, object]]:
    names = {category["id"]: category["name"] for category in coco["categories"]}
    return [(names[box["category_id"]], box["bbox"]) for box in coco["annotations"]]


@pytest.fixture(scope="module")
def coco(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco") / "converted"
    done = step("annotations", labels=photographs, images=photographs, source="kitti", target="coco", converted=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_kitti_becomes_coco_with_the_same_boxes_and_ids_in_alphabetical_order(coco: Path) -> None:
    made = json.loads((coco / "annotations.json").read_text())
    assert [(i["id"], i["file_name"], i["width"], i["height"]) for i in made["images"]] == [
        (1, "china.jpg", 640, 427),
        (2, "flower.jpg", 640, 427),
    ]
    names = {c["id"]: c["name"] for c in made["categories"]}
    assert names == {1: "flower", 2: "leaf", 3: "roof", 4: "temple", 5: "tree"}
    found = [(b["image_id"], names[b["category_id"]], *b["bbox"]) for b in made["annotations"]]
    rows = [(n, label, x1, y1, x2 - x1, y2 - y1) for n, k in enumerate(BOXES, 1) for label, x1, y1, x2, y2 in BOXES[k]]
    assert found == rows


def test_our_own_conversion_agrees_with_taos(coco: Path, photographs: Path, tmp_path: Path) -> None:
    words = [f"kitti={photographs}", f"coco={tmp_path / 'ours'}"]
    subprocess.run([sys.executable, "-m", "runtime.data.kitti_to_coco", *words], check=True, capture_output=True)
    ours, theirs = (json.loads((folder / "annotations.json").read_text()) for folder in (tmp_path / "ours", coco))
    assert [{k: i[k] for k in ("id", "file_name", "width", "height")} for i in theirs["images"]] == ours["images"]
    assert [{k: c[k] for k in ("id", "name")} for c in theirs["categories"]] == ours["categories"]
    fields = ("id", "image_id", "category_id", "bbox")
    assert [[b[k] for k in fields] for b in theirs["annotations"]] == [
        [b[k] for k in fields] for b in ours["annotations"]
    ]


def test_and_back_to_the_same_kitti(coco: Path, tmp_path: Path) -> None:
    done = step("annotations", labels=coco, source="coco", target="kitti", converted=tmp_path / "back")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "back" / "labels").iterdir()) == ["china.txt", "flower.txt"]
    assert kitti_boxes(tmp_path / "back" / "labels") == BOXES


def test_coco_becomes_odvg_and_is_the_same_coco_again(coco: Path, tmp_path: Path) -> None:
    for source, target, labels in (("coco", "odvg", coco), ("odvg", "coco", tmp_path / "odvg")):
        done = step("annotations", labels=labels, source=source, target=target, converted=tmp_path / target)
        assert done.returncode == 0, done.stderr
    first, last = (json.loads((folder / "annotations.json").read_text()) for folder in (coco, tmp_path / "coco"))
    for made in (first, last):
        made["categories"] = [(category["id"], category["name"]) for category in made["categories"]]
    assert last == first


def test_categories_with_gaps_become_contiguous(coco: Path, tmp_path: Path) -> None:
    made = json.loads((coco / "annotations.json").read_text())
    for row, key in [*((c, "id") for c in made["categories"]), *((b, "category_id") for b in made["annotations"])]:
        row[key] *= 10
    (tmp_path / "gaps.json").write_text(json.dumps(made))
    done = step("annotations", labels=tmp_path / "gaps.json", source="coco", target="coco", converted=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert sorted(c["id"] for c in found["categories"]) == [0, 1, 2, 3, 4]  # TAO's own choice: from 0
    assert named_boxes(found) == named_boxes(made)


def test_damaged_labels_fail_and_leave_no_output(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"images": [')
    done = step(
        "annotations", labels=tmp_path / "broken.json", source="coco", target="kitti", converted=tmp_path / "out"
    )
    assert done.returncode == 3
    assert "annotations convert: JSONDecodeError: " in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["kitti", "coco"])
def test_analytics_counts_every_box(photographs: Path, coco: Path, tmp_path: Path, form: str) -> None:
    labels = coco if form == "coco" else photographs
    report = tmp_path / "report"
    done = step("analytics", images=photographs, labels=labels, format=form, report=report)
    assert done.returncode == 0, done.stderr
    rows = (report / "csv" / "valid_data.csv").read_text().splitlines()
    assert len(rows) == 1 + sum(map(len, BOXES.values()))
    assert sorted(p.name for p in (report / "graphs").iterdir()) >= ["Area.pdf", "Image.pdf"]


def test_validation_of_good_labels_succeeds(photographs: Path, tmp_path: Path) -> None:
    done = step(
        "analytics", images=photographs, labels=photographs, format="kitti", action="validate", report=tmp_path / "r"
    )
    assert done.returncode == 0, done.stderr
    assert "finished successfully" in (tmp_path / "r" / "validate" / "status.json").read_text()


def test_augmentation_mirrors_the_pixels_and_the_boxes_alike(photographs: Path, tmp_path: Path) -> None:
    import numpy

    done = step(
        "augmentation", images=photographs, labels=photographs, format="kitti", width=320, height=240,
        flip_horizontal=True, device="cpu", augmented=tmp_path / "new",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, boxes in kitti_boxes(tmp_path / "new" / "labels").items():
        wanted = [((640 - x2) / 2, y1 * 240 / 427, (640 - x1) / 2, y2 * 240 / 427) for _, x1, y1, x2, y2 in BOXES[name]]
        assert [b[0] for b in boxes] == [b[0] for b in BOXES[name]]
        assert [b[1:] for b in boxes] == [pytest.approx(w, abs=0.01) for w in wanted]
        with (
            Image.open(photographs / "images" / f"{name}.jpg") as old,
            Image.open(tmp_path / "new" / "images" / f"{name}.jpg") as new,
        ):
            assert new.size == (320, 240)
            mirrored = old.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((320, 240))
            apart = numpy.abs(numpy.asarray(mirrored, float) - numpy.asarray(new, float)).mean()
            unturned = numpy.abs(numpy.asarray(old.resize((320, 240)), float) - numpy.asarray(new, float)).mean()
        assert apart < 12 < unturned, name


def test_augmentation_of_coco_writes_coco(photographs: Path, coco: Path, tmp_path: Path) -> None:
    done = step(
        "augmentation", images=photographs, labels=coco, format="coco", flip_vertical=True, device="cpu",
        augmented=tmp_path / "new",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "new" / "annotations.json").read_text())
    china = [b["bbox"] for b in made["annotations"] if b["image_id"] == 1]
    assert china == [[x1, 427 - y2, x2 - x1, y2 - y1] for _, x1, y1, x2, y2 in BOXES["china"]]
    assert sorted(p.name for p in (tmp_path / "new" / "images").iterdir()) == ["china.jpg", "flower.jpg"]
