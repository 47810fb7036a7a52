"""The label formats: WIDER FACE read with its quirks, KITTI written and read, COCO as a plain reference has it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime.data import face_labels, kitti, kitti_read, kitti_to_coco, parallel, pictures, widerface
from runtime.data.face_labels import Job, Rules
from runtime.data.kitti import Box
from runtime.errors import BadInput

SAMPLE = Path(__file__).parents[1] / "data" / "wider"
ALL = Rules(0, 0, skip_invalid=False, max_occlusion=2, max_blur=2, size=None, keep_empty=True)


def picture(path: Path, size: tuple[int, int] = (64, 48), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


# --- WIDER FACE -------------------------------------------------------------------------------------------------------


def test_the_sample_is_read_with_its_quirks() -> None:
    images = widerface.read("faces", SAMPLE / "wider_face_split" / "wider_face_train_bbx_gt.txt")
    assert [(i.name, len(i.faces)) for i in images] == [
        ("0--Portrait/0_Portrait_Navy_0_1.jpg", 3),
        ("1--Temple/1_Temple_China_1_1.jpg", 0),
    ]
    assert images[0].faces[2] == widerface.Face(180, 238, 20, 22, blur=1, invalid=True, occlusion=1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ": lists no image; give wider_face_<split>_bbx_gt.txt"),
        ("a.jpg\n", ":2': ends where the number of faces should be; get the file again, or correct the line"),
        ("a.jpg\nb.jpg\n", ":2': has 'b.jpg' where the number of faces should be"),
        ("a.jpg\n1\n", ":3': ends where a face of 10 whole numbers should be"),
        ("a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\nb.jpg\n", ":4': has 'b.jpg' where a face of 10 whole numbers should be"),
        ("a.jpg\n1\n1 2 3 4\n", ":3': has '1 2 3 4' where a face of 10 whole numbers should be"),
        ("../a.jpg\n0\n", ":1': has '../a.jpg' where the path of an image should be"),
        ("1 2 3\n", ":1': has '1 2 3' where the path of an image should be"),
    ],
)
def test_a_mistake_in_the_annotations_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "gt.txt"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        widerface.read("faces", path)
    assert told in str(refused.value)


FACE = st.tuples(*[st.integers(-50, 1000)] * 2, *[st.integers(0, 300)] * 2, st.integers(0, 2), *[st.integers(0, 1)] * 3, st.integers(0, 2), st.integers(0, 1))  # fmt: skip


@given(st.lists(st.lists(FACE, max_size=4), min_size=1, max_size=6), st.booleans())
def test_whatever_is_written_in_the_format_is_read_back(images: list[list[tuple[int, ...]]], blank: bool) -> None:
    lines = []
    for number, faces in enumerate(images):
        rows = faces or [(0,) * 10]
        end = " " if blank else ""
        lines += [f"e/{number}.jpg", str(len(faces)), *(" ".join(map(str, row)) + end for row in rows)]
    found = list(widerface._images("faces", Path("x"), lines))
    assert [i.name for i in found] == [f"e/{n}.jpg" for n in range(len(images))]
    assert [[(f.x, f.y, f.width, f.height) for f in i.faces] for i in found] == [
        [row[:4] for row in rows] for rows in images
    ]


def test_an_empty_image_without_its_line_of_zeros_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("a.jpg\n0\nb.jpg\n1\n1 2 3 4 0 0 0 0 0 0\n")
    assert [len(i.faces) for i in widerface.read("faces", tmp_path / "gt.txt")] == [0, 1]


# --- one image to KITTI -----------------------------------------------------------------------------------------------


def outcome(tmp_path: Path, faces: list[widerface.Face], **rules: object) -> face_labels.Outcome:
    source = picture(tmp_path / "a.png", (100, 50))
    made = Rules(**(vars(ALL) | rules))  # type: ignore[arg-type]
    return face_labels.convert(Job(source, tmp_path / "out.png", tmp_path / "out.txt", tuple(faces), made))


def face(*box: int, blur: int = 0, invalid: bool = False, occlusion: int = 0) -> widerface.Face:
    return widerface.Face(*box, blur, invalid, occlusion)


def test_a_face_is_dropped_for_the_first_reason_that_holds(tmp_path: Path) -> None:
    faces = [
        face(1, 1, 10, 10),
        face(1, 1, 0, 10, invalid=True),
        face(1, 1, 10, 10, invalid=True, blur=2),
        face(1, 1, 10, 10, occlusion=2),
        face(1, 1, 10, 10, blur=2),
        face(200, 1, 10, 10),
        face(95, 1, 10, 10),
    ]
    result = outcome(tmp_path, faces, skip_invalid=True, max_occlusion=1, max_blur=1, min_width_px=6)
    assert result.dropped == Counter(no_size=1, invalid=1, occluded=1, blurred=1, outside=1, too_small=1)
    assert (
        tmp_path / "out.txt"
    ).read_text() == "face 0.00 0 0.00 1.00 1.00 11.00 11.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00\n"


def test_a_box_over_the_border_is_cut_and_says_how_much(tmp_path: Path) -> None:
    (box,) = outcome(tmp_path, [face(-5, 0, 20, 10, occlusion=1)]).boxes
    assert (box.left, box.right, box.truncated, box.occluded) == (0, 15, 0.25, 1)


def test_boxes_are_scaled_with_the_image_and_the_limits_hold_after_it(tmp_path: Path) -> None:
    result = outcome(tmp_path, [face(10, 10, 20, 20), face(0, 0, 8, 8)], size=(50, 100), min_width_px=5)
    assert pictures.size_of(tmp_path / "out.png") == (50, 100)
    assert [(b.left, b.top, b.right, b.bottom) for b in result.boxes] == [(5.0, 20.0, 15.0, 60.0)]
    assert result.dropped == Counter(too_small=1)


def test_an_image_of_the_right_size_and_format_keeps_its_bytes(tmp_path: Path) -> None:
    outcome(tmp_path, [face(1, 1, 5, 5)], size=(100, 50))
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "a.png").read_bytes()


def test_an_image_without_a_face_is_left_out_unless_it_is_wanted(tmp_path: Path) -> None:
    assert outcome(tmp_path, [], keep_empty=False).wrong == "no face"
    assert not (tmp_path / "out.png").exists()
    assert outcome(tmp_path, []).written
    assert (tmp_path / "out.txt").read_text() == ""


@pytest.mark.parametrize(("data", "wrong"), [(b"", "is empty"), (b"hello", "is no image"), (None, "is cut short")])
def test_a_broken_image_is_left_out_with_its_faces(tmp_path: Path, data: bytes | None, wrong: str) -> None:
    source = picture(tmp_path / "a.jpg", (100, 50))
    source.write_bytes(source.read_bytes()[:2000] if data is None else data)
    rules = Rules(**(vars(ALL) | {"size": (10, 10)}))
    result = face_labels.convert(Job(source, tmp_path / "o.jpg", tmp_path / "o.txt", (face(1, 1, 5, 5),), rules))
    assert (result.wrong, result.dropped) == (wrong, Counter(broken_image=1))
    assert not (tmp_path / "o.jpg").exists()


# --- KITTI ------------------------------------------------------------------------------------------------------------

NUMBER = st.floats(-1e4, 1e4).map(lambda value: round(value, 2))


@given(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), st.integers(0, 3))
def test_a_line_that_was_written_is_read_back(corners: tuple[float, float, float, float], occluded: int) -> None:
    box = Box("Car", *corners, truncated=0.25, occluded=occluded)
    assert kitti.parse(box.line()) == box
    assert len(box.line().split()) == 15


@pytest.mark.parametrize(
    "line", ["", "car", "car 0 0 0 1 2 3 4", "car 0 0 0 1 2 3 x 0 0 0 0 0 0 0", "car 0 0 0 1 2 3 nan 0 0 0 0 0 0 0"]
)
def test_a_line_that_is_no_label_is_none(line: str) -> None:
    assert kitti.parse(line) is None


def test_a_score_at_the_end_of_a_line_is_allowed() -> None:
    assert kitti.parse(Box("car", 1, 2, 3, 4).line().strip() + " 0.9") == Box("car", 1, 2, 3, 4)


# --- KITTI to COCO ----------------------------------------------------------------------------------------------------


def dataset(root: Path, count: int = 7) -> Path:
    rng = np.random.default_rng(5)
    for number in range(count):
        size = int(rng.integers(30, 90)), int(rng.integers(30, 90))
        picture(root / "images" / f"{number:02}.png", size, number)
        lines = []
        for _ in range(int(rng.integers(0, 6))):
            left, top, right, bottom = (float(v) for v in rng.uniform(-20, 100, 4).round(2))
            name = ["car", "van", "DontCare", "person"][int(rng.integers(0, 4))]
            lines.append(Box(name, left, top, right, bottom).line())
        label = root / "labels" / f"{number:02}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text("".join(lines))
    return root


def reference(root: Path, ids: dict[str, int]) -> dict[str, object]:
    """The same conversion, as plainly as it can be written."""
    images, boxes = [], []
    for number, path in enumerate(sorted((root / "images").iterdir()), start=1):
        with Image.open(path) as image:
            width, height = image.size
        images.append({"id": number, "file_name": path.name, "width": width, "height": height})
        for line in (root / "labels" / f"{path.stem}.txt").read_text().splitlines():
            name, *rest = line.split()
            x1, y1, x2, y2 = map(float, rest[3:7])
            if name not in ids or x2 <= x1 or y2 <= y1:
                continue
            x1, x2 = (min(max(x, 0), width) for x in (x1, x2))
            y1, y2 = (min(max(y, 0), height) for y in (y1, y2))
            if x2 - x1 < 1 or y2 - y1 < 1:
                continue
            bbox = [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)]
            boxes.append({"id": len(boxes) + 1, "image_id": number, "category_id": ids[name], "bbox": bbox, "area": round(bbox[2] * bbox[3], 2), "iscrowd": 0})  # fmt: skip
    return {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": i, "name": n} for n, i in sorted(ids.items())],
    }


def test_the_result_is_that_of_the_plain_reference(tmp_path: Path) -> None:
    root = dataset(tmp_path, 60)
    pairs = [kitti_read.Pair(p, root / "labels" / f"{p.stem}.txt", 1.0) for p in sorted((root / "images").iterdir())]
    read = [kitti_read.read(pair) for pair in pairs]
    ids = {"car": 1, "person": 2, "van": 3}
    found = kitti_to_coco.document(read, ids)
    assert len(found["annotations"]) > 15
    assert json.loads(json.dumps(found)) == reference(root, ids)
    assert all(
        sum((r.dropped for r in read), Counter())[reason] for reason in ("dontcare", "flat", "outside", "clipped")
    )


def test_classes_with_one_id_are_one_category(tmp_path: Path) -> None:
    read = [kitti_read.read(kitti_read.Pair(picture(tmp_path / "a.png"), label(tmp_path), 1.0))]
    found = kitti_to_coco.document(read, {"car": 7, "van": 7})
    assert found["categories"] == [{"id": 7, "name": "car"}]
    assert [box["category_id"] for box in found["annotations"]] == [7, 7]


def label(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text(Box("car", 1, 1, 9, 9).line() + Box("van", 2, 2, 9, 9).line())
    return tmp_path / "a.txt"


# --- both -------------------------------------------------------------------------------------------------------------


def test_the_order_of_results_is_that_of_the_items_over_processes_too() -> None:
    items = list(range(-100, 100))
    assert parallel.each(abs, items, "numbers", 2) == [abs(item) for item in items]


def test_the_sheet_shows_twelve_spread_over_all(tmp_path: Path) -> None:
    marked = [pictures.Marked(picture(tmp_path / f"{n}.png", seed=n), (("car", 2, 2, 30, 30),)) for n in range(30)]
    pictures.preview(marked, tmp_path / "sheet.jpg")
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.size == (4 * 326 + 6, 3 * 342 + 6)
