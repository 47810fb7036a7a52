"""Every kind of AzureML document that runs here: jobs and components alone, bare commands, inline and mapped components."""

from __future__ import annotations

import json
import shutil
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


def test_a_downloaded_input_is_the_steps_own_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1\n")
    command = "echo 2 >> ${{inputs.data}}/a.csv; cat ${{inputs.data}}/a.csv ${{inputs.file}} > ${{outputs.out}}/text; ls ${{inputs.file}}"
    write_component(tmp_path, command=command, inputs={"data": {"type": "uri_folder"}, "file": {"type": "uri_file"}})
    given = {"data": {"type": "uri_folder", "path": "./data", "mode": "download"},
             "file": {"type": "uri_file", "path": "./data/a.csv", "mode": "download"}}  # fmt: skip
    path = write_pipeline(tmp_path, {"a": {"inputs": given, "identity": {"type": "managed"}}})
    record = run(path, cache=True)
    assert text_of(record, "a") == "1\n2\n1\n"
    assert log_of(record, "a").endswith("/a.csv\n")
    assert (tmp_path / "data" / "a.csv").read_text() == "1\n"
    assert "note: `identity` has no meaning here" in capsys.readouterr().out
    run_file(path, {}, Options(mlflow=False, runs=tmp_path / "runs"))
    assert "1 of 1 steps taken over" in capsys.readouterr().out


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


def test_what_the_pipeline_gives_a_step_wins_over_its_component(tmp_path: Path) -> None:
    write_component(
        tmp_path, command='echo "$RANK $WORLD_SIZE" > ${{outputs.out}}/$RANK', resources={"instance_count": 7}
    )
    two = {"distribution": {"type": "pytorch", "process_count_per_instance": 1}, "resources": {"instance_count": 2}}
    record = run(write_pipeline(tmp_path, {"a": two}))
    out = Path(record["steps"][0]["outputs"]["out"])
    assert [(out / str(rank)).read_text().split() for rank in range(2)] == [["0", "2"], ["1", "2"]]
    assert len(list(out.iterdir())) == 2
    with pytest.raises(BadInput, match=r"say\.yaml:\d+: resources\.instance_count=7: machines are asked for"):
        run(write_pipeline(tmp_path, {"a": {}}))


def test_a_rank_that_fails_ends_the_others(tmp_path: Path) -> None:
    command = 'if [ "$RANK" = 1 ]; then echo broken >&2; exit 7; fi; sleep 60; touch ${{outputs.out}}/x'
    write_component(tmp_path, command=command, distribution={"type": "PyTorch", "process_count_per_instance": 3})
    record = run(write_pipeline(tmp_path, {"a": {}}), status=3)
    (step,) = record["steps"]
    assert (step["status"], step["exit_code"], step["why"]) == ("failed", 7, "[rank 1] broken")
    assert step["seconds"] < 20


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun on this machine; apt-get install openmpi-bin")
def test_mpi_processes_are_started_by_mpirun(tmp_path: Path) -> None:
    command = "echo $OMPI_COMM_WORLD_SIZE > ${{outputs.out}}/$OMPI_COMM_WORLD_RANK"
    write_component(tmp_path, command=command, distribution={"type": "mpi", "process_count_per_instance": 3})
    record = run(write_pipeline(tmp_path, {"a": {}}))
    out = Path(record["steps"][0]["outputs"]["out"])
    assert [(out / str(rank)).read_text() for rank in range(3)] == ["3\n"] * 3


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


def figure(expression: str, sleep: str = "0") -> str:
    """A command that logs the metric `loss` as our own steps do, three times, and writes the values that it was given."""
    return (
        f"for i in 3 2 1; do loss=$(awk 'BEGIN {{ print {expression} }}'); "
        'echo "{\\"kind\\": \\"metric\\", \\"key\\": \\"loss\\", \\"value\\": $loss, \\"step\\": $i, \\"time_ms\\": 1}" '
        f">> $NGCRUN_METRICS_FILE; sleep {sleep}; done; printf '${{{{inputs.x}}}} ${{{{inputs.kind}}}}' > ${{{{outputs.out}}}}/text"
    )


def sweep(folder: Path, space: dict[str, Any], command: str, **fields: Any) -> Path:
    inputs = {"x": {"type": "number"}, "kind": {"type": "string", "default": "a"}}
    write_component(folder, inputs=inputs, command=command)
    write_component(folder, "copy", inputs={"data": {"type": "uri_folder"}},
                    command="cp ${{inputs.data}}/text ${{outputs.out}}/text")  # fmt: skip
    step = {"type": "sweep", "trial": "./say.yaml", "search_space": space,
            "objective": {"goal": "minimize", "primary_metric": "loss"}} | fields  # fmt: skip
    jobs = {"s": step, "after": {"type": "command", "component": "./copy.yaml",
                                 "inputs": {"data": "${{parent.jobs.s.outputs.out}}"}}}  # fmt: skip
    return write(folder / "sweep.yml", {"type": "pipeline", "jobs": jobs})


def test_a_grid_runs_every_point_and_hands_on_the_best(tmp_path: Path) -> None:
    space = {"x": {"type": "choice", "values": [1, 2, 3]}, "kind": {"type": "choice", "values": ["a", "b"]}}
    command = figure('(${{inputs.x}} - 2)^2 + ("${{inputs.kind}}" == "a")')
    record = run(sweep(tmp_path, space, command, sampling_algorithm="grid", limits={"max_concurrent_trials": 3}))
    assert text_of(record, "after") == "2 b"
    (step, _) = record["steps"]
    assert step["why"] == "best of 6: loss 0 with x=2, kind=b"
    table = json.loads((Path(step["log"]).parent / "trials.json").read_text())
    assert [t["values"] for t in table["trials"]] == [{"x": x, "kind": k} for x in (1, 2, 3) for k in "ab"]
    assert [t["metric"] for t in table["trials"]] == [2, 1, 1, 0, 2, 1]
    assert table["best"] == 3


@pytest.mark.parametrize("algorithm", ["random", {"type": "random", "rule": "sobol", "seed": 3}, "bayesian"])
def test_a_sampled_sweep_is_repeatable_and_within_its_space(tmp_path: Path, algorithm: Any) -> None:
    space = {"x": {"type": "loguniform", "min_value": -3, "max_value": 0}}
    path = sweep(tmp_path, space, figure("${{inputs.x}}"), sampling_algorithm=algorithm, limits={"max_total_trials": 4})
    record = run(path, cache=True)
    (table,) = [json.loads(p.read_text()) for p in tmp_path.glob("runs/*/steps/s/trials.json")]
    values = [t["values"]["x"] for t in table["trials"]]
    assert len(set(values)) == 4
    assert all(0.049 < v <= 1 for v in values)
    assert float(text_of(record, "after").split()[0]) == min(values)
    assert run_file(path, {}, Options(mlflow=False, runs=tmp_path / "runs")) == 0
    again = max(tmp_path.glob("runs/*/run.json"), key=lambda p: p.stat().st_mtime_ns)
    assert all(step["reused"] for step in json.loads(again.read_text())["steps"])


def test_a_sweep_job_alone_reads_its_metric_from_mlflow(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(
        "import mlflow, sys\nmlflow.log_metric('loss', abs(float(sys.argv[1]) - 0.5))\n"
        "open(sys.argv[2] + '/text', 'w').write(sys.argv[1])\n"
    )
    job = {
        "type": "sweep",
        "trial": {"code": "src", "environment": "azureml:any:1",
                  "command": "python train.py ${{search_space.lr}} ${{outputs.out}}"},
        "inputs": {"note": "n"},
        "outputs": {"out": {"type": "uri_folder"}},
        "search_space": {"lr": {"type": "choice", "values": [0.1, 0.4, 2]}},
        "sampling_algorithm": "grid",
        "objective": {"goal": "minimize", "primary_metric": "loss"},
        "compute": "azureml:c",
    }  # fmt: skip
    record = run(write(tmp_path / "hpo.yml", job), mlflow=True)
    assert text_of(record, "hpo") == "0.4"
    assert "loss 0.1 with lr=0.4" in record["steps"][0]["why"]


def test_a_trial_that_falls_behind_is_ended_early(tmp_path: Path) -> None:
    space = {"x": {"type": "choice", "values": [1, 50]}}
    policy = {"type": "bandit", "slack_factor": 0.5, "evaluation_interval": 1}
    run(sweep(tmp_path, space, figure("${{inputs.x}}", sleep="0.4; [ ${{inputs.x}} = 1 ] || sleep 20"),
              sampling_algorithm="grid", early_termination=policy))  # fmt: skip
    (table,) = [json.loads(p.read_text()) for p in tmp_path.glob("runs/*/steps/s/trials.json")]
    assert [t["status"] for t in table["trials"]] == ["completed", "stopped early"]
    assert table["trials"][1]["seconds"] < 15


def test_a_sweep_whose_trials_all_fail_says_why(tmp_path: Path) -> None:
    space = {"x": {"type": "choice", "values": [1]}}
    path = sweep(tmp_path, space, "echo no data >&2; exit 3", sampling_algorithm="grid")
    assert run(path, status=3)["steps"][0]["why"] == "none of 1 trials completed with 'loss': no data"
    again = sweep(tmp_path, space, "echo x > ${{outputs.out}}/text", sampling_algorithm="grid")
    assert run_file(again, {}, Options(mlflow=False, runs=tmp_path / "again")) == 3


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"search_space": {"y": {"type": "choice", "values": [1]}}},
            "search_space.y='y': is not an input of the trial",
        ),
        ({"search_space": {"x": {"type": "unifrom"}}}, "type='unifrom': is no distribution; did you mean 'uniform'"),
        (
            {"search_space": {"x": {"type": "uniform", "min_value": 1}}},
            "='max_value': is missing, and uniform needs it",
        ),
        ({"search_space": {"x": {"type": "normal", "mu": 1, "sigma": 1}}}, "type='normal': has no grid"),
        ({"objective": {"goal": "best", "primary_metric": "loss"}}, "objective.goal='best': is no goal"),
        ({"objective": {"goal": "minimize"}}, "objective.primary_metric=None: is missing"),
        ({"sampling_algorithm": "gird"}, "sampling_algorithm='gird': is no algorithm; did you mean 'grid'"),
        ({"early_termination": {"type": "never"}}, "is no policy"),
    ],
)
def test_a_fault_in_a_sweep_is_one_line(tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    space = {"x": {"type": "choice", "values": [1]}}
    path = sweep(tmp_path, space, "true", **({"sampling_algorithm": "grid"} | fields))
    with pytest.raises(BadInput) as wrong:
        read(path)
    assert told in str(wrong.value)
