"""What a pipeline passes on from its steps' files of figures, against the real MLflow."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.local import track
from runtime.local.track import Tracker, new_records
from runtime.metrics import JsonLines, Record, from_environment
from runtime.tracking import FOLLOWED, new_client
from tests.e2e.test_local_engine import ROOT, ngcrun
from tests.fakes.pipelines import write_pipeline

PREPARE = ROOT / "component_specs" / "rapids" / "rapids_prepare.yaml"


def record(kind: str, key: str, value: object, step: int = 0) -> Record:
    return Record(kind, key, value, step, 1_700_000_000_000 + step)  # type: ignore[arg-type] # any kind


def test_what_a_step_records_is_in_its_run(tmp_path: Path) -> None:
    (tmp_path / "prepare.yaml").write_text(PREPARE.read_text())
    trips = ROOT / "tests" / "data" / "taxi" / "yellow_2016.parquet"
    job = {"component": "./prepare.yaml", "inputs": {"trips": {"type": "uri_folder", "path": str(trips)}}}
    done = ngcrun(tmp_path, "pipeline", write_pipeline(tmp_path, {"a": job}).name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr
    client = new_client(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("pipe").experiment_id])
    (run,) = (r for r in runs if r.info.run_name == "a")
    (file,) = tmp_path.glob("runs/pipe-*/steps/a/metrics.jsonl")
    written = [json.loads(line) for line in file.read_text().splitlines()]
    for kind, found in (("metric", run.data.metrics), ("param", run.data.params), ("tag", run.data.tags)):
        wanted = {r["key"]: r["value"] for r in written if r["kind"] == kind}
        assert wanted
        assert wanted.items() <= found.items()
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, len(data.dataset.digest)) == ("trips", 36)


def test_a_step_that_is_followed_does_without_mlflow_until_it_has_an_artifact(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = new_client(uri)
    run_id = client.create_run(client.create_experiment("e", str(tmp_path / "artifacts"))).info.run_id
    (tmp_path / "plot.txt").write_text("a plot")
    code = """
import sys
from pathlib import Path
from runtime.metrics import from_environment
log = from_environment("step")
log.log({"loss": 1.0})
log.params({"depth": 6})
log.tags({"engine": "cpu"})
if len(sys.argv) > 1:
    log.artifact(Path(sys.argv[1]), "plots")
log.close()
print("mlflow" in sys.modules)
"""
    env = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_RUN_ID": run_id, "PYTHONPATH": str(ROOT)}
    env |= dict.fromkeys(("NGCRUN_METRICS_FILE", FOLLOWED), str(tmp_path / "metrics.jsonl"))
    for words, imported in (([], "False"), ([str(tmp_path / "plot.txt")], "True")):
        done = subprocess.run([sys.executable, "-c", code, *words], env=env, check=True, capture_output=True, text=True)
        assert (done.stdout.strip(), done.stderr) == (imported, "")
    run = client.get_run(run_id)
    assert (run.data.metrics, run.data.params, run.info.status) == ({}, {}, "RUNNING")
    assert [a.path for a in client.list_artifacts(run_id, "plots")] == ["plots/plot.txt"]


def test_a_step_with_another_file_than_the_one_that_is_followed_sends_all_itself(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = new_client(uri)
    run_id = client.create_run(client.create_experiment("e")).info.run_id
    env = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_RUN_ID": run_id, FOLLOWED: "/elsewhere/metrics.jsonl"}
    log = from_environment("step", env | {"NGCRUN_METRICS_FILE": str(tmp_path / "metrics.jsonl")})
    log.log({"loss": 1.0})
    log.close()
    assert client.get_run(run_id).data.metrics == {"loss": 1.0}


def test_the_parts_of_a_followed_step_are_runs_that_it_makes_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = new_client(uri)
    run_id = client.create_run(client.create_experiment("e")).info.run_id
    env = dict.fromkeys(("NGCRUN_METRICS_FILE", FOLLOWED), str(tmp_path / "metrics.jsonl"))
    log = from_environment("step", {"MLFLOW_TRACKING_URI": uri, "MLFLOW_RUN_ID": run_id} | env)
    part = log.child("trial-000")
    part.log({"rmse": 1.5})
    part.end()
    log.close()
    (trial,) = (r for r in client.search_runs([client.get_run(run_id).info.experiment_id]) if r.info.run_id != run_id)
    assert (trial.info.run_name, trial.data.metrics, trial.info.status) == ("trial-000", {"rmse": 1.5}, "FINISHED")
    assert trial.data.tags["mlflow.parentRunId"] == run_id


def test_only_whole_lines_of_ours_are_passed_on_and_none_twice(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert new_records(file, 0) == ([], 0)
    first = [record("metric", "loss", 0.5), record("metric", "odd", float("inf")), record("param", "depth", "6")]
    JsonLines(file).write([*first, record("artifact", "plots", "/a/plot.png")])
    found, place = new_records(file, 0)
    assert found == first
    with file.open("a") as opened:
        opened.write('{"kind": "status", "value": "FINISHED"}\nno JSON\n[1]\n{"kind": "metric", "key": "x"}\n')
        opened.write('{"kind": "metric", "key": "y", "value": "high", "step": 0, "time_ms": 1}\n{"kind": "met')
    assert new_records(file, place)[0] == []
    place = new_records(file, place)[1]
    hidden = new_records(file, 0, lambda lines: lines.replace(b"depth", b"***"))[0]
    assert [(r.key, r.value) for r in hidden] == [("loss", 0.5), ("odd", float("inf")), ("***", "6")]
    with file.open("a") as opened:
        opened.write('ric", "key": "z", "value": 1, "step": 3, "time_ms": 7}\n')
    assert new_records(file, place)[0] == [Record("metric", "z", 1.0, 3, 7)]


def test_what_mlflow_refuses_is_told_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Tracker(uri, "pipe", ["a", "b"], {})
    for step, metric in (("a", "no?such#name"), ("b", "loss")):
        assert tracker.environment(step)["MLFLOW_RUN_ID"]
        with tracker.followed(step, tmp_path / f"{step}.jsonl"):
            JsonLines(tmp_path / f"{step}.jsonl").write([record("metric", metric, 1.0)])
        tracker.ended(step, "completed", {})
    tracker.close("completed", {})
    told = capsys.readouterr().err
    assert told.startswith("warning: metrics: a: MlflowException: ")
    assert told.endswith("1 records not stored\n")
    assert told.count("\n") == 1
    client = new_client(uri)
    runs = {r.info.run_name: r for r in client.search_runs([client.get_experiment_by_name("pipe").experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(("pipe", "a", "b"), "FINISHED")
    assert runs["b"].data.metrics == {"loss": 1.0}


def test_a_store_that_hangs_costs_the_end_of_a_step_a_known_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "pipe", ["a"], {})
    tracker.environment("a")
    asked, answer = threading.Event(), threading.Event()

    def hang(*_args: object) -> None:
        asked.set()
        answer.wait()

    monkeypatch.setattr("runtime.tracking.MlflowRun.write", hang)
    monkeypatch.setattr(track, "CLOSE_S", 0.1)
    with tracker.followed("a", tmp_path / "a.jsonl"):
        JsonLines(tmp_path / "a.jsonl").write([record("metric", "loss", 1.0)])
        assert asked.wait(30)
    assert capsys.readouterr().err == "warning: metrics: a: no answer in time; the last may not be stored\n"
    answer.set()
    tracker.close("completed", {})
