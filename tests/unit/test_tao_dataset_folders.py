"""The layouts `image_folders` and `image_files`, and what holds for every layout: each mistake, with its exact line."""

import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from runtime.tao import network as networks
from runtime.tao.datasets import LAYOUTS, check
from tests.fakes import tao_datasets as data

NET = "classification_pyt"
TRAIN = "dataset.train_dataset.images_dir='<d>/train'"
TWO = {"dataset.num_classes": 2, "dataset.batch_size": 2}


@pytest.fixture
def root(tmp_path):
    data.classes(tmp_path)
    return tmp_path


def said(root, action="train", changes=None):
    return data.lines(NET, action, root, {**TWO, **(changes or {})})


def test_real_digits_in_folders_have_no_findings(tmp_path):
    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images[:200], digits.target[:200], strict=True)):
        folder = tmp_path / ("train" if index % 4 else "val") / f"digit_{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype(np.uint8)).save(folder / f"{index:03}.png")
    (tmp_path / "classes.txt").write_text("".join(f"digit_{n}\n" for n in range(10)))
    assert data.lines(NET, "train", tmp_path, {"dataset.batch_size": 16}) == []


@pytest.mark.parametrize(
    "action", ["train", "evaluate", "inference", "distill", "quantize", "export", "gen_trt_engine"]
)
def test_a_good_dataset_has_no_findings_for_any_action(root, action):
    assert said(root, action) == []


def test_a_missing_split_is_named(root):
    shutil.rmtree(root / "train")
    assert said(root) == [f"{TRAIN}: does not exist; put the images of a class into train/<class>/"]


def test_images_outside_class_folders_are_told(root):
    shutil.copy(root / "train" / "cat" / "0.png", root / "train" / "x.png")
    wrong = "holds 1 image outside the class folders, which TAO does not read (x.png)"
    assert said(root) == [f"warning: {TRAIN}: {wrong}; put the images of a class into train/<class>/"]


def test_a_split_without_class_folders_is_an_error(root):
    for folder in list((root / "train").iterdir()):
        shutil.rmtree(folder)
    assert said(root) == [f"{TRAIN}: holds no class folder; put the images of a class into train/<class>/"]


def test_an_empty_class_is_an_error(root):
    for image in list((root / "train" / "cat").iterdir()):
        image.unlink()
    assert said(root) == [f"{TRAIN}: holds 1 class without an image (cat); add images or remove the folder"]


def test_a_class_of_val_that_train_lacks_is_an_error(root):
    (root / "val" / "dog").rename(root / "val" / "wolf")
    val = "dataset.val_dataset.images_dir='<d>/val'"
    assert said(root) == [
        f"{val}: holds 1 class that train does not have (wolf); rename them as in <d>/train, or remove them",
        f"warning: {val}: lacks 1 class of train (dog); add images of them, or their figures will be missing",
    ]


def test_too_small_a_number_of_classes_is_an_error_and_too_large_a_warning(root):
    assert said(root, changes={"dataset.num_classes": 1}) == [
        "dataset.num_classes=1: train has 2 class folders; set it to 2"
    ]
    assert said(root, changes={"dataset.num_classes": 3}) == [
        "warning: dataset.num_classes=3: train has 2 class folders; set it to 2"
    ]


def test_a_missing_classes_file_would_be_written_into_the_dataset(root):
    (root / "classes.txt").unlink()
    wrong = "has no classes.txt, so TAO would write one into the dataset"
    todo = "write it: the 2 class names of train, sorted, a line each"
    assert said(root) == [f"dataset.root_dir='<d>': {wrong}; {todo}"]


def test_classes_file_and_folders_have_the_same_names(root):
    (root / "classes.txt").write_text("cat\nwolf\ncat\n")
    place = "dataset.root_dir='<d>/classes.txt'"
    assert said(root) == [
        f"{place}: holds 1 line that is no class folder of train (wolf); write the names of the folders, a line each",
        f"{place}: lacks 1 class folder of train, which TAO then does not read (dog); add a line for each",
        f"{place}: holds 1 name more than once (cat); keep one line each",
    ]


def test_a_classes_file_that_is_no_utf8_is_still_told_line_by_line(root):
    (root / "classes.txt").write_bytes(b"cat\ndog\n\xff\n")
    wrong = "holds 1 line that is no class folder of train (\N{REPLACEMENT CHARACTER})"
    assert said(root) == [f"dataset.root_dir='<d>/classes.txt': {wrong}; write the names of the folders, a line each"]


def test_endings_that_tao_does_not_read_are_an_error(root):
    (root / "train" / "cat" / "0.png").rename(root / "train" / "cat" / "0.PNG")
    wrong = "holds 1 image whose ending TAO does not read (cat/0.PNG)"
    assert said(root) == [f"{TRAIN}: {wrong}; rename them; TAO reads .jpg, .png, .JPEG"]


def test_images_that_cannot_be_read_are_one_line_with_their_reasons(root):
    cat = root / "train" / "cat"
    whole = (cat / "0.png").read_bytes()
    (cat / "0.png").write_bytes(whole[: len(whole) // 2])
    (cat / "1.png").write_bytes(b"")
    (cat / "2.png").write_text("<html>")
    flipped = bytearray(whole)
    flipped[-40] ^= 0xFF
    (cat / "3.png").write_bytes(flipped)
    names = "cat/0.png is cut short, cat/1.png is empty, cat/2.png is no image and 1 more"
    assert said(root) == [f"{TRAIN}: holds 4 images that cannot be read ({names}); replace or remove them"]


def test_a_jpeg_cut_short_is_found(root):
    data.picture(root / "train" / "cat" / "9.jpg", (64, 64))
    whole = (root / "train" / "cat" / "9.jpg").read_bytes()
    (root / "train" / "cat" / "9.jpg").write_bytes(whole[: len(whole) // 2])
    wrong = "holds 1 image that cannot be read (cat/9.jpg is cut short)"
    assert said(root) == [f"{TRAIN}: {wrong}; replace or remove them"]


def test_images_of_16_bits_are_told(root):
    Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)).save(root / "train" / "cat" / "0.png")
    wrong = "holds 1 image with more than 8 bits a channel, which TAO clips to white (cat/0.png)"
    assert said(root) == [f"warning: {TRAIN}: {wrong}; scale them to 8 bits"]


def test_a_split_smaller_than_one_batch_is_an_error(root):
    wrong = "has 4 samples, less than one batch on 1 GPU; set it to 4 or less, or add samples"
    assert said(root, changes={"dataset.batch_size": 8}) == [
        f"dataset.batch_size=8: train {wrong}",
        f"dataset.batch_size=8: val {wrong}",
    ]
    assert said(root, changes={"train.num_gpus": 4})[0] == (
        "dataset.batch_size=2: train has 4 samples, less than one batch on 4 GPUs; set it to 1 or less, or add samples"
    )


def test_ten_thousand_equal_mistakes_are_one_line(tmp_path):
    data.classes(tmp_path)
    for index in range(10_000):
        (tmp_path / "train" / "cat" / f"n{index:05}.png").touch()
    shown = "cat/n00000.png is empty, cat/n00001.png is empty, cat/n00002.png is empty and 9997 more"
    assert said(tmp_path) == [f"{TRAIN}: holds 10000 images that cannot be read ({shown}); replace or remove them"]


def test_findings_beyond_the_limit_are_counted(root):
    (root / "classes.txt").write_text("cat\nwolf\ncat\n")
    found = data.lines(NET, "train", root, TWO, limit=1)
    assert len(found) == 2
    assert found[1] == "dataset='image_folders': has 2 more findings; correct those above, then check again"


def test_a_folder_of_images_without_labels_is_read_below_too(tmp_path):
    data.picture(tmp_path / "train" / "a" / "0.png")
    assert data.lines("nvdinov2", "train", tmp_path, {"dataset.batch_size": 1}) == []
    shutil.rmtree(tmp_path / "train" / "a")
    wrong = "holds no image (.jpg, .jpeg, .png, .bmp); give the folder of the images"
    assert data.lines("nvdinov2", "train", tmp_path) == [f"{TRAIN}: {wrong}"]


def test_a_query_class_without_a_reference_is_an_error(tmp_path):
    for split, name in (("train", "a"), ("reference", "b"), ("query", "c")):
        data.picture(tmp_path / split / name / "0.png")
    assert data.lines("ml_recog", "train", tmp_path, {"train.batch_size": 1}) == [
        "dataset.val_dataset.query='<d>/query': holds 1 class that reference does not have (c);"
        " rename them as in <d>/reference, or remove them"
    ]


def test_a_network_without_a_layout_has_no_findings(tmp_path):
    assert data.lines("pointpillars", "train", tmp_path) == []


def test_every_layout_that_a_network_names_has_a_check():
    named = {networks.find(name).layout for name in networks.names()} - {""}
    assert named <= set(LAYOUTS)


def test_a_key_that_is_not_set_is_left_to_the_check_of_the_spec():
    assert check(networks.find(NET), "train", {"dataset": {"train_dataset": {"images_dir": None}}}) == []
