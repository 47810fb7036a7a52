"""Against the real MLflow: what a pipeline and a step record, and what happens when the store is slow or gone."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import ClassVar

import pytest

from runtime import images, metrics, spec
from runtime.execute import main
from runtime.metrics import Memory, Metrics, Record, from_environment
from runtime.tracking import MlflowRun, new_client
from tests.e2e.test_local_engine import ROOT, ngcrun
from tests.fakes.echo import echo
from tests.fakes.pipelines import write_pipeline


def test_a_pipeline_is_a_parent_run_with_a_child_for_each_step(tmp_path: Path) -> None:
    (tmp_path / "echo.yaml").write_text(spec.text_of(echo, images.load(ROOT / "containers" / "images.yaml")))
    jobs = {"a": {"component": "./echo.yaml", "inputs": {"count": 7}}, "b": {"component": "./echo.yaml", "inputs": {"mode": "empty"}}}  # fmt: skip
    done = ngcrun(tmp_path, "pipeline", write_pipeline(tmp_path, jobs, inputs={"word": "x"}).name)
    assert done.returncode == 4
    assert "warning" not in done.stderr
    client = new_client(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("pipe")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"pipe", "a", "b"}
    assert runs["pipe"].data.params == {"word": "x"}
    assert runs["pipe"].info.status == "FAILED"
    assert (runs["a"].info.status, runs["b"].info.status) == ("FINISHED", "FAILED")
    assert runs["a"].data.tags["mlflow.parentRunId"] == runs["pipe"].info.run_id
    assert runs["a"].data.metrics["count"] == 7.0
    assert runs["a"].data.metrics["seconds"] > 0
    assert runs["a"].data.params["model.max_depth"] == "6"
    (record,) = tmp_path.glob("runs/*/run.json")
    assert json.loads(record.read_text())["mlflow"]["run_id"] == runs["pipe"].info.run_id
    assert sorted(p.name for p in (tmp_path / "runs").iterdir() if not p.name.startswith("pipe-")) == [
        ".cache",
        "mlflow.db",
    ]


def environment(uri: str, **more: str) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "steps"} | more


def test_a_step_by_itself_makes_a_run_of_its_own_with_all_that_it_logs(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (tmp_path / "plot.txt").write_text("a plot")
    log = from_environment("my_step", environment(uri))
    for step in range(2500):
        log.log({"loss": 1.0 / (step + 1), "rate": 0.1}, step=step)
    log.params({"depth": 6, "long": "x" * 600} | {f"p{i}": i for i in range(150)})
    log.tags({"engine": "cpu"})
    log.artifact(tmp_path / "plot.txt", "plots")
    log.close()
    client = new_client(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("steps").experiment_id])
    assert (run.info.run_name, run.info.status) == ("my_step", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
        (i, 1.0 / (i + 1)) for i in range(2500)
    ]
    assert len(run.data.params) == 152
    assert run.data.params["long"] == "x" * 500
    assert run.data.tags["engine"] == "cpu"
    assert [a.path for a in client.list_artifacts(run.info.run_id, "plots")] == ["plots/plot.txt"]
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(tmp_path)


def test_a_run_given_by_the_environment_is_used_and_not_ended(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = new_client(uri)
    run_id = client.create_run(client.create_experiment("e", str(tmp_path / "artifacts"))).info.run_id
    log = from_environment("my_step", environment(uri, MLFLOW_RUN_ID=run_id))
    log.log({"loss": 0.5})
    log.close()
    run = client.get_run(run_id)
    assert (run.info.status, run.data.metrics) == ("RUNNING", {"loss": 0.5})


def test_a_server_that_is_gone_costs_a_warning_and_not_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "m.jsonl"))
    assert main(echo, [f"--out={tmp_path / 'out'}"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("warning: metrics: MlflowRun: MlflowException: ")
    assert (tmp_path / "out" / "ports.json").is_file()
    kept = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert ("count", 10.0) in [(r.get("key"), r["value"]) for r in kept]


def test_a_server_that_never_answers_delays_the_end_by_a_known_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as deaf:  # a stand-in: accepts connections and says nothing, as a hung server does
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        log = from_environment("my_step", environment(f"http://127.0.0.1:{deaf.getsockname()[1]}"))
        began = time.monotonic()
        for step in range(1000):
            log.log({"loss": 0.5}, step=step)
        assert time.monotonic() - began < 5
        log.close(timeout_s=3.0)
        assert time.monotonic() - began < 15
    assert "warning: metrics: MlflowRun: no answer" in capsys.readouterr().err


def test_a_store_that_fails_now_and_then_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    class Flaky(Memory):
        failures = 2

        def write(self, records: object) -> None:
            if self.failures:
                self.failures -= 1
                raise OSError("database is locked")
            super().write(records)  # type: ignore[arg-type]

    sink = Flaky()
    log = Metrics([sink])
    log.log({"loss": 1.0})
    log.close()
    assert sink.latest() == {"loss": 1.0}
    assert capsys.readouterr().err == ""


def test_a_store_that_keeps_failing_is_named_with_what_it_lost(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Memory):
        def write(self, records: object) -> None:
            raise OSError("disk I/O error")

    log = Metrics([Broken()])
    log.log({"a": 1.0, "b": 2.0})
    log.close()
    assert capsys.readouterr().err == "warning: metrics: Broken: OSError: disk I/O error; 2 records not stored\n"


def test_full_batches_reach_a_slow_store() -> None:
    class Slow(Memory):
        sizes: ClassVar[list[int]] = []

        def write(self, records: object) -> None:
            time.sleep(0.05)
            self.sizes.append(len(records))  # type: ignore[arg-type]

    log = Metrics([Slow()])
    for step in range(5000):
        log.log({"loss": 1.0}, step=step)
    log.close()
    assert sum(Slow.sizes) == 5000
    assert max(Slow.sizes) == metrics.BATCH
    assert len(Slow.sizes) <= 8


def test_what_mlflow_refuses_costs_no_later_figure_and_the_run_still_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    sink = MlflowRun("my_step", environment(uri))
    sink.write([Record("metric", "first", 1.0, 0, 0)])
    log = Metrics([sink])
    log.artifact(tmp_path / "never written")
    until = time.monotonic() + 10
    while not sink._calls and time.monotonic() < until:  # it stays there once it has been refused
        time.sleep(0.01)
    log.log({"last": 1.0})
    log.close()
    (run,) = new_client(uri).search_runs([new_client(uri).get_experiment_by_name("steps").experiment_id])
    assert (run.info.status, set(run.data.metrics)) == ("FINISHED", {"first", "last"})
    assert "FileNotFoundError" in capsys.readouterr().err


def test_a_param_that_comes_again_keeps_its_first_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    log = from_environment("my_step", environment(uri))
    log.params({"depth": 6})
    log.params({"depth": 7, "rate": 1})
    log.tags({"engine": "gpu"})
    log.tags({"engine": "cpu"} | {f"t{i}": i for i in range(250)})
    log.close()
    (run,) = new_client(uri).search_runs([new_client(uri).get_experiment_by_name("steps").experiment_id])
    assert run.data.params == {"depth": "6", "rate": "1"}
    assert (run.data.tags["engine"], run.data.tags["t249"]) == ("cpu", "249")
    assert capsys.readouterr().err == ""


def test_a_metrics_file_that_cannot_be_written_costs_a_warning_and_not_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NGCRUN_METRICS_FILE", "/proc/nowhere/m.jsonl")
    assert main(echo, [f"--out={tmp_path / 'out'}"]) == 0
    assert capsys.readouterr().err.startswith("warning: metrics: JsonLines: FileNotFoundError: ")
