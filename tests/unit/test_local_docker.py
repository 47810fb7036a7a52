"""The docker runner's commands as literals, its words for docker's complaints, and which image a step gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime import images
from runtime.errors import BadInput
from runtime.local import containers, distribute, docker, environments, graph, references
from runtime.local.docker import Docker
from runtime.local.document import load
from runtime.local.plan import plan
from tests.fakes.pipelines import write_component, write_pipeline

ROOT = Path(__file__).parents[2]


def planned(folder: Path, **changes: Any) -> Any:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "a").write_text("1")
    inputs = {"data": {"type": "uri_folder"}}
    write_component(
        folder, **({"inputs": inputs, "command": "cat '${{inputs.data}}/a' > ${{outputs.out}}/x"} | changes)
    )
    jobs = {"a": {"inputs": {"data": {"type": "uri_folder", "path": "./data"}}}}
    return plan(graph.read(write_pipeline(folder, jobs)), folder / "runs" / "r", mount=False)["a"]


def test_a_docker_run_is_a_literal(tmp_path: Path) -> None:
    step = planned(tmp_path, resources={"docker_args": "--cpus 2"}, environment_variables={"OWN": "1", "PATH": "/x"})
    found = docker.wrap(step, "image:1", Docker(user="7:8", env=("HF_TOKEN",)))
    folder = tmp_path / "runs" / "r" / "steps" / "a"
    assert found.command.argv == (
        "docker", "run", "--init", "--name", "ngcrun-r-steps-a", "--entrypoint", "bash",
        "--label", f"ngcrun.step={folder}", "--label", f"ngcrun.pid={docker.owner(os.getpid())}", "--pull", "never",
        "--network", "none", "--user", "7:8", "--workdir", f"{folder}/work", "--shm-size", "2g",
        "--cidfile", f"{folder}/container.id",
        "--mount", f"type=bind,source={tmp_path}/data,target={tmp_path}/data,readonly",
        "--mount", f"type=bind,source={folder},target={folder}",
        "--env", f"HOME={folder}/work", "--env", "NGCRUN_IMAGE", "--env", "AZURE_ML_INPUT_data", "--env", "AZURE_ML_OUTPUT_out",
        "--env", "AZUREML_NODE_COUNT", "--env", "OWN", "--env", "PATH=/x", "--env", "NGCRUN_METRICS_FILE",
        "--env", "HF_TOKEN", "--env", "MASTER_PORT", "--cpus", "2",
        "image:1", "-c", f"cat '{tmp_path}/data/a' > {folder}/outputs/out/x",
    )  # fmt: skip
    assert "PATH" not in found.command.env  # the client's own stays
    assert found.command.env["OWN"] == "1"
    assert found.command.path is None


def test_leased_gpus_go_in_by_uuid(tmp_path: Path) -> None:
    command = docker.wrap(planned(tmp_path), "image:1", Docker()).command
    assert docker.with_gpus(command, ["GPU-a", "MIG-b"]).argv[:4] == ("docker", "run", "--gpus", '"device=GPU-a,MIG-b"')
    assert docker.with_gpus(command, []) is command


def test_with_a_network_a_step_can_report_by_itself(tmp_path: Path) -> None:
    words = docker.wrap(planned(tmp_path), "image:1", Docker(network="host")).command.argv
    assert {"MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"} <= set(words)


def test_a_mount_survives_any_path() -> None:
    assert docker.mount(Path("/a,b"), Path('/c"d'), read_only=True) == (
        'type=bind,"source=/a,b","target=/c""d",readonly'
    )


@pytest.mark.parametrize(
    "word", ["--privileged", "-v /:/host", "--volume=/:/host", "--mount type=bind", "--pid=host", "--user 0"]
)
def test_docker_args_cannot_open_the_container(tmp_path: Path, word: str) -> None:
    step = planned(tmp_path, resources={"docker_args": word})
    with pytest.raises(BadInput, match="is not allowed to a step; remove it"):
        docker.require_possible({"a": step})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("docker: Cannot connect to the Docker daemon at unix:///x. Is it running?", "does not answer"),
        ('docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]]', "toolkit"),
        ("docker: permission denied while trying to connect to the Docker daemon socket", "join the group docker"),
        ("docker: Error response from daemon: pull access denied", ""),
    ],
)
def test_what_docker_says_becomes_one_line(said: str, told: str) -> None:
    line = docker.reason(f"earlier\n{said}\nSee 'docker run --help'.", 125)
    assert told in line
    assert "\n" not in line
    assert docker.reason(said, 1) == ""


def environment(folder: Path, asked: Any, entries: dict[str, Any] | None = None) -> environments.Environment:
    component = load(write_component(folder, environment=asked))
    (folder / "map.yaml").write_text(yaml.safe_dump(entries or {"azureml:other:1": {"image": "x"}}))
    rows = images.load(ROOT / "containers" / "images.yaml")
    return environments.of(component, references.load(folder / "map.yaml"), rows, ROOT)


def test_the_image_of_an_environment(tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM x\n")
    (tmp_path / "env.yaml").write_text("name: e\nbuild: {path: ./context}\n")
    assert environment(tmp_path, {"image": "a:1"}).image == "a:1"
    assert environment(tmp_path, "file:env.yaml").context == tmp_path / "context"
    assert environment(tmp_path, {"build": {"path": "context"}}).context == tmp_path / "context"
    own = environment(tmp_path, "azureml:ngcrun-rapids:26.10")
    assert own.row is not None
    assert (own.row.key, own.context) == ("rapids", ROOT / "containers" / "rapids")
    mapped = {"azureml:mine": {"image": "b:2"}, "azureml://registries/r/environments/e/versions/1": "env.yaml"}
    assert environment(tmp_path, "azureml:mine:7", mapped).image == "b:2"
    assert environment(tmp_path, "azureml://registries/r/environments/e/versions/1", mapped).context is not None
    name = containers.reference(environment(tmp_path, "file:env.yaml"), ROOT)
    (tmp_path / "context" / "Dockerfile").write_text("FROM y\n")
    assert name.startswith("ngcrun-local/context:")
    assert containers.reference(environment(tmp_path, "file:env.yaml"), ROOT) != name


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            "azureml:sklearn-1.5@latest",
            "environment='azureml:sklearn-1.5@latest': is not on this machine; say with --map",
        ),
        ({"image": "a", "conda_file": "c.yaml"}, "environment.conda_file='...': is built by AzureML only"),
        ({"build": {"path": "gone"}}, "environment.build.path='gone': holds no Dockerfile"),
        ({"name": "x"}, "environment.image=None: is missing"),
    ],
)
def test_an_environment_that_cannot_be_had_is_told_where_it_stands(tmp_path: Path, asked: Any, told: str) -> None:
    with pytest.raises(BadInput) as wrong:
        environment(tmp_path, asked)
    assert told in str(wrong.value)


def test_the_argv_of_a_distribution() -> None:
    mpi = {"distribution": {"type": "mpi", "process_count_per_instance": 4}}
    assert distribute.argv("x", mpi)[:2] == ("mpirun", "--allow-run-as-root")
    assert distribute.argv("x", mpi)[-5:] == ("-n", "4", "bash", "-c", "x")
    torch = {"distribution": {"type": "PyTorch"}, "resources": {"instance_count": 2}}
    assert distribute.argv("x", torch) == ("python3", str(distribute.RANKS), "2", "1", "x")
    assert distribute.environment(torch) == {"AZUREML_NODE_COUNT": "2", "MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"}
    assert distribute.argv("x", {}) == ("bash", "-c", "x")
    assert distribute.port({}) == {}
