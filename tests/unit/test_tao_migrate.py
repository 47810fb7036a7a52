"""Old specs and command lines carried over: what is, what is not and why, what is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.errors import BadInput
from runtime.tao import network
from runtime.tao.migrate import Ask, Left, Migration, to_successor, to_tao5
from runtime.tao.migrate_command import command_line

SPECS = Path(__file__).parents[1] / "data" / "tao" / "specs"
TREE: dict[str, Any] = {
    "name": "Clustering",
    "fields": {
        "dbscan_min_samples": {"type": "int32", "repeated": True, "presence": False},
        "dbscan_eps": {"type": "float", "repeated": False, "presence": False},
    },
}


def _template(name: str) -> str:
    return network.fill(network.find(name).spec, {"dataset": "/d"})


def _reasons(migration: Migration) -> dict[str, str]:
    return {left.key: left.reason for left in migration.not_carried}


def test_a_detectnet_spec_becomes_an_rtdetr_spec_with_an_account_of_it() -> None:
    text = (SPECS / "detectnet_train.txt").read_text()
    migration = to_successor("detectnet_v2", text, gpus=2)
    assert yaml.safe_load(migration.text) == {
        "results_dir": "???",
        "train": {
            "num_gpus": 2, "gpu_ids": [0, 1], "seed": 7, "num_epochs": 120, "checkpoint_interval": 10,
            "optim": {"lr": 0.0005}, "validation_interval": 5,
        },
        "dataset": {
            "batch_size": 4, "num_classes": 3,
            "augmentation": {"eval_spatial_size": [544, 960], "train_spatial_size": [544, 960]},
            "train_data_sources": [{"json_file": "???", "image_dir": "???"}],
            "val_data_sources": {"json_file": "???", "image_dir": "???"},
        },
    }  # fmt: skip
    assert "training_config.num_epochs -> train.num_epochs=120" in migration.carried
    reasons = _reasons(migration)
    assert reasons["postprocessing_config"] == "rtdetr: it finds boxes without clustering"
    assert reasons["training_config.regularizer.type"] == "rtdetr: its training has no such knob"
    assert reasons["augmentation_config.spatial_augmentation.hflip_probability"].startswith(
        "rtdetr: it augments in its own"
    )
    assert [ask.key for ask in migration.asks] == [
        "results_dir",
        "dataset.train_data_sources[0].json_file",
        "dataset.val_data_sources.json_file",
        "dataset.train_data_sources[0].image_dir",
        "dataset.val_data_sources.image_dir",
    ]


def test_what_is_given_answers_what_is_asked_and_wins_over_what_is_carried() -> None:
    text = (SPECS / "detectnet_train.txt").read_text()
    given = {ask.key: f"/new/{i}" for i, ask in enumerate(to_successor("detectnet_v2", text).asks)}
    migration = to_successor("detectnet_v2", text, {**given, "train.num_epochs": "7"})
    assert migration.asks == ()
    assert "???" not in migration.text
    spec = yaml.safe_load(migration.text)
    assert spec["train"]["num_epochs"] == 7
    assert spec["dataset"]["train_data_sources"] == [{"json_file": "/new/1", "image_dir": "/new/3"}]


@pytest.mark.parametrize("name", [n for n in network.names() if network.find(n).dialect == "prototext" and network.find(n).successor])  # fmt: skip
def test_every_network_with_a_successor_keeps_its_epochs_batch_and_rate(name: str) -> None:
    migration = to_successor(name, _template(name))
    spec = yaml.safe_load(migration.text)
    assert spec["train"]["num_epochs"] >= 12
    assert spec["train"]["optim"]["lr"] > 0
    assert any("batch_size=" in line for line in migration.carried)
    assert migration.not_carried


def test_each_leaf_of_the_old_spec_is_either_carried_or_accounted_for() -> None:
    migration = to_successor("unet", _template("unet"))
    spec = yaml.safe_load(migration.text)
    assert spec["dataset"]["segment"]["root_dir"] == "/d"
    assert spec["dataset"]["segment"]["img_size"] == 320
    assert spec["dataset"]["segment"]["palette"][1] == {
        "label_id": 1, "seg_class": "foreground", "mapping_class": "foreground", "rgb": [1, 1, 1]
    }  # fmt: skip
    assert spec["dataset"]["segment"]["label_transform"] == "None"
    assert "training_config.loss" in _reasons(migration)


def test_a_classification_spec_keeps_its_folders_depth_and_policy() -> None:
    spec = yaml.safe_load(to_successor("classification_tf1", _template("classification_tf1")).text)
    assert spec["model"] == {"head": {"topk": [1], "in_channels": 512}, "backbone": {"type": "resnet_18"}}
    assert spec["dataset"]["train_dataset"] == {"images_dir": "/d/train"}
    assert spec["dataset"]["img_size"] == 224
    assert spec["dataset"]["num_classes"] == "???"
    assert spec["train"]["optim"] == {"lr": 0.006, "policy_params": {"step_size": 10, "gamma": 0.1}, "policy": "step"}


def test_images_that_are_not_square_are_asked_for() -> None:
    text = _template("unet").replace("model_input_width: 320", "model_input_width: 640")
    assert "dataset.segment.img_size" in [ask.key for ask in to_successor("unet", text).asks]


@pytest.mark.parametrize("name", ["multitask_classification", "bpnet", "fpenet"])
def test_a_network_without_a_successor_is_told_so(name: str) -> None:
    with pytest.raises(BadInput, match=r"no network of TAO 7 does its task; it stays on the image 5\.0\.0-tf1"):
        to_successor(name, "")


def test_a_fraction_that_tao_5_counts_is_asked_for_and_not_rounded() -> None:
    text = "dbscan_min_samples: 0.05 # was a share\ndbscan_eps: 0.3\ndbscan_min_samples: 0.5\n"
    migration = to_tao5(text, TREE)
    assert migration.text == text
    assert migration.asks == (
        Ask("dbscan_min_samples[0]", "a whole number; specs for TAO 3.22 hold a fraction (line 1:21)", "0.05"),
        Ask("dbscan_min_samples[1]", "a whole number; specs for TAO 3.22 hold a fraction (line 3:21)", "0.5"),
    )
    done = to_tao5(text, TREE, {"dbscan_min_samples": "4", "dbscan_min_samples[1]": "2"})
    assert done.text == "dbscan_min_samples: 4 # was a share\ndbscan_eps: 0.3\ndbscan_min_samples: 2\n"
    assert (done.asks, done.carried[0]) == ((), "dbscan_min_samples[0]=4 (was 0.05)")
    with pytest.raises(
        BadInput, match=r"dbscan_min_samples\[0\]='0.05': is not a whole number; give it as dbscan_min_samples=4"
    ):
        to_tao5(text, TREE, {"dbscan_min_samples": "0.05"})


def test_what_else_is_wrong_with_an_old_spec_is_told_and_left_alone() -> None:
    migration = to_tao5("dbscan_epsilon: 1", TREE)
    assert migration.text == "dbscan_epsilon: 1"
    assert migration.not_carried[0].key == "dbscan_epsilon"
    assert "did you mean 'dbscan_eps'" in migration.not_carried[0].reason


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "tao detectnet_v2 train -e spec.txt -r results -k nvidia_tlt -n name --gpus 2",
            "tao model detectnet_v2 train -e spec.txt -r results -k NGCRUN_TAO_KEY -n name --gpus 2",
        ),
        ("tao model unet train -e s.txt --key=nvidia_tlt", "tao model unet train -e s.txt --key NGCRUN_TAO_KEY"),
        ("detectnet_v2 prune -m 'a b.tlt' -knvidia_tlt -pth 0.1", "tao model detectnet_v2 prune -m 'a b.tlt' -k NGCRUN_TAO_KEY -pth 0.1"),
        (
            "tao classification_pyt train -e x.yaml -r r -k nvidia_tlt -g 2",
            "tao model classification_pyt train -e x.yaml results_dir=r train.num_gpus=2 'train.gpu_ids=[0,1]'",
        ),
        (
            "classification_pyt evaluate -e x.yaml -k -nvidia_tlt= -m /m.pth train.num_epochs=3",
            "tao model classification_pyt evaluate -e x.yaml evaluate.checkpoint=/m.pth train.num_epochs=3",
        ),
        ("classification_pyt train -e x.yaml train.num_epochs=3 -k nvidia_tlt", "tao model classification_pyt train -e x.yaml train.num_epochs=3"),
    ],
)  # fmt: skip
def test_an_old_command_line_becomes_one_for_today_without_the_key(old: str, new: str) -> None:
    migration = command_line(old)
    assert migration.text == new
    assert "nvidia_tlt" not in repr(migration)


def test_a_flag_that_went_into_the_spec_is_told_as_left_out() -> None:
    migration = command_line("classification_pyt train -k K -n model")
    assert migration.not_carried[1] == Left("-n", "TAO 7 takes it from the spec or as key=value")
    assert migration.asks == (Ask("-e", "the spec, as YAML"),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tao detectnet_v2", "command='...': names no network and action; write tao NETWORK ACTION -e SPEC ..."),
        ("tao unet train -k 'K", "command='...': a quote is not closed; close it"),
        ("tao detectnet_v3 train", "network='detectnet_v3': is not a TAO network; did you mean 'detectnet_v2'?"),
    ],
)
def test_a_line_that_is_no_command_is_refused(line: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        command_line(line)
    assert str(caught.value).startswith(said)
