"""The layouts `coco` and `odvg`: each mistake, with its exact line."""

import json

import pytest
from PIL import Image

from tests.fakes import tao_datasets as data

FITS = {"dataset.num_classes": 3}
JSON = "dataset.train_data_sources.0.json_file='<d>/annotations/train.json'"
IMAGES = "dataset.train_data_sources.0.image_dir='<d>/train'"


@pytest.fixture
def root(tmp_path):
    data.coco(tmp_path)
    return tmp_path


def said(root, edit=None, action="train", network="rtdetr", changes=None):
    if edit:
        data.edit_json(root / "annotations" / "train.json", edit)
    return data.lines(network, action, root, {**FITS, **(changes or {})})


@pytest.mark.parametrize("action", ["train", "evaluate", "inference", "distill", "quantize", "export"])
@pytest.mark.parametrize("network", ["rtdetr", "codetr"])
def test_a_good_coco_dataset_has_no_findings(root, network, action):
    assert said(root, action=action, network=network) == []


def test_num_classes_counts_from_category_0(root):
    wrong = "the annotations have 2 as the largest category id (coat), and ids count from 0; set it to 3"
    assert said(root, changes={"dataset.num_classes": 2}) == [f"dataset.num_classes=2: {wrong}"]
    assert said(root, changes={"dataset.num_classes": 91}) == [f"warning: dataset.num_classes=91: {wrong}"]


def test_num_classes_is_the_number_of_categories_where_tao_renumbers_them(root):
    changes = {"dataset.contiguous_labels": True, "dataset.num_classes": 2}
    assert said(root, network="dino", changes=changes) == []
    assert said(root, network="dino", changes={**changes, "dataset.num_classes": 1}) == [
        "dataset.num_classes=1: the annotations have 2 categories, which dataset.contiguous_labels renumbers; set it to 2"
    ]


def test_a_file_that_is_no_json_says_where(root):
    (root / "annotations" / "train.json").write_text('{"images": [\n,')
    wrong = "is no JSON: line 2, column 1: Expecting value"
    assert said(root) == [f"{JSON}: {wrong}; give the annotation file as JSON"]


def test_a_missing_annotation_file_is_named(root):
    (root / "annotations" / "train.json").unlink()
    assert said(root) == [f"{JSON}: does not exist; give the annotation file"]


def test_a_json_that_is_not_coco_is_told(root):
    (root / "annotations" / "train.json").write_text('{"images": []}')
    assert said(root) == [f"{JSON}: has no list of annotations and of categories; give a COCO annotation file"]


def test_records_without_their_fields_are_counted(root):
    def edit(d):
        del d["images"][3]["file_name"]
        del d["annotations"][3]
        del d["annotations"][0]["area"]
        d["annotations"][1]["bbox"] = [1, 2, 3]

    assert said(root, edit) == [
        f"{JSON}: holds 1 of its image records without a usable 'file_name'; write it for each",
        f"{JSON}: holds 1 of its annotation records without a usable 'area'; write it for each",
        f"{JSON}: holds 1 of its annotation records without a usable 'bbox'; write it for each",
        "dataset.batch_size=4: train has 3 samples, less than one batch on 1 GPU; set it to 3 or less, or add samples",
        f"warning: {JSON}: holds 2 images without an annotation (0.png, 1.png);"
        " nothing, when they show nothing of interest",
        f"warning: {IMAGES}: holds 1 image that train.json does not name (3.png);"
        " nothing, when they are to be left out",
    ]


def test_annotations_of_what_does_not_exist_are_errors(root):
    def edit(d):
        d["annotations"] += [
            {"id": 8, "image_id": 99, "category_id": 1, "bbox": data.BOX, "area": 1},
            {"id": 9, "image_id": 0, "category_id": 7, "bbox": data.BOX, "area": 1},
        ]

    assert said(root, edit) == [
        f"{JSON}: holds 1 image_id value that no image has (99); add the image or remove its annotations",
        f"{JSON}: holds 1 category_id value that no category has (7); add the category or remove its annotations",
    ]


def test_ids_given_twice_are_errors(root):
    def edit(d):
        d["images"].append(d["images"][0])
        d["categories"].append({"id": 2, "name": "scarf"})

    assert said(root, edit) == [
        f"{JSON}: holds 1 image id more than once (id 0); give each its own id",
        f"{JSON}: holds 1 category id more than once (id 2); give each its own id",
    ]


def test_boxes_outside_or_without_size_are_told(root):
    def edit(d):
        d["annotations"][0]["bbox"] = [0, 0, 0, 5]
        d["annotations"][1]["bbox"] = [10, 0, 10, 5]

    assert said(root, edit) == [
        f"warning: {JSON}: holds 1 box without width or height, which TAO drops (0.png [0, 0, 0, 5]);"
        " correct them: [x, y, width, height]",
        f"warning: {JSON}: holds 1 box reaching outside the image, which TAO cuts (1.png [10, 0, 10, 5]);"
        " correct them: [x, y, width, height] in pixels",
    ]


def test_images_without_annotations_are_told_and_no_annotation_at_all_is_an_error(root):
    assert said(root, lambda d: d["annotations"].pop()) == [
        f"warning: {JSON}: holds 1 image without an annotation (3.png); nothing, when they show nothing of interest"
    ]
    assert said(root, lambda d: d["annotations"].clear()) == [
        f"{JSON}: annotates none of its images; give the annotations of these images"
    ]


def test_images_that_are_missing_unnamed_or_broken_are_three_lines(root):
    (root / "train" / "0.png").rename(root / "train" / "x.png")
    (root / "train" / "1.png").write_bytes(b"")
    assert said(root) == [
        f"{IMAGES}: lacks 1 image of train.json (0.png); give the folder that file_name counts from, or add them",
        f"{IMAGES}: holds 1 image that cannot be read (1.png is empty); replace or remove them",
        f"warning: {IMAGES}: holds 1 image that train.json does not name (x.png);"
        " nothing, when they are to be left out",
    ]


def test_an_image_of_another_size_than_written_is_an_error(root):
    data.picture(root / "train" / "0.png", (32, 24))
    wrong = "holds 1 image of another size than the annotation file says (0.png is 32x24)"
    assert said(root) == [f"{IMAGES}: {wrong}; give the images that were annotated"]


def test_an_image_that_exif_turns_has_the_size_after_the_turn(root):
    turned = Image.new("RGB", (12, 16))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "train" / "0.jpg", exif=exif)
    assert said(root, lambda d: d["images"][0].update(file_name="0.jpg")) == [
        f"warning: {IMAGES}: holds 1 image that train.json does not name (0.png);"
        " nothing, when they are to be left out",
    ]


def test_the_class_map_has_a_category_in_the_line_of_its_id(root):
    (root / "classmap.txt").write_text("hat\ncoat\n")
    assert said(root, action="inference") == [
        "dataset.infer_data_sources.classmap='<d>/classmap.txt': differs from val.json in 2 categories by its line"
        " (1 is 'hat' there and 'coat' here, 2 is 'coat' there and '' here);"
        " write the name of category 0 in the first line, of 1 in the second, and so on"
    ]
    assert said(root, action="inference", network="dino") == []


def test_images_inside_hdf5_files_are_left_to_tao(root):
    (root / "train" / "0.png").unlink()
    assert said(root, lambda d: d["images"][0].update(file_name="h5://[scene]:0.png")) == []


def odvg(root):
    data.coco(root, first=0)
    lines = [
        {"file_name": f"{i}.png", "detection": {"instances": [{"bbox": [2, 2, 10, 10], "label": i % 2}]}}
        for i in range(4)
    ]
    (root / "annotations" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data.write_json(root / "annotations" / "train_labelmap.json", {"0": "hat", "1": "coat"})


def test_a_good_odvg_dataset_has_no_findings(tmp_path):
    odvg(tmp_path)
    for action in ("train", "evaluate", "inference"):
        assert data.lines("grounding_dino", action, tmp_path) == []


def test_mistakes_in_odvg_lines_are_named_by_line(tmp_path):
    odvg(tmp_path)
    lines = (tmp_path / "annotations" / "train.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace('"label": 0', '"label": 5').replace("0.png", "9.png")
    lines[1] = lines[1].replace("[2, 2, 10, 10]", "[2, 2, 1, 1]")
    (tmp_path / "annotations" / "train.jsonl").write_text("\n".join([*lines, "{"]) + "\n")
    place = "dataset.train_data_sources.0.json_file='<d>/annotations/train.jsonl'"
    assert data.lines("grounding_dino", "train", tmp_path) == [
        f"{place}: holds 1 line without file_name and detection.instances with boxes of four numbers (line 5);"
        " write them so",
        f"{place}: holds 1 box without width or height (line 2);"
        " write [left, top, right, bottom], not COCO's width and height",
        f"{place}: holds 1 label that train_labelmap.json does not have (5 in line 1);"
        " add it to the label map: its keys are numbers as text",
        f"{IMAGES}: lacks 1 image of train.jsonl (9.png); give the folder that file_name counts from, or add them",
    ]


def test_category_ids_of_grounding_start_at_0(tmp_path):
    odvg(tmp_path)
    data.coco(tmp_path, first=1)
    assert data.lines("grounding_dino", "evaluate", tmp_path) == [
        "dataset.test_data_sources.json_file='<d>/annotations/val.json': has category ids 1 to 2 for 2 categories;"
        " number them 0 to 1: an id is a place in the prompt"
    ]
