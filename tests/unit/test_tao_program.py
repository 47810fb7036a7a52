"""What would run, compared with a literal: a Command for each kind of network, and AzureML's variables as TAO's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from runtime.command import Command
from runtime.errors import BadInput
from runtime.tao import network, program
from runtime.tao.program import Program, Run, command, distribution, node_rank, without_empty

RESULTS, SPEC = Path("/r"), Path("/r/spec.yaml")
HERE = Path(program.__file__).parent


def run_of(name: str, action: str, **given: Any) -> Run:
    found = network.find(name)
    return Run(found, found.action(action), given.pop("spec", SPEC), RESULTS, given.pop("given", {}), **given)


def test_a_pytorch_network_on_a_gpu() -> None:
    asked = run_of("rtdetr", "train")
    assert command(asked, Program(("/opt/rtdetr",)), {}) == Command(
        ("/opt/rtdetr", "train", "-e", "/r/spec.yaml"),
        RESULTS,
        {"PYTHONUNBUFFERED": "1", "PYTHONPATH": "", "NGCRUN_TAO_CPU": "", "WANDB_MODE": "disabled"},
        None,
    )


def test_a_pytorch_network_on_the_cpu_from_an_environment_of_ours() -> None:
    asked = run_of("classification_pyt", "evaluate", device="cpu", load_objects=True)
    there = Program(("/env/bin/classification_pyt",), Path("/env/bin"))
    assert command(asked, there, {"OMP_NUM_THREADS": "2", "WANDB_API_KEY": "k"}) == Command(
        ("/env/bin/classification_pyt", "evaluate", "-e", "/r/spec.yaml"),
        RESULTS,
        {
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(HERE / "cpu"),
            "NGCRUN_TAO_CPU": "1",
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
            "HF_HUB_OFFLINE": "1",
            "NO_ALBUMENTATIONS_UPDATE": "1",
            "OMP_NUM_THREADS": "2",
        },
        Path("/env/bin"),
    )


def test_a_network_without_a_script_of_its_own_is_started_as_a_module() -> None:
    argv = command(run_of("codetr", "train"), Program(("/py", "-m", "nvidia_tao_pytorch.cv.x")), {}).argv
    assert argv == ("/py", "-m", "nvidia_tao_pytorch.cv.x", "train", "-e", "/r/spec.yaml")


def test_a_tf1_network_gets_its_flags_and_the_name_of_the_keys_variable() -> None:
    asked = run_of("detectnet_v2", "evaluate", spec=Path("/r/spec.txt"), given={"checkpoint": "/m.tlt"}, has_key=True)
    flags = ("-m", "/m.tlt", "-e", "/r/spec.txt", "-r", "/r/evaluate", "-k", "NGCRUN_TAO_KEY")
    assert command(
        asked, Program(("/opt/detectnet_v2",)), {"NGCRUN_TAO_KEY": "s3cret", "WANDB_API_KEY": "k"}
    ) == Command(
        (sys.executable, "-I", "-S", str(HERE / "key_launch.py"), "/opt/detectnet_v2", "evaluate", *flags),
        RESULTS,
        {"PYTHONUNBUFFERED": "1", "PYTHONPATH": "", "NGCRUN_TAO_CPU": ""},
        None,
    )


def test_a_flag_whose_value_was_not_given_falls_out_with_it() -> None:
    asked = run_of("detectnet_v2", "prune", spec=Path("/r/spec.txt"), given={"checkpoint": "/m.hdf5"})
    argv = command(asked, Program(("/opt/detectnet_v2",)), {}).argv
    assert argv == (
        "/opt/detectnet_v2", "prune", "-m", "/m.hdf5", "-o", "/r/prune/model.hdf5", "-pth", "0.1", "-eq", "union",
        "--results_dir", "/r/prune",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["detectnet_v2", "ocdnet"])
def test_a_retraining_is_tao_s_train(name: str) -> None:
    if "retrain" not in network.find(name).actions:
        pytest.skip(f"{name} has no retrain")
    asked = run_of(name, "retrain", given={"pretrained": "/p", "checkpoint": "/p"})
    assert command(asked, Program(("/opt/x",)), {}).argv[:2] == ("/opt/x", "train")


HIDDEN = dict.fromkeys(
    ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "NUM_GPU_PER_NODE"),
    "",
)  # fmt: skip


def test_without_a_distribution_nothing_is_said() -> None:
    assert distribution({}) == {}
    assert distribution({"WORLD_SIZE": "", "MASTER_ADDR": "a"}) == {}


def test_one_node_hides_azureml_s_variables_from_tao() -> None:
    environ = {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1", "LOCAL_RANK": "0"}
    assert distribution(environ) == HIDDEN
    assert without_empty({**environ, **HIDDEN, "EMPTY": "", "PYTHONPATH": ""}) == {"EMPTY": ""}


def test_several_nodes_are_tao_s_world() -> None:
    environ = {"WORLD_SIZE": "3", "RANK": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "10.0.0.4"}
    said = HIDDEN | {"WORLD_SIZE": "3", "NODE_RANK": "2", "MASTER_ADDR": "10.0.0.4", "MASTER_PORT": "29500"}
    assert distribution(environ) == said
    assert distribution({**environ, "NODE_RANK": "1", "MASTER_PORT": "6105", "NUM_GPU_PER_NODE": "4"}) == said | {
        "NODE_RANK": "1",
        "MASTER_PORT": "6105",
        "NUM_GPU_PER_NODE": "4",
    }
    assert [node_rank(environ), node_rank({"RANK": "2"}), node_rank({**environ, "NODE_RANK": "0"})] == [2, 0, 0]


@pytest.mark.parametrize("extra", [{"LOCAL_WORLD_SIZE": "4"}, {"LOCAL_RANK": "1"}])
def test_several_processes_a_node_are_refused(extra: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=r"is not what TAO expects; set distribution.process_count_per_instance: 1; "):
        distribution({"WORLD_SIZE": "8", "RANK": "3", **extra})


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"])
def test_a_variable_that_is_no_number_is_named(name: str) -> None:
    with pytest.raises(BadInput) as refused:
        distribution({"WORLD_SIZE": "2", "RANK": "0", name: "-1x"})
    told = f"{name}='-1x': is not a whole number; unset the variable, or give the number that it means"
    assert refused.value.lines() == [told]
