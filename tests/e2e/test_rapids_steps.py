"""The five RAPIDS steps on real trips."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from rapids_support import CSV, FAST, TAXI, chain, logged, run, table

from runtime.rapids.engine import ROW_GROUP
from runtime.rapids.predict import predict
from runtime.rapids.prepare import prepare
from runtime.rapids.schemas import CANONICAL, SCHEMAS
from runtime.rapids.score import score
from runtime.rapids.train import train
from runtime.rapids.transform import transform


@pytest.fixture(scope="module")
def trips_2016(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trips_2016")
    for name in ("green", "yellow"):
        shutil.copy(TAXI / f"{name}_2016.parquet", folder)
    return folder


@pytest.fixture(scope="module")
def chained(tmp_path_factory, trips_2016) -> dict[str, dict[str, Path]]:
    return {model: chain(tmp_path_factory.mktemp(model), trips_2016, model) for model in FAST}


@pytest.fixture
def metrics_file(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "metrics.jsonl"
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(path))
    return path


def test_a_folder_of_all_schemas_becomes_one_dataset_with_every_row(tmp_path, metrics_file):
    files = sorted(CSV.glob("*.csv"))
    assert len(files) == 4
    assert run(prepare, trips=CSV, prepared=tmp_path / "out") == 0
    rows = table(tmp_path / "out")
    assert rows.columns == ["trip_id", *CANONICAL]
    assert rows.height == rows["trip_id"].n_unique() == 2000
    metrics = logged(metrics_file)
    assert (metrics["rows_read"], metrics["rows_kept"], metrics["files_read"]) == (2000, 2000, 4)
    tags = logged(metrics_file, "tag")
    schemas = {name: tags[f"files_{name}"] for name in ("green_2016", "yellow_2016", "tlc_snake", "tlc_yellow")}
    assert set(schemas.values()) == {"1"}
    assert tags["engine"] == "cpu"


def test_a_file_is_recognised_by_its_header_and_never_by_its_name(tmp_path):
    for folder, green, yellow in (("right", "a_green", "b_yellow"), ("wrong", "a_yellow", "b_green")):
        (tmp_path / folder).mkdir()
        shutil.copy(CSV / "green_2016.csv", tmp_path / folder / f"{green}.csv")
        shutil.copy(CSV / "yellow_2016.csv", tmp_path / folder / f"{yellow}.csv")
        assert run(prepare, trips=tmp_path / folder, prepared=tmp_path / f"{folder}_out") == 0
    assert contents(tmp_path / "right_out") == contents(tmp_path / "wrong_out")


def test_csv_and_parquet_of_the_same_trips_give_the_same_rows(tmp_path):
    for name in ("green", "yellow"):
        assert run(prepare, trips=CSV / f"{name}_2016.csv", prepared=tmp_path / f"{name}_csv") == 0
        assert run(prepare, trips=TAXI / f"{name}_2016.parquet", prepared=tmp_path / f"{name}_parquet") == 0
        assert table(tmp_path / f"{name}_csv").equals(table(tmp_path / f"{name}_parquet").head(500))


def test_every_unreadable_row_is_counted_under_one_reason(tmp_path, metrics_file):
    header, *lines = (CSV / "yellow_2016.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    names = header.split(",")
    cells[0][names.index("fareAmount")] = "ten"
    cells[1][names.index("tpepPickupDateTime")] = "2016-02-30 00:00:00"
    cells[2][names.index("passengerCount")] = "1.5"
    cells[3].append("more")
    cells[4] = cells[4][:-2]
    cells[5][names.index("fareAmount")] = "ten"  # two faults in one row count once
    cells[5][names.index("tripDistance")] = "far"
    cells[6][names.index("fareAmount")] = ""  # missing is not unreadable
    text = "\n".join([header, *(",".join(row) for row in cells), "", ""])
    (tmp_path / "trips.csv").write_text(text)
    assert run(prepare, trips=tmp_path / "trips.csv", prepared=tmp_path / "out") == 0
    metrics = {key: n for key, n in logged(metrics_file).items() if key.startswith("rows_")}
    assert metrics == {
        "rows_read": 501,
        "rows_kept": 494,
        "rows_dropped_ragged": 3,  # too long, too short, and the empty line at the end
        "rows_dropped_bad_pickup_at": 1,
        "rows_dropped_bad_fare_usd": 2,
        "rows_dropped_bad_passenger_count": 1,
    }
    assert table(tmp_path / "out")["trip_id"].to_list() == [6, *range(7, 500)]


def test_a_quoted_separator_is_text_and_not_a_ragged_row(tmp_path, metrics_file):
    header, *lines = (CSV / "yellow_2016.csv").read_text().splitlines()
    lines[0] = lines[0].replace(",N,", ',"N,o",')
    lines[1] = lines[1] + ",more"
    (tmp_path / "trips.csv").write_text("\r\n".join([header, *lines]))
    assert run(prepare, trips=tmp_path / "trips.csv", prepared=tmp_path / "out") == 0
    metrics = logged(metrics_file)
    assert (metrics["rows_read"], metrics["rows_kept"], metrics["rows_dropped_ragged"]) == (500, 499, 1)


def test_bytes_that_are_no_utf_8_spoil_their_cell_and_not_the_file(tmp_path, metrics_file):
    lines = (CSV / "yellow_2016.csv").read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b",N,", b",\xe9,")  # a column that is not read
    lines[2] = lines[2].replace(b"2016-", b"\xe9016-")
    (tmp_path / "trips.csv").write_bytes(b"\n".join(lines))
    assert run(prepare, trips=tmp_path / "trips.csv", prepared=tmp_path / "out") == 0
    metrics = logged(metrics_file)
    assert (metrics["rows_kept"], metrics["rows_dropped_bad_pickup_at"]) == (499, 1)


def test_columns_can_be_named_on_the_command_line(tmp_path):
    text = (CSV / "yellow_2016.csv").read_text().replace("fareAmount", "price")
    (tmp_path / "trips.csv").write_text(text)
    assert run(prepare, "columns.fare=price", trips=tmp_path / "trips.csv", prepared=tmp_path / "out") == 0
    assert run(prepare, trips=CSV / "yellow_2016.csv", prepared=tmp_path / "same") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "same")


def test_transform_drops_implausible_trips_and_says_how_many_and_why(tmp_path, metrics_file, trips_2016):
    raw = pl.read_parquet(trips_2016 / "yellow_2016.parquet").head(1000)
    first = pl.int_range(pl.len())
    raw.with_columns(
        fareAmount=pl.when(first == 0).then(None).when(first == 1).then(-4.0).otherwise("fareAmount"),
        tripDistance=pl.when(first == 2).then(4000.0).otherwise("tripDistance"),
        tpepDropoffDateTime=pl.when(first == 3).then("tpepPickupDateTime").otherwise("tpepDropoffDateTime"),
        startLon=pl.when(first == 4).then(0.0).otherwise("startLon"),
    ).write_parquet(tmp_path / "trips.parquet")
    assert run(prepare, trips=tmp_path / "trips.parquet", prepared=tmp_path / "prepared") == 0
    before = run_transform(tmp_path / "prepared", tmp_path / "changed", metrics_file)
    assert run(prepare, trips=trips_2016 / "yellow_2016.parquet", prepared=tmp_path / "all") == 0
    assert before["rows_read"] == 1000 == before["rows_kept"] + sum(n for k, n in before.items() if "dropped" in k)
    assert before["rows_dropped_missing_fare_usd"] == 1
    reasons = ("fare_out_of_range", "distance_out_of_range", "duration_out_of_range", "outside_area")
    assert all(before[f"rows_dropped_{reason}"] >= 1 for reason in reasons)
    train_part, test_part = table(tmp_path / "changed" / "train"), table(tmp_path / "changed" / "test")
    assert not {0, 1, 2, 3, 4} & {*train_part["trip_id"], *test_part["trip_id"]}
    assert train_part.height + test_part.height == before["rows_kept"]


def run_transform(prepared: Path, out: Path, metrics_file: Path, **ports: object) -> dict[str, float]:
    metrics_file.unlink(missing_ok=True)
    assert run(transform, prepared=prepared, train=out / "train", test=out / "test", **ports) == 0
    return {key: n for key, n in logged(metrics_file).items() if key.startswith("rows_")}


def test_the_parts_share_no_trip_and_hold_out_the_share_that_was_asked(chained):
    at = chained["linear"]
    train_part, test_part = table(at["train"]), table(at["test"])
    assert not set(train_part["trip_id"]) & set(test_part["trip_id"])
    assert test_part.height / (test_part.height + train_part.height) == pytest.approx(0.2, abs=0.01)


def test_features_without_any_value_are_left_out_and_said_so(chained):
    content = json.loads((chained["linear"]["train"] / "features.json").read_text())
    names = [feature["name"] for feature in content["features"]]
    assert "haversine_km" in names
    assert content["left_out"] == ["pickup_location_id", "dropoff_location_id"]
    part = table(chained["linear"]["train"])
    assert part.columns == ["trip_id", *names, "fare_usd"]
    assert set(part.select(names).dtypes) == {pl.Float32}


@pytest.mark.parametrize("model", FAST)
def test_the_score_equals_what_training_reported_on_the_held_out_part(chained, model, tmp_path, metrics_file):
    at = chained[model]
    ports = {"train": at["train"], "test": at["test"], "trained": tmp_path / "again"}
    assert run(train, f"model={model}", *FAST[model], **ports) == 0
    reported, scored = logged(metrics_file), json.loads((at["report"] / "score.json").read_text())
    for figure in ("rmse", "mae", "r2"):
        assert scored[figure] == pytest.approx(reported[figure], rel=1e-9)
    assert scored["rows"] == table(at["test"]).height
    assert scored["r2"] > 0.8
    assert sum(v for k, v in reported.items() if k.startswith("importance_")) == pytest.approx(1)
    assert contents(tmp_path / "again") == contents(at["trained"])


@pytest.mark.parametrize("model", FAST)
def test_the_same_inputs_give_the_same_bytes(chained, model, tmp_path, trips_2016):
    again = chain(tmp_path, trips_2016, model)
    for name, folder in chained[model].items():
        assert contents(folder) == contents(again[name]), name


def contents(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    assert files
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_order_of_rows_does_not_decide_which_prediction_meets_which_truth(chained, tmp_path):
    at = chained["xgboost"]
    (tmp_path / "shuffled").mkdir()
    table(at["predictions"]).sample(fraction=1, shuffle=True, seed=1).write_parquet(tmp_path / "shuffled" / "a.parquet")
    assert run(score, predictions=tmp_path / "shuffled", truth=at["test"], report=tmp_path / "report") == 0
    assert contents(tmp_path / "report") == contents(at["report"])


@pytest.mark.parametrize("model", FAST)
def test_the_model_folder_holds_what_triton_needs(chained, model):
    folder = chained[model]["trained"]
    native = "model.ubj" if model == "xgboost" else "model.skops"
    assert {"MLmodel", native, "features.json", "sample.parquet", "importances.png"} <= set(contents(folder))
    content = json.loads((folder / "features.json").read_text())
    assert (content["learner"], content["kind"]) == (model, "regression")
    assert content["target"] == {"name": "fare_usd", "unit": "USD"}
    names = [feature["name"] for feature in content["features"]]
    sample = pl.read_parquet(folder / "sample.parquet")
    assert sample.columns == names
    assert sample.height == 256
    held_out = table(chained[model]["test"]).select(names)
    assert sample.equals(held_out.head(256))


@pytest.mark.parametrize("model", FAST)
# mlflow 3.15.0 warns about type hints of its own agents when its pyfunc module is first imported.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
# scikit-learn remarks that the columns have names: MLflow gives a table, our own callers arrays, and neither is wrong.
@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
def test_mlflow_loads_the_model_and_predicts_what_predict_wrote(chained, model):
    import mlflow.pyfunc

    at = chained[model]
    names = [feature["name"] for feature in json.loads((at["trained"] / "features.json").read_text())["features"]]
    rows = table(at["test"]).head(100)
    loaded = mlflow.pyfunc.load_model(str(at["trained"]))
    assert loaded.metadata.get_input_schema().input_names() == names
    got = loaded.predict(rows.select(names).to_pandas())
    expected = table(at["predictions"]).head(100)["prediction"].to_numpy()
    assert np.allclose(np.asarray(got, dtype=np.float32).ravel(), expected, rtol=1e-6)


def test_early_stopping_keeps_only_the_trees_up_to_the_best_round(tmp_path, chained, metrics_file):
    import xgboost

    at = chained["xgboost"]
    words = ["model.rounds=200", "model.learning_rate=0.8", "model.early_stopping_rounds=3"]
    assert run(train, *words, train=at["train"], test=at["test"], trained=tmp_path / "trained") == 0
    rounds = [json.loads(line) for line in metrics_file.read_text().splitlines()]
    validation = [r["value"] for r in rounds if r.get("key") == "validation_rmse"]
    booster = xgboost.Booster(model_file=str(tmp_path / "trained" / "model.ubj"))
    assert len(validation) < 200
    assert booster.num_boosted_rounds() == int(np.argmin(validation)) + 1
    assert booster.feature_names[0] == "hour"


def test_a_model_trained_on_gaps_predicts_rows_with_gaps(tmp_path):
    for name in ("green_2016.csv", "tlc_snake_2019.csv"):  # one has coordinates, the other location ids
        (tmp_path / "trips").mkdir(exist_ok=True)
        shutil.copy(CSV / name, tmp_path / "trips")
    for model in FAST:
        at = chain(tmp_path / model, tmp_path / "trips", model)
        assert table(at["test"]).null_count().select("haversine_km", "pickup_location_id").sum_horizontal().item() > 0
        assert table(at["predictions"])["prediction"].is_finite().all()


@pytest.mark.parametrize("model", ["linear", "random_forest"])
# onnx 1.23 and skl2onnx 1.20 call each other's and numpy's old names; the conversion is what is tested.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_saved_pipeline_converts_to_onnx_and_predicts_the_same(chained, model):
    import onnxruntime
    import skops.io
    from skl2onnx import to_onnx

    from runtime.rapids.model_folder import TRUSTED

    folder = chained[model]["trained"]
    x = pl.read_parquet(folder / "sample.parquet").to_numpy()
    pipeline = skops.io.load(folder / "model.skops", trusted=TRUSTED)
    session = onnxruntime.InferenceSession(to_onnx(pipeline, x[:1]).SerializeToString())
    (got,) = session.run(None, {session.get_inputs()[0].name: x})
    assert np.allclose(got.ravel(), pipeline.predict(x), rtol=1e-3)


def test_every_known_schema_is_an_option_of_columns():
    options = prepare.all_ports()["columns"].marker.options
    assert set(options) == {"auto", *SCHEMAS}
    assert len(SCHEMAS) == 6


def test_predict_reads_a_table_without_a_target(chained, tmp_path):
    at = chained["linear"]
    (tmp_path / "new").mkdir()
    table(at["test"]).drop("fare_usd").write_parquet(tmp_path / "new" / "a.parquet")
    assert run(predict, model=at["trained"], features=tmp_path / "new", predictions=tmp_path / "out") == 0
    assert table(tmp_path / "out").equals(table(at["predictions"]))


def test_a_feature_that_only_dropped_trips_have_is_left_out(tmp_path, metrics_file, trips_2016):
    assert run(prepare, trips=trips_2016, prepared=tmp_path / "prepared") == 0
    path = tmp_path / "prepared" / "part-00000.parquet"
    trips = pl.read_parquet(path)
    one = pl.col("trip_id") == trips["trip_id"][100]
    changed = trips.with_columns(
        fare_usd=pl.when(one).then(1000.0).otherwise("fare_usd"),
        pickup_location_id=pl.when(one).then(7).cast(pl.Int32),
    )
    path.chmod(0o644)
    changed.write_parquet(path)
    parts = {name: tmp_path / name for name in ("train", "test")}
    assert run(transform, prepared=tmp_path / "prepared", engine="duckdb-check", **parts) == 0
    features = json.loads((tmp_path / "train" / "features.json").read_text())
    assert features["left_out"] == ["pickup_location_id", "dropoff_location_id"]
    for name in parts:
        assert table(tmp_path / name).columns == ["trip_id", *[f["name"] for f in features["features"]], "fare_usd"]
    assert logged(metrics_file)["features"] == 12


def test_bins_on_disk_make_the_same_model(tmp_path, metrics_file, chained, monkeypatch):
    at = chained["xgboost"]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for bins in ("disk", "memory"):
        ports = {"train": at["train"], "test": at["test"], "trained": tmp_path / "out" / bins}
        assert run(train, "model=xgboost", *FAST["xgboost"], bins=bins, **ports) == 0
        assert logged(metrics_file, "tag")["bins"] == bins
    written = {bins: sorted((tmp_path / "out" / bins).rglob("*.ubj")) for bins in ("disk", "memory")}
    assert len(written["disk"]) == 1
    assert written["disk"][0].read_bytes() == written["memory"][0].read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"out", "metrics.jsonl"}


def test_what_is_written_is_laid_out_for_those_who_read_it(tmp_path):
    """zstd, dictionaries of whole numbers (Polars makes none of floats), row groups of one size, statistics by which a range of trip_id skips all but one of them."""
    at = {name: tmp_path / name for name in ("prepared", "train", "test")}
    assert run(prepare, trips=TAXI / "yellow_2018_2020.parquet", prepared=at["prepared"]) == 0
    assert run(transform, prepared=at["prepared"], train=at["train"], test=at["test"]) == 0
    for folder, path in at.items():
        assert sorted(file.name for file in path.glob("*.parquet")) == ["part-00000.parquet"]
        footer = pq.read_metadata(path / "part-00000.parquet")
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        assert all(group.num_rows <= ROW_GROUP for group in groups)
        assert len(groups) <= footer.num_rows // ROW_GROUP + 2
        place = footer.schema.names.index
        ids = [group.column(place("trip_id")).statistics for group in groups]
        ends = [end for found in ids for end in (found.min, found.max)]
        assert ends == sorted(ends)
        assert len(set(ends)) == len(ends)
        for group in groups:
            columns = [group.column(number) for number in range(footer.num_columns)]
            assert {column.compression for column in columns} == {"ZSTD"}
            assert all(column.statistics is not None and column.statistics.has_null_count for column in columns)
            if folder == "prepared":
                assert group.column(place("vendor_id")).has_dictionary_page
    assert len(groups) == 1
