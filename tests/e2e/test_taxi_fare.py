"""The demo, looked at by a machine: raw trips to a verified Triton model, on real parts, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.tracking import new_client
from tests.e2e.test_local_engine import ROOT, ngcrun

PIPELINE = ROOT / "component_specs" / "pipelines" / "taxi_fare.yaml"
STEPS = {f"fare.{name}" for name in ("prepare", "transform", "train", "predict", "score", "package", "verify")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taxi")
    done = ngcrun(folder, "pipeline", str(PIPELINE), "overrides=model.rounds=60 model.max_depth=6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    (run,) = folder.glob("runs/taxi_fare-*")
    return run


def record(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "run.json").read_text()))


def test_every_step_completed_and_said_nothing_alarming(run: Path) -> None:
    steps = {step["name"]: step for step in record(run)["steps"]}
    assert {name: step["status"] for name, step in steps.items()} == dict.fromkeys(STEPS, "completed")
    for step in steps.values():
        log = Path(step["log"]).read_text()
        assert "Traceback" not in log
        assert "warning" not in log.lower(), step["name"]


def test_predict_and_package_began_while_the_other_had_not_ended(run: Path) -> None:
    steps = {step["name"]: step for step in record(run)["steps"]}
    ends = {name: step["began_s"] + step["seconds"] for name, step in steps.items()}
    assert steps["fare.package"]["began_s"] < ends["fare.predict"]
    assert steps["fare.predict"]["began_s"] < ends["fare.package"]


def test_the_model_is_good_and_the_held_out_part_is_scored_the_same_twice(folder: Path) -> None:
    runs = mlflow_runs(folder)
    assert runs["fare.score"].data.metrics["r2"] > 0.9
    assert runs["fare.score"].data.metrics["rmse"] == pytest.approx(runs["fare.train"].data.metrics["rmse"], rel=1e-5)
    assert runs["fare.score"].data.metrics["rows_scored"] == runs["fare.transform"].data.metrics["rows_test"]


def test_no_row_is_lost_without_a_reason(folder: Path) -> None:
    runs = mlflow_runs(folder)
    assert runs["fare.prepare"].data.metrics["rows_read"] == 370_000
    for name in ("fare.prepare", "fare.transform"):
        figures = runs[name].data.metrics
        dropped = sum(value for key, value in figures.items() if key.startswith("rows_dropped_"))
        assert figures["rows_read"] == figures["rows_kept"] + dropped


def mlflow_runs(folder: Path) -> dict[str, Any]:
    client = new_client(f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("taxi_fare")
    return {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}


def test_mlflow_holds_a_run_for_each_step_and_the_model_with_its_signature(folder: Path) -> None:
    runs = mlflow_runs(folder)
    assert set(runs) == STEPS | {"taxi_fare"}
    assert {r.info.status for r in runs.values()} == {"FINISHED"}
    client = new_client(f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    kept = client.download_artifacts(runs["fare.train"].info.run_id, "model", str(folder))
    assert "signature:" in (Path(kept) / "MLmodel").read_text()
    history = client.get_metric_history(runs["fare.train"].info.run_id, "validation_rmse")
    assert len({m.step for m in history}) >= 50


def test_the_repository_was_served_and_answered_like_the_model(run: Path) -> None:
    report = json.loads((run / "outputs" / "verification" / "report.json").read_text())
    assert report["live"] == "run"
    assert {(a["protocol"], a["ok"]) for a in report["answers"]} == {("http", True), ("grpc", True)}
    assert (run / "outputs" / "repository" / "taxi_fare" / "config.pbtxt").is_file()
    figures = [json.loads(line) for line in (run / "steps" / "fare.verify" / "metrics.jsonl").read_text().splitlines()]
    errors = {r["key"]: r["value"] for r in figures if str(r.get("key")).endswith("_max_abs_error")}
    assert {key.split("_")[0] for key in errors} == {"http", "grpc"}
    assert max(errors.values()) < 1e-3


def test_the_report_page_shows_every_step_and_its_plots(run: Path) -> None:
    page = (run / "report.html").read_text()
    for name in STEPS:
        assert f"id='{name}'" in page
    assert page.count("data:image/png;base64,") >= 3
