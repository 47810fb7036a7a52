"""Every kind of AzureML document that runs here: jobs and components alone, bare commands, inline and mapped components."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.errors import BadInput
from runtime.local.graph import read
from runtime.local.pipeline import Options, run_file
from tests.fakes.pipelines import COMPONENT, write_component, write_pipeline

SAY = "printf '%s' '${{inputs.text}}' > '${{outputs.out}}/text'"


def write(path: Path, data: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def run(path: Path, *, status: int = 0, **options: Any) -> dict[str, Any]:
    """Run it; returns run.json."""
    given = options.pop("given", {})
    options = {"mlflow": False, "runs": path.parent / "runs", "cache": False} | options
    assert run_file(path, given, Options(**options)) == status
    (record,) = path.parent.glob("runs/*/run.json")
    return dict(json.loads(record.read_text()))


def text_of(record: dict[str, Any], step: str, port: str = "out") -> str:
    (found,) = [s for s in record["steps"] if s["name"] == step]
    return (Path(found["outputs"][port]) / "text").read_text()


def log_of(record: dict[str, Any], step: str) -> str:
    (found,) = [s for s in record["steps"] if s["name"] == step]
    return Path(found["log"]).read_text()


def test_a_command_job_runs_alone(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "say.sh").write_text('cat "$1" > "$2/text"; echo "$GREETING" >> "$2/text"\n')
    (tmp_path / "word.txt").write_text("taxi\n")
    job = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
        "command": "bash say.sh ${{inputs.word}} ${{outputs.out}}",
        "code": "src",
        "environment": "azureml:any@latest",
        "environment_variables": {"GREETING": "hello"},
        "inputs": {"word": {"type": "uri_file", "path": "word.txt"}},
        "outputs": {"out": {"type": "uri_folder"}},
        "compute": "azureml:cpu-cluster",
        "experiment_name": "words",
        "resources": {"instance_count": 1, "shm_size": "4g"},
        "identity": {"type": "user_identity"},
    }
    record = run(write(tmp_path / "job.yml", job))
    assert text_of(record, "job") == "taxi\nhello\n"
    (run_folder,) = tmp_path.glob("runs/job-*")
    assert (run_folder / "outputs" / "out" / "text").is_file()


def test_a_fault_in_a_command_job_is_told_at_its_own_line(tmp_path: Path) -> None:
    job = {"type": "command", "command": "echo ${{inputs.wrod}}", "environment": "azureml:any:1", "compute": "azureml:c",
           "inputs": {"word": "x"}}  # fmt: skip
    with pytest.raises(
        BadInput, match=r"job.yml:2: command='\$\{\{inputs.wrod\}\}': inputs has no 'wrod'; did you mean"
    ):
        read(write(tmp_path / "job.yml", job))


def test_a_component_runs_alone_with_inputs_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("1")
    inputs = {
        "data": {"type": "uri_folder", "description": "what is counted"},
        "text": {"type": "string", "default": "t"},
    }
    path = write_component(tmp_path, inputs=inputs)
    with pytest.raises(BadInput, match="data=None: is required and not bound; say data=VALUE: what is counted"):
        run_file(path, {}, Options(runs=tmp_path / "runs"))
    with pytest.raises(BadInput, match="dat='x': is not an input of the component; did you mean 'data'"):
        run_file(path, {"dat": "x", "data": "y"}, Options(runs=tmp_path / "runs"))
    record = run(path, given={"data": str(tmp_path / "data"), "text": "two"})
    assert text_of(record, "say") == "two"


def test_a_pipeline_component_runs_alone(tmp_path: Path) -> None:
    write_component(tmp_path)
    inner = write_pipeline(tmp_path, {"a": {"inputs": {"text": "${{parent.inputs.word}}"}}}, "inner",
                           **{"$schema": "https://x/pipelineComponent.schema.json",
                              "inputs": {"word": {"type": "string"}}})  # fmt: skip
    assert text_of(run(inner, given={"word": "w"}), "inner.a") == "w"


def test_bare_commands_and_inline_components_are_steps(tmp_path: Path) -> None:
    inline = {k: v for k, v in COMPONENT.items() if k not in ("inputs", "name")} | {
        "inputs": {"text": {"type": "string"}}
    }
    jobs = {
        "a": {"type": "command", "component": inline, "inputs": {"text": "one"}},
        "b": {
            "type": "command",
            "command": "cat ${{inputs.before}}/text > ${{outputs.out}}/text; echo ${{inputs.times}} >> ${{outputs.out}}/text",
            "environment": {"image": "busybox"},
            "inputs": {"before": {"type": "uri_folder", "path": "${{parent.jobs.a.outputs.out}}"}, "times": 3},
            "outputs": {"out": "${{parent.outputs.end}}"},
        },
        "c": {
            "command": "cp ${{inputs.file}} ${{outputs.out}}/text",
            "environment": "azureml:any:1",
            "inputs": {"file": "${{parent.inputs.file}}"},
            "outputs": {"out": {"type": "uri_folder", "mode": "upload"}},
        },
    }
    (tmp_path / "f").write_text("file")
    pipe = {"type": "pipeline", "jobs": jobs, "outputs": {"end": {"type": "uri_folder"}},
            "inputs": {"file": {"type": "uri_file", "path": "./f"}}}  # fmt: skip
    record = run(write(tmp_path / "pipe.yml", pipe))
    assert text_of(record, "b") == "one3\n"
    assert text_of(record, "c") == "file"


def test_references_resolve_through_a_map_file(tmp_path: Path) -> None:
    write_component(tmp_path)
    (tmp_path / "trips").mkdir()
    (tmp_path / "trips" / "a").write_text("x")
    reference = "azureml://registries/R/components/say/versions/3"
    jobs = {
        "a": {"component": reference, "inputs": {"data": {"type": "uri_folder", "path": "azureml:trips:2"}}},
        "b": {"component": "azureml:say:1"},
    }
    path = write_pipeline(tmp_path, jobs)
    with pytest.raises(BadInput) as wrong:
        read(path)
    assert "say with --map which one stands for it" in str(wrong.value)
    entries = {reference: "say.yaml", "azureml:say": "say.yaml", "azureml:trips": "trips"}
    record = run(path, map=write(tmp_path / "map.yaml", entries))
    assert text_of(record, "a") == "hello"
    assert record["steps"][0]["inputs"]["data"] == str(tmp_path / "trips")


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"azureml:x:1": "gone.yaml"}, "map.yaml:1: azureml:x:1='gone.yaml': does not exist"),
        ({"say": "say.yaml"}, "map.yaml:1: say='say.yaml': is mapped, and is no reference"),
        ({"azureml:x:1": 3}, "map.yaml:1: azureml:x:1=3: is no path"),
    ],
)
def test_a_fault_in_the_map_file_is_one_line(tmp_path: Path, entries: dict[str, Any], told: str) -> None:
    write_component(tmp_path)
    path = write(tmp_path / "map.yaml", entries)
    with pytest.raises(BadInput, match=told.replace("(", r"\(")):
        run_file(write_pipeline(tmp_path, {"a": {}}), {}, Options(map=path, runs=tmp_path / "runs"))


def test_pytorch_processes_get_what_azureml_gives_them(tmp_path: Path) -> None:
    command = (
        'echo "$RANK $LOCAL_RANK $NODE_RANK $WORLD_SIZE $MASTER_ADDR $AZUREML_NODE_COUNT" > ${{outputs.out}}/$RANK; '
        'test "$MASTER_PORT" -gt 1023 && echo met'
    )
    write_component(tmp_path, command=command, resources={"instance_count": 2},
                    distribution={"type": "pytorch", "process_count_per_instance": 2})  # fmt: skip
    record = run(write_pipeline(tmp_path, {"a": {}}))
    out = Path(record["steps"][0]["outputs"]["out"])
    seen = [(out / str(rank)).read_text().split() for rank in range(4)]
    assert seen == [[str(r), str(r % 2), str(r // 2), "4", "127.0.0.1", "2"] for r in range(4)]
    assert sorted(log_of(record, "a").splitlines()) == [f"[rank {r}] met" for r in range(4)]


def test_a_rank_that_fails_ends_the_others(tmp_path: Path) -> None:
    command = 'if [ "$RANK" = 1 ]; then echo broken >&2; exit 7; fi; sleep 60; touch ${{outputs.out}}/x'
    write_component(tmp_path, command=command, distribution={"type": "PyTorch", "process_count_per_instance": 3})
    record = run(write_pipeline(tmp_path, {"a": {}}), status=3)
    (step,) = record["steps"]
    assert (step["status"], step["exit_code"], step["why"]) == ("failed", 7, "[rank 1] broken")
    assert step["seconds"] < 20


def test_a_step_that_takes_longer_than_its_limit_is_ended(tmp_path: Path) -> None:
    write_component(tmp_path, command="sleep 60", limits={"timeout": 500})
    record = run(write_pipeline(tmp_path, {"a": {"limits": {"timeout": 1}}}), status=3)
    (step,) = record["steps"]
    assert step["why"] == "took longer than its limits.timeout of 1 s"
    assert step["seconds"] < 20


def test_additional_includes_travel_beside_the_code(tmp_path: Path) -> None:
    for name in ("src/main.sh", "shared/lib/a.txt", "one.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    write_component(tmp_path, code="./src", additional_includes=["shared/lib", "./one.txt"],
                    command="cat main.sh lib/a.txt one.txt > ${{outputs.out}}/text")  # fmt: skip
    assert text_of(run(write_pipeline(tmp_path, {"a": {}})), "a") == "src/main.shshared/lib/a.txtone.txt"


@pytest.mark.parametrize("kind", ["parallel", "spark", "automl", "import"])
def test_what_does_not_run_here_is_refused_by_name_with_its_line(tmp_path: Path, kind: str) -> None:
    path = write_pipeline(tmp_path, {"a": {"type": kind}})
    with pytest.raises(
        BadInput, match=rf"pipe.yaml:5: jobs.a.type='{kind}': does not run on this machine; command, pipe"
    ):
        read(path)
