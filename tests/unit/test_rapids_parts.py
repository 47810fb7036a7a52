"""The pieces of the RAPIDS steps: schemas, ragged rows, features, the split, sums and settings."""

from __future__ import annotations

import ctypes
import datetime
import io
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.component import Component
from runtime.errors import BadInput
from runtime.metrics import Memory, Metrics
from runtime.rapids import boosting, csv_files, engine, features, figures, learners, model_folder, tables, translation
from runtime.rapids.schemas import CANONICAL, FIELDS, REQUIRED, SCHEMAS, Columns, Recognised, recognise
from runtime.rapids.transform import in_share

CSV = Path(__file__).parents[1] / "data" / "taxi_csv"


def header(name: str) -> list[str]:
    return (CSV / name).read_text().splitlines()[0].split(",")


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        ("green_2016.csv", "green_2016"),
        ("yellow_2016.csv", "yellow_2016"),
        ("tlc_snake_2019.csv", "tlc_snake"),
        ("tlc_yellow_2022.csv", "tlc_yellow"),
    ],
)
def test_each_public_header_is_recognised(file, schema):
    found = recognise(header(file), Columns())
    assert isinstance(found, Recognised)
    assert found.name == schema
    assert set(REQUIRED) <= set(found.sources)


def test_of_two_schemas_that_fit_the_fuller_one_is_taken():
    plain = [name.replace("tpep_", "") for name in header("tlc_yellow_2022.csv")]
    found = recognise(plain, Columns())
    assert isinstance(found, Recognised)
    assert found.name == "tlc_plain"
    assert found.sources["pickup_location_id"] == "PULocationID"


def test_every_canonical_column_has_one_field_and_every_schema_names_the_required_ones():
    assert set(FIELDS.values()) == set(vars(Columns()))
    for name, columns in SCHEMAS.items():
        missing = [n for n in REQUIRED if getattr(columns, FIELDS[n]) is None]
        assert not missing, name
    assert set(CANONICAL) == set(FIELDS)


def test_an_unknown_header_is_answered_with_what_each_schema_lacks_the_nearest_first():
    misses = recognise(["tpep_pickup_datetime", "fare_amount", "trip_distance"], Columns())
    assert isinstance(misses, list)
    assert misses[0] == "tpep_dropoff_datetime of schema tlc_yellow"
    assert len(misses) == len(SCHEMAS)


def test_columns_that_are_all_named_need_no_schema():
    named = Columns(pickup_at="a", dropoff_at="b", fare="c", trip_distance="d")
    assert recognise(["a", "b", "c", "d"], named) == Recognised(
        "columns", {"pickup_at": "a", "dropoff_at": "b", "fare_usd": "c", "trip_distance_mi": "d"}
    )
    assert recognise(["a", "b", "c"], named) == ["d of your columns"]


cells = st.lists(st.text("01", max_size=2), min_size=1, max_size=5)


@given(st.lists(cells, min_size=0, max_size=30), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_ragged_rows_are_those_with_another_number_of_cells(tmp_path_factory, rows, ends, line_end):
    lines = ["a,b,c", *(",".join(row) for row in rows)]
    path = tmp_path_factory.mktemp("ragged") / "a.csv"
    path.write_bytes((line_end.join(lines) + line_end * ends).encode())
    if not ends and lines[-1] == "":
        lines.pop()  # nothing after the last line end is no line
    table = tables.RawTable(path, dict.fromkeys("abc", pl.String()), ",")
    wanted = [n for n, line in enumerate(lines[1:]) if line.count(",") != 2]
    by_bytes, by_csv = csv_files._ragged_by_bytes(table), csv_files._ragged_by_csv(table)
    assert by_bytes is not None
    assert by_bytes.ragged.tolist() == wanted == by_csv.ragged.tolist()
    assert by_bytes.lines == len(lines) - 1 == by_csv.lines
    assert by_bytes.plain
    counted = csv_files.counted(table)
    assert (counted.lines, counted.plain) == (len(lines) - 1, True)
    assert (counted.ragged is not None) == (sum(line.count(",") for line in lines) == 2 * len(lines))
    read = [table.scan("row", plain=plain).collect() for plain in (False, True)]
    assert read[0].height == len(lines) - 1
    assert read[0].equals(read[1])


def test_ragged_rows_are_found_across_the_chunks_of_a_large_file(tmp_path):
    lines = ["a,b,c", *("1,2,3" for _ in range(500_000))]
    lines[400_001] = "1,2"
    assert 6 * len(lines) > 2 * csv_files.CHUNK_BYTES
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines) + "\n")
    table = tables.RawTable(path, dict.fromkeys("abc", pl.String()), ",")
    found = csv_files.ragged_rows(table)
    assert found.ragged is not None
    assert (found.ragged.tolist(), found.lines, found.plain) == ([400_000], 500_000, True)
    assert csv_files.counted(table) == csv_files.Look(500_000, plain=True, ragged=None)


def test_hidden_files_and_other_kinds_are_no_tables(tmp_path):
    for name in ("b.csv", "a.parquet", ".hidden.csv", "_SUCCESS", "notes.txt", "sub/C.CSV", "_temporary/d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = tables.listing("trips", tmp_path, (".csv", ".parquet"))
    assert [str(p.relative_to(tmp_path)) for p in found] == ["a.parquet", "b.csv", "sub/C.CSV"]


def trip(**cells: object) -> pl.LazyFrame:
    at = datetime.datetime(2019, 7, 6, 23, 30)
    row = dict.fromkeys(CANONICAL)
    row |= {
        "pickup_at": at,
        "dropoff_at": at + datetime.timedelta(minutes=15),
        "fare_usd": 12.5,
        "trip_distance_mi": 3.0,
    }
    kinds = {"time": pl.Datetime("us"), "number": pl.Float64, "whole": pl.Int32}
    return pl.LazyFrame([row | cells], schema={name: kinds[kind] for name, kind in CANONICAL.items()})


def test_features_have_the_units_that_their_names_say():
    jfk = {"pickup_lon": -73.7781, "pickup_lat": 40.6413, "dropoff_lon": -73.9855, "dropoff_lat": 40.758}
    row = trip(**jfk).select(*features.feature_expressions().values()).collect().row(0, named=True)
    assert (row["hour"], row["weekday"], row["month"]) == (23, 6, 7)  # a Saturday
    assert row["duration_min"] == 15
    assert row["haversine_km"] == pytest.approx(21.8, abs=0.1)
    assert row["pickup_location_id"] is None


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({}, None),
        ({"fare_usd": None}, "missing_fare_usd"),
        ({"fare_usd": math.inf}, "fare_out_of_range"),
        ({"fare_usd": 2.49}, "fare_out_of_range"),
        ({"fare_usd": 2.5}, None),
        ({"trip_distance_mi": 0.0}, "distance_out_of_range"),
        ({"dropoff_at": None}, "missing_dropoff_at"),
        ({"dropoff_at": datetime.datetime(2019, 7, 6, 23, 0)}, "duration_out_of_range"),
        ({"pickup_lon": 0.0, "pickup_lat": 0.0}, "outside_area"),
        ({"pickup_lon": -73.9}, None),
    ],
)
def test_a_trip_is_dropped_for_the_first_reason_that_holds(cells, reason):
    tests = features.drop_tests(features.Limits())
    row = trip(**cells).select(**tests).collect().row(0, named=True)
    assert next((name for name, holds in row.items() if holds), None) == reason


def test_without_limits_only_trips_with_missing_or_infinite_cells_are_dropped():
    tests = features.drop_tests(features.NO_LIMITS)
    odd = {"fare_usd": -281.0, "trip_distance_mi": 46_826.0, "pickup_lon": 0.0}
    assert not any(trip(**odd).select(**tests).collect().row(0))
    assert trip(fare_usd=math.nan).select(**tests).collect().row(0, named=True)["fare_out_of_range"]


@given(st.floats(0.01, 0.9), st.integers(0, 1_000_000), st.sampled_from([7919, 6007]), st.integers(0, 10**11))
def test_every_stretch_of_ten_thousand_trips_keeps_the_share(share, seed, stride, start):
    ids = pl.LazyFrame({"trip_id": pl.int_range(start, start + 10_000, eager=True)})
    count = ids.select(in_share(share, seed, stride).sum()).collect().item()
    # A stretch that spans the point where the arithmetic starts over is two stretches, each off by a few.
    assert abs(count - round(share * 10_000)) <= 60


def test_the_split_for_validation_does_not_follow_the_held_out_one():
    ids = pl.LazyFrame({"trip_id": pl.int_range(200_000, eager=True)})
    kept = ids.filter(~in_share(0.9, 0))
    share = kept.select(in_share(0.1, 0, 6007).mean()).collect().item()
    assert 0.05 < share < 0.15


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=50), st.integers(1, 49))
def test_figures_of_batches_are_those_of_the_whole(pairs, cut):
    truth, predicted = np.array(pairs).T
    parts = [figures.sums(truth[s], predicted[s], 7.0) for s in (slice(0, cut), slice(cut, None))]
    both = figures.figures(figures.add(parts[0], parts[1]))
    assert both["rmse"] == pytest.approx(float(np.sqrt(((truth - predicted) ** 2).mean())), abs=1e-9)
    assert both["mae"] == pytest.approx(float(np.abs(truth - predicted).mean()), abs=1e-9)
    spread = ((truth - truth.mean()) ** 2).sum()
    if spread > 1e-3:
        assert both["r2"] == pytest.approx(1 - ((truth - predicted) ** 2).sum() / spread, rel=1e-6, abs=1e-9)


def test_all_settings_out_of_range_are_told_at_once():
    with pytest.raises(BadInput) as caught:
        learners.check(learners.XGBoost(max_depth=0, learning_rate=2.0))
    assert [p.port for p in caught.value.problems] == ["model.max_depth", "model.learning_rate"]


def test_every_setting_of_every_learner_has_bounds_that_its_default_keeps():
    for kind in learners.NAMES.values():
        learners.check(kind())
    assert set(learners.GPU_PACKAGE) == set(learners.NAMES) == set(model_folder.NATIVE)


def test_a_skops_file_loses_its_times_and_addresses_and_still_loads(tmp_path):
    import skops.io
    from sklearn.linear_model import LinearRegression

    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    written = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.skops"
        skops.io.dump(LinearRegression().fit(x, x[:, 0]), path)
        model_folder.settle_skops(path)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    loaded = skops.io.load(tmp_path / "a.skops", trusted=model_folder.TRUSTED)
    assert loaded.predict(x) == pytest.approx(x[:, 0])
    schema = json.loads(zipfile.ZipFile(io.BytesIO(written[0])).read("schema.json"))
    assert schema["__id__"] < 100


def test_the_choice_of_engine_is_logged_with_its_reason():
    memory = Memory()
    metrics = Metrics([memory])
    assert engine.choose("auto", "no_such_package", metrics) == "cpu"
    with pytest.raises(BadInput, match=r"engine='gpu': the package no_such_package is not installed; set"):
        engine.choose("gpu", "no_such_package", metrics)
    metrics.close()
    assert memory.latest("tag")["engine_reason"] == "the package no_such_package is not installed"
    assert memory.latest() == {"engine_gpu": 0.0, "engine_fallbacks": 0.0}


def test_what_would_fall_back_cannot_be_foreseen_without_cudf_polars_and_a_tag_says_so(tmp_path):
    if translation.can_tell():
        pytest.skip("cudf-polars is installed: tests/gpu translates the queries")
    memory = Memory()
    metrics = Metrics([memory])
    made = engine.Engine.of("auto", metrics, tmp_path, "refuse")
    assert made.collect(pl.LazyFrame({"a": [1, 2]}).select(pl.col("a").sum())).item() == 3
    metrics.close()
    assert memory.latest("tag")["fallback_foreseen"] == "no: cudf-polars is not installed"
    assert memory.latest()["engine_fallbacks"] == 0


def test_a_machine_without_a_driver_has_no_gpu_whatever_is_installed():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert engine.gpu_problem("polars") == "there is no NVIDIA driver (libcuda.so.1)"
        assert engine.devices() == []
    else:
        pytest.skip("this machine has an NVIDIA driver")


def test_the_steps_import_no_heavy_package_until_they_run():
    code = """
import sys, importlib
for verb in ("prepare", "transform", "train", "tune", "predict", "score"):
    importlib.import_module(f"runtime.rapids.{verb}")
heavy = {"polars", "pyarrow", "numpy", "pandas", "sklearn", "xgboost", "mlflow", "matplotlib", "hydra", "cudf", "optuna"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_file_that_declares_a_component_is_named_after_it():
    import importlib

    found = {}
    for verb in ("prepare", "transform", "train", "tune", "predict", "score"):
        module = importlib.import_module(f"runtime.rapids.{verb}")
        declared = getattr(module, verb)
        assert isinstance(declared, Component)
        found[declared.name] = declared.module
    assert len(found) == 6
    assert found["rapids_train"] == "runtime.rapids.train"


def test_auto_takes_whichever_is_expected_to_be_done_first_and_says_why(tmp_path):
    from runtime.rapids.engine import faster, rows_about

    few, why = faster(2_000_000, 16)
    assert few == "cpu"
    assert why == ("engine=auto: about 2.0 million rows: 1.4 s are expected on 16 cores, 3.6 s on a GPU (bench/gpu.py)")
    assert faster(50_000_000, 4)[0] == "gpu"
    (tmp_path / "a.parquet").write_bytes(bytes(2400))
    (tmp_path / "b.csv").write_bytes(bytes(1100))
    assert rows_about(tmp_path) == 110
    assert rows_about(tmp_path / "a.parquet") == 100


def test_bins_go_to_disk_where_memory_would_not_hold_them():
    assert boosting.place("auto", 7_000_000, 12, free=2**30) == "memory"
    assert boosting.place("auto", 70_000_000, 12, free=2**30) == "disk"
    assert boosting.place("memory", 70_000_000, 12, free=0) == "memory"
    assert boosting.place("disk", 1, 1, free=2**30) == "disk"
    assert boosting.free_bytes() > 2**20
