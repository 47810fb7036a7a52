"""The TF1 networks' files against NVIDIA's own: messages (wheel nvidia-tao-deploy), scripts and flags (TF1 source).

Needs NGCRUN_TAO_SCHEMA, a folder that holds `nvidia_tao_deploy` and `nvidia_tao_core`, as the `tao` session sets it.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.tao import network, proto_dump
from runtime.tao.check_prototext import check, descriptor
from runtime.tao.prototext import set_value
from tests.fakes.tao_tf1 import deploy
from tests.fakes.tao_tf1.cli import add_flags

FLAGS = json.loads((Path(__file__).parents[1] / "fakes" / "tao_tf1" / "flags.json").read_text())
# The scripts folders of GitHub NVIDIA/tao_tensorflow1_backend, commit 2ec95cb (TAO 5.0), without what has no parser
# (faster_rcnn/train_multigpu, retinanet/inference_seq), and entry_points of setup.py there: `dssd` runs ssd's scripts and
# `yolo_v4_tiny` yolo_v4's. The launcher's task `converter` is no network: its image holds the binary `tao-converter`,
# which takes no spec and has no script in the source; `gen_trt_engine` of nvidia-tao-deploy took its place.
SCRIPTS = {name: {action for action, flags in actions.items() if flags} for name, actions in FLAGS.items()}
TF1 = [
    "bpnet", "classification_tf1", "detectnet_v2", "dssd", "efficientdet_tf1", "faster_rcnn", "fpenet", "lprnet",
    "mask_rcnn", "multitask_classification", "retinanet", "ssd", "unet", "yolo_v3", "yolo_v4", "yolo_v4_tiny",
]  # fmt: skip
WITH_MESSAGES = [name for name in TF1 if name not in ("bpnet", "fpenet")]
NOT_OFFERED = {"export_keras", "inference_trt"}  # inner steps of `export`, and a script that reads an engine of old
GIVEN = {key: f"/x/{key}" for key in network.PLACEHOLDERS if key not in ("key", "data_type")} | {"data_type": "int8"}
MUTATIONS = 200  # 4000 each, 92000 in all, agreed too when this was written (70 s)


def folder() -> Path:
    return Path(os.environ["NGCRUN_TAO_SCHEMA"])


@functools.cache
def tree(schema: str, message: str) -> Any:
    return descriptor(schema, folder(), message)


def verdicts(schema: str, message: str, texts: list[str]) -> list[str | None]:
    """What the real text_format.Merge says to each text."""
    argv = [sys.executable, "-I", proto_dump.__file__, "--parse-lines", str(folder()), schema, message]
    done = subprocess.run(
        argv, input="".join(json.dumps(t) + "\n" for t in texts), capture_output=True, text=True, check=True
    )
    return [json.loads(line)["error"] for line in done.stdout.splitlines()]


def with_messages() -> list[tuple[str, str]]:
    return [(name, action) for name in WITH_MESSAGES for action, a in network.find(name).actions.items() if a.message]


def test_the_files_are_the_networks_of_the_image_5_0_0_tf1() -> None:
    assert [name for name in network.names() if network.find(name).image == "tao-tf1"] == TF1
    assert sorted(FLAGS) == TF1


@pytest.mark.parametrize("name", TF1)
def test_the_actions_are_the_scripts_and_the_engine(name: str) -> None:
    net = network.find(name)
    runs = {action.runs or action.name for action in net.actions.values()} - {"gen_trt_engine"}
    assert runs == SCRIPTS[name] - NOT_OFFERED
    assert ("gen_trt_engine" in net.actions) == (name in WITH_MESSAGES)


@pytest.mark.parametrize("name", TF1)
def test_each_action_has_a_command_line_that_the_real_flags_take(name: str) -> None:
    net = network.find(name)
    for action in net.actions.values():
        words = [network.fill(word, GIVEN).replace("${key}", "K") for word in action.argv]
        assert all("${" not in word for word in words)
        if net.image_of(action) == "tao-tf1":
            parser = argparse.ArgumentParser(exit_on_error=False)
            add_flags(parser, FLAGS[name][action.runs or action.name])
            parser.parse_args(words)
        else:
            parser = argparse.ArgumentParser(exit_on_error=False)
            add_flags(parser, deploy.flags(folder(), net.schema))
            parser.parse_args(words)


@pytest.mark.parametrize(("name", "action"), with_messages())
def test_each_template_is_a_spec_that_the_real_parser_takes_also_with_what_a_run_sets(name: str, action: str) -> None:
    net, act = network.find(name), network.find(name).action(action)
    message = tree(net.schema, act.message)
    text = network.fill(act.spec or net.spec, GIVEN)
    assert check(message, text) == []
    for key, value in act.set.items():
        text = set_value(text, key, network.fill(value, GIVEN) if isinstance(value, str) else value, message)
    assert check(message, text) == []
    assert verdicts(net.schema, act.message, [text]) == [None]


@pytest.mark.parametrize("name", ["bpnet", "fpenet"])
def test_the_networks_without_messages_have_yaml_specs(name: str) -> None:
    net = network.find(name)
    assert (net.dialect, net.schema) == ("yaml", "")
    for text in (net.spec, *(a.spec for a in net.actions.values() if a.spec)):
        assert isinstance(yaml.safe_load(text), dict)


TOKENS = ["", "0", "-1", "3000000000", "0.05", "1e-4", "x", "true", "True", "t", '"text"', "'a' \"b\"", "{", "}", "[1, 2]", "[]",
          "{ }", ":", ";", ",", "DBSCAN", "L1", "7", "num_epochs: 3", "nan", "-inf", "0x10", "010", "09", "1.5f", "#", "<", ">",
          '"\\x41"', '"\\400"', '"\\q"', '"\\xff"', "random_seed: 1 random_seed: 2", "a { b: 1 }", "-", "- 1", "'", "1_0", "5abc"]  # fmt: skip


def mutate(text: str, chance: random.Random) -> str:
    words = re.findall(r"\s+|[\w.+-]+|\"[^\"\n]*\"|.", text)
    for _ in range(chance.choice((1, 1, 1, 2))):
        at = chance.choice([i for i, word in enumerate(words) if not word.isspace()])
        kind = chance.randrange(4)
        if kind == 0 and len(words[at]) > 2:
            words[at] = words[at][:1] + words[at][2:]  # a misspelt key, a string without its quote, another number
        elif kind == 1:
            words[at] = ""
        else:
            words[at] = chance.choice(TOKENS)
    return "".join(words)


@pytest.mark.parametrize(("name", "action"), [(n, a) for n, a in with_messages() if a in ("train", "dataset_convert") or (n, a) == ("detectnet_v2", "inference")])  # fmt: skip
def test_our_verdict_on_mutated_specs_is_that_of_the_real_parser(name: str, action: str) -> None:
    net, act = network.find(name), network.find(name).action(action)
    text, message = act.spec or net.spec, tree(net.schema, act.message)
    chance = random.Random(f"{name} {action}")  # noqa: S311 - the same mutations each time, no secret
    texts = [text, *(mutate(text, chance) for _ in range(MUTATIONS))]
    real = verdicts(net.schema, act.message, texts)
    assert 20 < sum(said is not None for said in real) < MUTATIONS  # both verdicts were tried
    for spec, said in zip(texts, real, strict=True):
        ours = [finding.problem.line() for finding in check(message, spec) if not finding.warning]
        assert bool(ours) == (said is not None), f"real: {said}; ours: {ours}\n{spec}"
