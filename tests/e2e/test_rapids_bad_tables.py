"""What bad tables, models and settings get from transform, train, predict and score; as in test_rapids_bad_input.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from rapids_support import TAXI, assert_refused, chain, run, table, truncated

from runtime.rapids.predict import predict
from runtime.rapids.score import score
from runtime.rapids.train import train
from runtime.rapids.transform import transform


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, Path]:
    return chain(tmp_path_factory.mktemp("good"), TAXI / "green_2016.parquet", "linear")


def test_transform_refuses_when_no_row_is_left(tmp_path, capsys, good):
    ports = {"train": tmp_path / "train", "test": tmp_path / "test"}
    status = run(transform, "limits.min_fare_usd=9999", "limits.max_fare_usd=null", prepared=good["prepared"], **ports)
    assert_refused(
        capsys, list(ports.values()), "no row of 5000 is left (fare_out_of_range 5000); widen limits", status
    )


def test_transform_refuses_trips_without_any_fare(tmp_path, capsys, good):
    (tmp_path / "in").mkdir()
    rows = table(good["prepared"]).with_columns(fare_usd=pl.lit(None, pl.Float64))
    rows.write_parquet(tmp_path / "in" / "part-00000.parquet")
    ports = {"train": tmp_path / "train", "test": tmp_path / "test"}
    status = run(transform, prepared=tmp_path / "in", **ports)
    assert_refused(capsys, list(ports.values()), "no row of 5000 is left (missing_fare_usd 5000); widen", status)


def test_transform_refuses_a_table_that_prepare_did_not_write(tmp_path, capsys):
    ports = {"train": tmp_path / "train", "test": tmp_path / "test"}
    status = run(transform, prepared=TAXI / "green_2016.parquet", **ports)
    assert_refused(capsys, list(ports.values()), "lacks trip_id, pickup_at, ", status)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_train_refuses_a_target_that_is_no_number(bad, tmp_path, capsys, good):
    shutil.copytree(good["train"], tmp_path / "train")
    (part,) = (tmp_path / "train").glob("*.parquet")
    rows = pl.read_parquet(part)
    first = pl.int_range(pl.len()) < 3
    rows.with_columns(fare_usd=pl.when(first).then(pl.lit(bad, pl.Float32)).otherwise("fare_usd")).write_parquet(part)
    status = run(train, train=tmp_path / "train", test=good["test"], trained=tmp_path / "out")
    text = f"fare_usd is missing or not finite in 3 of {rows.height} rows; drop them"
    assert_refused(capsys, [tmp_path / "out"], text, status)


TRAIN = {
    "setting_out_of_range": (
        ["model.max_depth=0"],
        "model.max_depth=0: is out of range; give at least 1 and at most 64",
    ),
    "setting_of_another_model": (["model=linear", "model.max_depth=3"], "is not a field of model=linear"),
    "setting_of_wrong_type": (["model.rounds=many"], "model.rounds='many': Value 'many' of type 'str' could not be"),
    "unknown_model": (["model=xgbost"], "model='xgbost': is not an option; did you mean 'xgboost'?"),
}


@pytest.mark.parametrize("case", TRAIN)
def test_train_refuses(case, tmp_path, capsys, good):
    words, text = TRAIN[case]
    status = run(train, *words, train=good["train"], test=good["test"], trained=tmp_path / "out")
    assert_refused(capsys, [tmp_path / "out"], text, status)


def test_train_refuses_a_truncated_table(tmp_path, capsys, good):
    shutil.copytree(good["train"], tmp_path / "train")
    (part,) = (tmp_path / "train").glob("*.parquet")
    truncated(part, part)
    status = run(train, train=tmp_path / "train", test=good["test"], trained=tmp_path / "out")
    assert_refused(capsys, [tmp_path / "out"], "is not a readable Parquet file", status)


def test_train_refuses_parts_of_two_transforms(tmp_path, capsys, good):
    shutil.copytree(good["test"], tmp_path / "test")
    content = json.loads((tmp_path / "test" / "features.json").read_text())
    content["features"].pop()
    (tmp_path / "test" / "features.json").write_text(json.dumps(content))
    status = run(train, train=good["train"], test=tmp_path / "test", trained=tmp_path / "out")
    assert_refused(capsys, [tmp_path / "out"], "has other features than train; give both parts of one", status)


def test_predict_refuses_a_folder_that_is_no_model(tmp_path, capsys, good):
    status = run(predict, model=good["test"], features=good["test"], predictions=tmp_path / "out")
    assert_refused(capsys, [tmp_path / "out"], "holds a model of unknown kind None; known: xgboost, ", status)


def test_predict_refuses_a_broken_model(tmp_path, capsys, good):
    shutil.copytree(good["trained"], tmp_path / "model")
    truncated(tmp_path / "model" / "model.skops", tmp_path / "model" / "model.skops")
    status = run(predict, model=tmp_path / "model", features=good["test"], predictions=tmp_path / "out")
    assert_refused(capsys, [tmp_path / "out"], "is not a readable scikit-learn model; train it again", status)


def test_predict_refuses_a_table_that_lacks_a_feature(tmp_path, capsys, good):
    (tmp_path / "in").mkdir()
    table(good["test"]).drop("hour").write_parquet(tmp_path / "in" / "a.parquet")
    status = run(predict, model=good["trained"], features=tmp_path / "in", predictions=tmp_path / "out")
    assert_refused(capsys, [tmp_path / "out"], "lacks the column hour; transform it as the training part", status)


SCORE = {
    "missing": (lambda p: p.head(-3), "3 without a prediction"),
    "twice": (lambda p: pl.concat([p, p.head(2)]), "2 predicted more than once"),
    "unknown": (lambda p: p.with_columns(pl.col("trip_id") + 10**12), "without a true value"),
    "nan": (
        lambda p: p.with_columns(prediction=pl.lit(float("nan"), pl.Float32)),
        "with a value that is no number",
    ),
    "text": (lambda p: p.with_columns(pl.col("prediction").cast(pl.String)), "column prediction is String"),
    "lacks": (lambda p: p.drop("prediction"), "lacks the column prediction; it has: trip_id"),
}


@pytest.mark.parametrize("case", SCORE)
def test_score_refuses_predictions_that_do_not_match_the_truth(case, tmp_path, capsys, good):
    change, text = SCORE[case]
    (tmp_path / "in").mkdir()
    change(table(good["predictions"])).write_parquet(tmp_path / "in" / "a.parquet")
    status = run(score, predictions=tmp_path / "in", truth=good["test"], report=tmp_path / "out")
    assert_refused(capsys, [tmp_path / "out"], text, status)
