"""What the check of a TF1 spec says, word for word. Needs NGCRUN_TAO_SCHEMA (see test_tao_tf1_networks.py)."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ToolFailed
from runtime.tao.check_prototext import check, descriptor, real_verdict
from runtime.tao.prototext import set_value

SPECS = Path(__file__).parents[1] / "data" / "tao" / "specs"
MESSAGES = {
    "tfrecords": "dataset_export_config_pb2.DatasetExportConfig",
    "inference": "inference_pb2.Inference",
}


def folder() -> Path:
    return Path(os.environ["NGCRUN_TAO_SCHEMA"])


@functools.cache
def tree(network: str = "detectnet_v2", message: str = "experiment_pb2.Experiment") -> Any:
    return descriptor(network, folder(), message)


def said(text: str, network: str = "detectnet_v2") -> list[str]:
    return [("warning: " if f.warning else "") + f.problem.line() for f in check(tree(network), text)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "training_config { num_epochz: 3 }",
            "training_config.num_epochz='3': line 1:19: 'num_epochz' is not a key of TrainingConfig; did you mean 'num_epochs'? known: batch_size_per_gpu, checkpoint_interval, cost_scaling, enable_qat, learning_rate, num_epochs, optimizer, regularizer, visualizer",
        ),
        (
            'training_config {\n  num_epochs: "3"\n}',
            "training_config.num_epochs='3': line 2:15: is a string; TAO wants a whole number (uint32); remove the quotes, or give another value",
        ),
        (
            "training_config { num_epochs: -3 }",
            "training_config.num_epochs='-3': line 1:31: is out of range for uint32; give a number from 0 to 4294967295",
        ),
        (
            "training_config { regularizer { type: L3 } }",
            "training_config.regularizer.type='L3': line 1:39: is not an option; known: L1, L2, NO_REG",
        ),
        (
            'training_config { regularizer { type: "L1" } }',
            "training_config.regularizer.type='L1': line 1:39: is an option of TAO and must stand without quotes; write L1",
        ),
        ("training_config { enable_qat: yes }", "training_config.enable_qat='yes': line 1:31: is not a yes or no; write true or false"),
        ("training_config { num_epochs { } }", "training_config.num_epochs='{...}': line 1:30: is a uint32, not a message; write `num_epochs: VALUE`"),
        ("training_config { num_epochs: [1] }", "training_config.num_epochs='[...]': line 1:19: takes one value, not a list; remove the brackets"),
        ("model_config { arch: resnet }", "model_config.arch='resnet': line 1:22: is a string in TAO and must stand in quotes; write \"resnet\""),
        ('model_config { arch: "a\\xff" }', "model_config.arch='a\ufffd': line 1:22: \\xff is no text that protobuf can read; write a backslash as \\\\"),
        ("random_seed: x", "random_seed='x': line 1:14: is not a whole number (uint32); write it as 8"),
        ("training_config: 5", "training_config='5': line 1:18: is a message (TrainingConfig), not one value; write `training_config { ... }` with some of: batch_size_per_gpu, num_epochs, learning_rate, regularizer, optimizer, cost_scaling, checkpoint_interval, enable_qat"),
        ("random_seed: 1\nrandom_seed: 2", "warning: random_seed='random_seed': line 2:1: TAO takes it, not the one on line 1:1; keep one of them"),
        ("training_config {", "spec='{': line 1:17: this '{' is never closed; add '}'"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line_with_its_place_and_the_way_out(text: str, line: str) -> None:
    assert said(text) == [line]


def test_a_key_at_the_wrong_depth_is_sent_to_where_it_belongs() -> None:
    assert said("num_epochs: 3\nmodel_config { random_seed: 1 }") == [
        "num_epochs='3': line 1:1: 'num_epochs' is not a key of Experiment; move it into training_config",
        "model_config.random_seed='1': line 2:16: 'random_seed' is not a key of ModelConfig; move it out, to the top of the spec",
    ]


def test_all_mistakes_are_told_at_once() -> None:
    lines = said("random_seed: -1\nmodel_confg {}\ntraining_config { num_epochs: 1.5 enable_qat: 2 }")
    assert [line.partition("=")[0] for line in lines] == [
        "random_seed", "model_confg", "training_config.num_epochs", "training_config.enable_qat"
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.name for path in SPECS.glob("*.txt")))
def test_a_spec_made_for_tao_3_22_fails_for_the_one_value_that_cannot_be_cast(name: str) -> None:
    text = (SPECS / name).read_bytes().decode()
    message = next((m for word, m in MESSAGES.items() if word in name), "experiment_pb2.Experiment")
    findings = check(tree("detectnet_v2", message), text)
    assert (findings == []) == ("tfrecords" in name)
    for finding in findings:
        problem = finding.problem
        assert problem.port.endswith(".value.clustering_config.dbscan_min_samples")
        assert "is a fraction, and TAO 5 takes a whole number here (int32)" in problem.wrong
        assert "`ngcrun tao migrate`" in problem.todo
        text = set_value(text, problem.port, 4)  # the finding names the key as the editor takes it
    assert check(tree("detectnet_v2", message), text) == []
    assert real_verdict("detectnet_v2", folder(), message, text) is None


def test_experiment_tracking_that_only_the_image_knows_is_no_unknown_key() -> None:
    tracking = 'visualizer { wandb_config { project: "p" tags: "a" } clearml_config { task: "t" } }'
    assert said("training_config { " + tracking + " }", "yolo_v3") == []
    assert said("training_config { " + tracking + " }", "unet") == []
    assert said('wandb_config { project: "p" }', "mask_rcnn") == []
    assert "is not a key of WandBConfig" in said('wandb_config { projekt: "p" }', "mask_rcnn")[0]


def test_a_folder_without_the_messages_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match=f"the messages of unet cannot be loaded from {tmp_path}"):
        descriptor("unet", tmp_path)
