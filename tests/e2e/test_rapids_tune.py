"""The search over settings: what it finds, trains last and writes; workers, pruning, and MLflow's nested runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from rapids_support import TAXI, logged, run
from test_rapids_steps import contents

from runtime.rapids import training
from runtime.rapids.predict import predict
from runtime.rapids.prepare import prepare
from runtime.rapids.score import score
from runtime.rapids.train import train
from runtime.rapids.transform import transform
from runtime.rapids.tune import tune
from runtime.tracking import new_client

SMALL = ["model.rounds=20", "trials=5", "pruner=none"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    (folder / "trips").mkdir()
    shutil.copy(TAXI / "yellow_2016.parquet", folder / "trips")
    assert run(prepare, trips=folder / "trips", prepared=folder / "prepared") == 0
    made = {name: folder / name for name in ("train", "test")}
    assert run(transform, prepared=folder / "prepared", **made) == 0
    return made


def search(parts: dict[str, Path], folder: Path, *words: str, **ports: object) -> dict[str, Path]:
    at = {name: folder / name for name in ("trained", "study")}
    assert run(tune, *words, **parts, **at, **ports) == 0
    return at


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, parts: dict[str, Path]) -> dict[str, Path]:
    return search(parts, tmp_path_factory.mktemp("found"), *SMALL)


def trials(study: Path) -> pl.DataFrame:
    return pl.read_csv(study / "trials.csv")


def best(study: Path) -> dict[str, object]:
    return dict(json.loads((study / "best.json").read_text()))


def test_the_best_of_all_trials_is_kept_with_a_table_and_three_plots(found: dict[str, Path]) -> None:
    table, kept = trials(found["study"]), best(found["study"])
    assert table["trial"].to_list() == [0, 1, 2, 3, 4]
    assert kept["validation_rmse"] == table["validation_rmse"].min()
    row = table.row(by_predicate=pl.col("trial") == kept["trial"], named=True)
    assert {name: row[name] for name in kept["searched"]} == kept["searched"]
    files = set(contents(found["study"]))
    assert files == {"trials.csv", "best.json", "history.png", "importance.png", "parallel_coordinates.png"}
    assert all((found["study"] / f).read_bytes().startswith(b"\x89PNG") for f in files if f.endswith(".png"))
    assert sum(kept["importance"].values()) == pytest.approx(1)


def test_the_first_trial_is_the_model_as_it_was_given(found: dict[str, Path]) -> None:
    first = trials(found["study"]).row(0, named=True)
    assert (first["max_depth"], first["learning_rate"], first["subsample"]) == (8, 0.1, 1.0)


def test_the_best_settings_are_those_trained_last(
    found: dict[str, Path], parts: dict[str, Path], tmp_path: Path
) -> None:
    """The search of the code that this replaces dropped them: its last model had XGBoost's defaults."""
    settings = best(found["study"])["settings"]
    words = [f"model.{name}={value}" for name, value in settings.items()]
    assert run(train, *words, **parts, trained=tmp_path / "same") == 0
    assert contents(tmp_path / "same") == contents(found["trained"])
    assert json.loads((found["trained"] / "features.json").read_text())["settings"] == settings


def test_trials_learn_from_a_share_and_the_last_training_from_all(parts: dict[str, Path], tmp_path: Path) -> None:
    whole = training.Data(sorted(parts["train"].glob("*.parquet")), ["hour"], "fare_usd", 0.1, 0)
    share = dataclasses.replace(whole, share=0.3)
    counted = {data.share: sum(len(y) for _, y in data.training()) for data in (whole, share)}
    assert counted[0.3] == pytest.approx(0.3 * counted[1.0], rel=0.1)
    assert sum(len(y) for _, y in share.validation()) == sum(len(y) for _, y in whole.validation())
    at = search(parts, tmp_path, *SMALL, "search_share=0.3")
    settings = best(at["study"])["settings"]
    words = [f"model.{name}={value}" for name, value in settings.items()]
    assert run(train, *words, **parts, trained=tmp_path / "same") == 0
    assert contents(tmp_path / "same") == contents(at["trained"])


def test_the_trees_of_the_last_model_are_as_deep_as_the_search_allowed(parts: dict[str, Path], tmp_path: Path) -> None:
    import xgboost

    words = ["space=depth_and_rate", "space.max_depth.low=2", "space.max_depth.high=3", "trials=2", "model.rounds=5"]
    at = search(parts, tmp_path, *words)
    assert set(trials(at["study"])["max_depth"]) <= {2, 3}
    booster = xgboost.Booster(model_file=str(at["trained"] / "model.ubj"))
    depth = max(line.count("\t") for tree in booster.get_dump() for line in tree.splitlines())
    assert depth == best(at["study"])["settings"]["max_depth"]
    assert best(at["study"])["searched"].keys() == {"max_depth", "learning_rate"}


def test_the_model_is_taken_by_predict_and_scored_as_the_search_said(
    found: dict[str, Path], parts: dict[str, Path], tmp_path: Path
) -> None:
    assert run(predict, model=found["trained"], features=parts["test"], predictions=tmp_path / "p") == 0
    assert run(score, predictions=tmp_path / "p", truth=parts["test"], report=tmp_path / "r") == 0
    scored = json.loads((tmp_path / "r" / "score.json").read_text())
    assert scored["rmse"] == pytest.approx(best(found["study"])["held_out"]["rmse"], rel=1e-9)


def test_the_same_search_gives_the_same_bytes(found: dict[str, Path], parts: dict[str, Path], tmp_path: Path) -> None:
    again = search(parts, tmp_path, *SMALL)
    for name in ("trained", "study"):
        assert contents(again[name]) == contents(found[name]), name


def test_another_seed_searches_elsewhere(found: dict[str, Path], parts: dict[str, Path], tmp_path: Path) -> None:
    at = search(parts, tmp_path, *SMALL, "seed=1", "sampler=random", "trials=2")
    assert trials(at["study"])["learning_rate"][1] != trials(found["study"])["learning_rate"][1]


@pytest.mark.heavy
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_trials_that_fall_behind_end_before_their_last_round(
    pruner: str, parts: dict[str, Path], tmp_path: Path
) -> None:
    words = [f"pruner={pruner}", "trials=10", "model.rounds=40", "model.early_stopping_rounds=0", "sampler=random"]
    table = trials(search(parts, tmp_path, *words)["study"])
    pruned = table.filter(pl.col("state") == "pruned")
    assert table.height == 10
    assert 1 <= pruned.height < 10
    assert pruned["rounds"].max() < 40
    assert set(table.filter(pl.col("state") == "completed")["rounds"]) == {40}
    kept = table.filter(pl.col("state") == "completed")["validation_rmse"].min()
    assert kept < pruned["validation_rmse"].max()


def test_several_workers_share_the_trials_and_none_is_run_twice(parts: dict[str, Path], tmp_path: Path) -> None:
    at = search(parts, tmp_path, *SMALL, "workers=2", "trials=6")
    table = trials(at["study"])
    assert table["trial"].to_list() == list(range(6))
    assert table["learning_rate"].n_unique() == 6
    assert best(at["study"])["validation_rmse"] == table["validation_rmse"].min()


def test_each_trial_is_a_run_inside_the_steps_run(
    parts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    at = search(parts, tmp_path, *SMALL, "trials=3")
    client = new_client(uri)
    runs = {
        r.info.run_name: r for r in client.search_runs([client.get_experiment_by_name("rapids_tune").experiment_id])
    }
    assert set(runs) == {"rapids_tune", "trial-000", "trial-001", "trial-002"}
    assert {r.info.status for r in runs.values()} == {"FINISHED"}
    parent = runs.pop("rapids_tune")
    table = trials(at["study"])
    for name, child in runs.items():
        row = table.row(int(name[-3:]), named=True)
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.tags["trial_state"] == row["state"] == "completed"
        assert float(child.data.params["learning_rate"]) == row["learning_rate"]
        assert child.data.metrics["rmse"] == row["validation_rmse"]
        assert len(client.get_metric_history(child.info.run_id, "validation_rmse")) >= row["rounds"]
    assert parent.data.params["best.max_depth"] == str(best(at["study"])["searched"]["max_depth"])
    plots = {a.path for a in client.list_artifacts(parent.info.run_id, "study")}
    assert {f"study/{n}.png" for n in ("history", "importance", "parallel_coordinates")} <= plots
    assert "trial_state" not in logged(tmp_path / "metrics.jsonl", "tag")
    assert logged(tmp_path / "metrics.trial-001.jsonl", "tag") == {"trial_state": "completed"}


def test_inputs_of_their_own_win_over_the_model_for_a_sweep(parts: dict[str, Path], tmp_path: Path) -> None:
    assert run(train, "model.max_depth=9", **parts, trained=tmp_path / "a", max_depth=3, learning_rate=0.3) == 0
    assert run(train, "model.max_depth=3", "model.learning_rate=0.3", **parts, trained=tmp_path / "b") == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
