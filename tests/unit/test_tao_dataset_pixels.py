"""The layouts `masks`, `pairs`, `ocr` and `icdar`: each mistake, with its exact line."""

import shutil

import pytest

from tests.fakes import tao_datasets as data

MASKS = "dataset.segment.root_dir='<d>/masks/train'"
IMAGES = "dataset.segment.root_dir='<d>/images/train'"
PALETTE = "add them to dataset.segment.palette, divided by 255 (label_transform: norm)"


@pytest.fixture
def masks(tmp_path):
    data.masks(tmp_path)
    return tmp_path


@pytest.mark.parametrize("action", ["train", "evaluate", "inference", "quantize", "export"])
def test_good_masks_have_no_findings(masks, action):
    assert data.lines("segformer", action, masks) == []


def test_inference_needs_no_masks(masks):
    shutil.rmtree(masks / "masks")
    assert data.lines("segformer", "inference", masks) == []


def test_a_missing_folder_of_masks_is_named(masks):
    shutil.rmtree(masks / "masks" / "train")
    wrong = "does not exist; lay it out as <root>/{images,masks}/<split>/"
    assert data.lines("segformer", "train", masks) == [f"{MASKS}: {wrong}"]


def test_images_and_masks_of_other_names_are_errors_because_tao_pairs_by_order(masks):
    (masks / "masks" / "train" / "0.png").rename(masks / "masks" / "train" / "9.png")
    todo = "name both alike: TAO pairs them by their place in the listing"
    assert data.lines("segformer", "train", masks) == [
        f"{IMAGES}: has 1 image without a mask of its name (0.png); {todo}",
        f"{IMAGES}: has 1 mask without an image of its name (9.png); {todo}",
    ]


def test_names_that_sort_differently_with_their_endings_are_an_error(masks):
    for name in ("a", "a.k"):
        data.picture(masks / "images" / "train" / f"{name}.bmp")
        data.mask(masks / "masks" / "train" / f"{name}.png")
    wrong = "lists its images in another order than the masks"
    todo = "name both alike: TAO pairs them by their place in the listing"
    assert data.lines("segformer", "train", masks) == [f"{IMAGES}: {wrong}; {todo}"]


def test_a_mask_of_another_size_is_an_error(masks):
    data.mask(masks / "masks" / "train" / "0.png", (8, 8))
    wrong = "holds 1 mask of another size than its image (0.png is 8x8, its image 16x12)"
    assert data.lines("segformer", "train", masks) == [f"{MASKS}: {wrong}; give the masks of these images"]


def test_a_colour_outside_the_palette_is_an_error(masks):
    changes = {"dataset.segment.label_transform": ""}
    wrong = "4 masks hold 1 colour outside the palette, which become class 0 ([255, 255, 255] in 4 of them)"
    found = data.lines("segformer", "train", masks, changes)
    assert found[0] == f"{MASKS}: {wrong}; add them to dataset.segment.palette"
    assert len(found) == 2


def test_class_numbers_that_norm_divides_away_are_told(masks):
    for index in range(4):
        data.mask(masks / "masks" / "train" / f"{index}.png", value=1)
    wrong = "holds masks with values between 0 and 255 ([1, 1, 1]), which label_transform=norm makes 0"
    assert data.lines("segformer", "train", masks) == [
        f"warning: {MASKS}: {wrong}; set label_transform to '' when the values are class numbers"
    ]


def test_num_classes_holds_every_number_of_the_palette(masks):
    assert data.lines("segformer", "train", masks, {"dataset.segment.num_classes": 1}) == [
        "dataset.segment.num_classes=1: the palette has 1 as the largest label_id, and ids count from 0; set it to 2"
    ]


@pytest.fixture
def pairs(tmp_path):
    data.pairs(tmp_path)
    return tmp_path


@pytest.mark.parametrize("action", ["train", "evaluate", "inference"])
def test_good_pairs_have_no_findings(pairs, action):
    assert data.lines("visual_changenet", action, pairs) == []


def test_a_line_without_its_files_is_an_error_for_each_folder(pairs):
    (pairs / "list" / "train.txt").write_text("0.png\n1.png\n2.png\n3.png\nx.png\n")
    (pairs / "list" / "val.txt").unlink()
    todo = "add them or remove their lines"
    assert data.lines("visual_changenet", "train", pairs) == [
        *(f"dataset.segment.root_dir='<d>/{name}': lacks 1 file of train.txt (x.png); {todo}" for name in ("A", "B")),
        f"dataset.segment.root_dir='<d>/label': lacks 1 file of train.txt (x.png); {todo}",
        "dataset.segment.validation_split='<d>/list/val.txt': does not exist;"
        " write the file names of the split, a line each",
    ]


def test_a_pair_of_two_sizes_is_an_error(pairs):
    data.picture(pairs / "B" / "0.png", (8, 8))
    wrong = "holds 1 image of another size than its pair (0.png is 8x8, in A 16x12); give images of one size"
    assert data.lines("visual_changenet", "evaluate", pairs) == [f"dataset.segment.root_dir='<d>/B': {wrong}"]


@pytest.fixture
def words(tmp_path):
    for split in ("train", "test"):
        for index in range(2):
            data.picture(tmp_path / split / f"{index}.png")
        (tmp_path / f"{split}_gt.txt").write_text("0.png\tab\n1.png\tba\n")
    (tmp_path / "characters.txt").write_text("a\nb\n")
    return tmp_path


SMALL = {"dataset.batch_size": 1}


def test_good_words_have_no_findings(words):
    for action in ("dataset_convert", "train", "evaluate", "inference"):
        assert data.lines("ocrnet", action, words, SMALL) == []


def test_words_lines_and_characters_are_checked(words):
    (words / "train_gt.txt").write_text("0.png axb\n9.png ab\n1.png a b\n")
    place = "dataset.train_gt_file='<d>/train_gt.txt'"
    assert data.lines("ocrnet", "train", words, {**SMALL, "dataset.max_label_length": 2}) == [
        f"{place}: holds 1 line that is not an image and a word with a blank between (line 3);"
        " correct them: TAO stops at the first",
        "dataset.train_dataset_dir.0='<d>/train': lacks 1 image of train_gt.txt (9.png);"
        " add them or remove their lines",
        f"{place}: holds 1 character outside the character list ('x' in 0.png);"
        " add it to dataset.character_list_file, or correct the word",
        "dataset.max_label_length=2: train_gt.txt holds 1 word that is longer (0.png has 3);"
        " raise it: TAO stops at the first",
    ]


def test_conversion_wants_a_tab(words):
    assert data.lines("ocrnet", "dataset_convert", words, {"dataset.batch_size": 16}) == []  # it makes no batches
    (words / "train_gt.txt").write_text("0.png ab\n")
    assert data.lines("ocrnet", "dataset_convert", words, SMALL)[0] == (
        "dataset.train_gt_file='<d>/train_gt.txt': holds 1 line that is not an image and a word with a tab between"
        " (line 1); correct them: TAO stops at the first"
    )


@pytest.fixture
def scenes(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "gt").mkdir(parents=True)
        for index in range(2):
            data.picture(tmp_path / split / "img" / f"{index}.png")
            (tmp_path / split / "gt" / f"gt_{index}.txt").write_text("1,1,9,1,9,9,1,9,word\n")
    return tmp_path


BATCH_1 = {"dataset.train_dataset.loader.batch_size": 1}


def test_good_scenes_have_no_findings(scenes):
    for action in ("train", "evaluate", "inference"):
        assert data.lines("ocdnet", action, scenes, BATCH_1) == []


def test_scenes_pair_up_and_their_lines_have_corners(scenes):
    gt = scenes / "train" / "gt"
    (gt / "gt_0.txt").rename(gt / "gt_9.txt")
    (gt / "gt_1.txt").write_text("1,1,9,word\n")
    place = "dataset.train_dataset.data_path.0='<d>/train'"
    assert data.lines("ocdnet", "train", scenes, BATCH_1) == [
        f"{place}: holds 1 image without a label gt/gt_<name>.txt (0.png);"
        " add the label: TAO stops at the first that is missing",
        f"warning: {place}: holds 1 label without an image (gt_9.txt); add the image, or remove it",
        f"warning: {place}: holds 1 line without eight numbers and a text, which TAO leaves out (gt_1.txt line 1);"
        " write x1,y1,x2,y2,x3,y3,x4,y4,text",
        f"warning: {place}: holds 1 label without a word, whose image TAO leaves out (gt_1.txt);"
        " nothing, when the image shows no text",
    ]
