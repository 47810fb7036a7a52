"""What `examine` makes of a spec, with NVIDIA's own schemas: the final text, its values, and all findings at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.tao import network as networks
from runtime.tao.examine import Answer, Asked, examine, problems_of
from runtime.tao.spec_text import parse_overrides
from tests.fakes import tao_datasets
from tests.fakes.tao_pyt.work import checkpoint_bytes


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tao_datasets.classes(tmp_path / "data")
    (tmp_path / "model.pth").write_bytes(checkpoint_bytes("classification_pyt", "a", 0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(name: str, action: str, overrides: str = "", **given: Any) -> Asked:
    found = networks.find(name)
    return Asked(
        found,
        found.action(action),
        overrides=parse_overrides(overrides),
        **{"device": "cpu", "results": Path("r"), **given},
    )


def lines(answer: Answer, place: Path) -> list[str]:
    return [problem.line().replace(str(place), "<d>") for problem in problems_of(answer)]


SMALL = "dataset.num_classes=2 dataset.batch_size=2"


def test_what_the_action_needs_is_put_in_and_what_the_user_says_wins(place: Path) -> None:
    words = f"{SMALL} evaluate.checkpoint={place / 'data' / 'classes.txt'}"
    given = {"dataset": place / "data", "checkpoint": place / "model.pth", "results": place / "r"}
    plain = examine(asked("classification_pyt", "evaluate", SMALL, **given))
    assert problems_of(plain) == []
    assert plain.values["evaluate"]["checkpoint"] == str(place / "model.pth")
    assert plain.values["results_dir"] == str(place / "r")
    assert plain.values["model"]["backbone"]["freeze_backbone"] is False  # TAO's default stands behind it
    assert "freeze_backbone" not in plain.text
    assert (
        examine(asked("classification_pyt", "evaluate", words, **given))
        .values["evaluate"]["checkpoint"]
        .endswith("classes.txt")
    )


def test_a_users_bytes_stay_and_relative_paths_are_found_beside_the_spec(place: Path) -> None:
    (place / "specs").mkdir()
    text = "# ünïcode\r\ndataset:\r\n  root_dir:   '../data'   # here\r\n  num_classes: 2\r\n"
    (place / "specs" / "a.yaml").write_bytes(text.encode())
    answer = examine(
        asked(
            "classification_pyt",
            "export",
            spec=place / "specs" / "a.yaml",
            checkpoint=place / "model.pth",
            dataset=place / "data",
        )
    )
    begin = text.replace("'../data'", f"{place}/specs/../data")
    assert answer.text.startswith(begin), answer.text
    assert (place / "specs" / "a.yaml").read_bytes() == text.encode()


def test_a_tf1_spec_gets_absolute_paths_too(place: Path) -> None:
    (place / "records").mkdir()
    (place / "records" / "part-0").touch()
    text = (
        networks.find("detectnet_v2")
        .spec.replace("${records}/tfrecords/*", "records/*")
        .replace("${dataset}/train", "data/train")
    )
    (place / "a.txt").write_text(text)
    answer = examine(asked("detectnet_v2", "train", spec=place / "a.txt"))
    assert problems_of(answer) == []
    assert answer.text == text.replace("records/*", f"{place}/records/*").replace("data/train", f"{place}/data/train")


def test_everything_that_is_wrong_is_told_at_once(place: Path) -> None:
    (place / "model.pth").write_bytes(b"")
    words = f"{SMALL} train.num_epochs=x train.optim.lrr=1 dataset.val_dataset.images_dir=/gone"
    answer = examine(
        asked("classification_pyt", "train", words, dataset=place / "data", pretrained=place / "model.pth")
    )
    assert lines(answer, place) == [
        "pretrained='<d>/model.pth': is empty; copy it again; it was not written to its end",
        "train.num_epochs (line 26)='x': is not a whole number; write a whole number, such as 10",
        "train.optim.lrr (line 33)=1: is not a key of this spec; did you mean 'train.optim.lr'?",
        "dataset.val_dataset.images_dir (line 13)='/gone': does not exist; name a path on this machine; one inside a container is another",
    ]


def test_a_spec_alone_is_checked_without_data(place: Path) -> None:
    answer = examine(asked("classification_pyt", "train"), needs=False)
    assert problems_of(answer) == []
    found = examine(asked("classification_pyt", "train"))
    assert lines(found, place) == ["dataset=None: classification_pyt train needs it; give dataset=PATH"]


def test_a_key_stands_in_no_spec(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGCRUN_TAO_KEY", "s3cret")
    answer = examine(asked("classification_pyt", "train", SMALL, dataset=place / "data", has_key=True))
    assert answer.values["encryption_key"] == "${oc.env:NGCRUN_TAO_KEY}"
    assert "s3cret" not in answer.text + str(answer.values)


@pytest.mark.parametrize("name", ["detectnet_v2", "ssd", "yolo_v4"])
def test_the_kitti_dataset_that_tf1_converts_is_looked_at(place: Path, name: str) -> None:
    tao_datasets.picture(place / "kitti" / "train" / "image_2" / "0.png")
    (place / "kitti" / "train" / "label_2").mkdir()
    answer = examine(asked(name, "dataset_convert", dataset=place / "kitti"))
    assert lines(answer, place) == [
        "kitti_config.image_dir_name='<d>/kitti/train/image_2': holds 1 image without a label (0.png); add the label (of the same name), or remove the image"
    ]


@pytest.mark.parametrize("name", ["model.bin", "model.tar", "model", "model.pkl"])
def test_a_pickle_is_looked_into_whatever_its_name(place: Path, name: str) -> None:
    import os
    import pickle

    (place / name).write_bytes(pickle.dumps(os.getcwd))
    given = {"dataset": place / "data", "checkpoint": place / name}
    told = f"checkpoint='<d>/{name}': would run code when it is loaded (posix.getcwd); if you know where it comes from, add trust_checkpoint=true"
    assert lines(examine(asked("classification_pyt", "evaluate", SMALL, **given)), place) == [told]
    assert lines(examine(asked("classification_pyt", "evaluate", SMALL, trusted=True, **given)), place) == []
