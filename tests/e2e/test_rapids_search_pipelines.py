"""The two pipelines of the search, run by the engine on the committed trips."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.tracking import new_client
from tests.e2e.test_local_engine import ROOT, ngcrun

pytestmark = pytest.mark.heavy
PIPELINES = ROOT / "component_specs" / "pipelines"
TRIPS = ROOT / "tests" / "data" / "taxi" / "yellow_2016.parquet"


def steps(run: Path) -> dict[str, Any]:
    return {step["name"]: step for step in json.loads((run / "run.json").read_text())["steps"]}


@pytest.fixture
def trips(tmp_path: Path) -> Path:
    (tmp_path / "trips").mkdir()
    shutil.copy(TRIPS, tmp_path / "trips")
    return tmp_path / "trips"


def test_trips_become_a_searched_scored_and_served_model(tmp_path: Path, trips: Path) -> None:
    words = [f"trips={trips}", "trials=3", "overrides=model.rounds=15", "space=depth_and_rate"]
    done = ngcrun(tmp_path, "pipeline", str(PIPELINES / "xgboost_hpo.yaml"), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = tmp_path.glob("runs/xgboost_hpo-*")
    ran = steps(run)
    names = ("prepare", "transform", "tune", "predict", "score", "package", "verify")
    assert {name for name, step in ran.items() if step["status"] == "completed"} >= {f"hpo.{name}" for name in names}
    best = json.loads((run / "outputs" / "study" / "best.json").read_text())
    score = json.loads((run / "outputs" / "score" / "score.json").read_text())
    assert score["rmse"] == pytest.approx(best["held_out"]["rmse"], rel=1e-6)
    report = json.loads((run / "outputs" / "verification" / "report.json").read_text())
    assert {(a["protocol"], a["ok"]) for a in report["answers"]} == {("http", True), ("grpc", True)}
    assert (run / "report.html").read_text().count("data:image/png;base64,") >= 3
    client = new_client(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("xgboost_hpo").experiment_id])
    ids = {r.info.run_name: r.info.run_id for r in runs}
    trials = [r for r in runs if r.info.run_name.startswith("trial-")]
    assert len(trials) == 3
    assert {t.data.tags["mlflow.parentRunId"] for t in trials} == {ids["hpo.tune"]}


def test_the_sweep_runs_here_and_keeps_the_trial_that_is_best_on_the_validation_rows(
    tmp_path: Path, trips: Path
) -> None:
    pipeline = yaml.safe_load((PIPELINES / "xgboost_sweep.yaml").read_text(encoding="utf-8"))
    pipeline["jobs"]["sweep"]["limits"] = {"max_total_trials": 3, "max_concurrent_trials": 2}
    for job in pipeline["jobs"].values():
        where = "trial" if "trial" in job else "component"
        job[where] = str((PIPELINES / job[where]).resolve())
    pipeline["inputs"]["trips"]["path"] = str(trips)
    pipeline["inputs"]["overrides"] = "model.rounds=15"
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    done = ngcrun(tmp_path, "pipeline", "sweep.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = tmp_path.glob("runs/xgboost_sweep-*")
    (table,) = [json.loads(p.read_text()) for p in run.glob("steps/sweep/trials.json")]
    assert [t["status"] for t in table["trials"]] == ["completed"] * 3
    best = table["trials"][table["best"]]
    assert best["metric"] == min(t["metric"] for t in table["trials"])
    settings = json.loads((run / "outputs" / "model" / "features.json").read_text())["settings"]
    for name, value in best["values"].items():
        assert settings[name] == pytest.approx(value)
    assert settings["rounds"] == 15
    assert 0.02 <= best["values"]["learning_rate"] <= 0.5001
