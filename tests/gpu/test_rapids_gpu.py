"""The RAPIDS steps on a real GPU, and what can be proved without one: that the queries fit cudf-polars."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import skops.io

from runtime.errors import BadInput
from runtime.metrics import Memory, Metrics
from runtime.rapids import engine, learners, partitions, predict, prepare, reduce, score, train, transform, tune
from runtime.rapids.schemas import TRIP_ID

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from rapids_support import CSV, FAST, TAXI, logged, run, table

WHY_NOT = {package: engine.gpu_problem(package) for package in ("cudf_polars", "xgboost", "cuml")}


def needs(package: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.gpu, pytest.mark.skipif(bool(WHY_NOT[package]), reason=f"no GPU: {WHY_NOT[package]}")]


@pytest.fixture(scope="module")
def trips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trips")
    for name in ("green", "yellow"):
        shutil.copy(TAXI / f"{name}_2016.parquet", folder)
    return folder


def prepared(folder: Path, trips: Path, wanted: str) -> dict[str, Path]:
    at = {name: folder / wanted / name for name in ("prepared", "train", "test")}
    assert run(prepare.prepare, trips=trips, prepared=at["prepared"], engine=wanted) == 0
    ports = {"prepared": at["prepared"], "train": at["train"], "test": at["test"]}
    assert run(transform.transform, engine=wanted, **ports) == 0
    return at


class TestWithCudfPolars:
    pytestmark = needs("cudf_polars")

    def test_both_engines_keep_the_same_trips_and_make_the_same_features(self, tmp_path, trips, monkeypatch):
        monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
        on_gpu = prepared(tmp_path, trips, "gpu")
        metrics = logged(tmp_path / "metrics.jsonl")
        assert (metrics["engine_gpu"], metrics["engine_fallbacks"]) == (1, 0)
        on_cpu = prepared(tmp_path, trips, "cpu")
        for part in ("prepared", "train", "test"):
            gpu, cpu = (table(at[part]).sort(TRIP_ID) for at in (on_gpu, on_cpu))
            assert gpu.columns == cpu.columns
            assert gpu.schema == cpu.schema
            assert gpu[TRIP_ID].equals(cpu[TRIP_ID])
            for name in gpu.columns:
                assert gpu[name].null_count() == cpu[name].null_count()
                if gpu[name].dtype.is_float():
                    assert np.allclose(gpu[name].to_numpy(), cpu[name].to_numpy(), rtol=1e-5, atol=1e-4, equal_nan=True)

    def test_unreadable_rows_of_a_csv_are_counted_alike(self, tmp_path, monkeypatch):
        text = (CSV / "yellow_2016.csv").read_text().replace(",10.5,", ",ten,") + "1,2\n"
        (tmp_path / "trips.csv").write_text(text)
        found = {}
        for wanted in ("cpu", "gpu"):
            monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / f"{wanted}.jsonl"))
            assert run(prepare.prepare, trips=tmp_path / "trips.csv", prepared=tmp_path / wanted, engine=wanted) == 0
            rows = logged(tmp_path / f"{wanted}.jsonl").items()
            found[wanted] = {key: value for key, value in rows if key.startswith("rows_")}
        assert found["gpu"] == found["cpu"]


MODELS = [pytest.param(name, marks=needs(package)) for name, package in learners.GPU_PACKAGE.items()]


# cuML 26.10 links Treelite 4.7.0 and reads, with a warning of its own, what the treelite 4.8.1 beside it wrote.
@pytest.mark.filterwarnings("ignore:.*newer Treelite version")
@pytest.mark.parametrize("model", MODELS)
def test_a_model_trained_on_the_gpu_is_as_good_as_on_the_cpu_and_needs_no_gpu(model, tmp_path, trips, monkeypatch):
    at = prepared(tmp_path, trips, "cpu")
    figures = {}
    for wanted in ("cpu", "gpu"):
        monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / f"{wanted}.jsonl"))
        ports = {"train": at["train"], "test": at["test"], "trained": tmp_path / wanted / "trained"}
        assert run(train.train, f"model={model}", *FAST[model], engine=wanted, **ports) == 0
        figures[wanted] = logged(tmp_path / f"{wanted}.jsonl")
    assert figures["gpu"]["engine_gpu"] == 1
    assert figures["gpu"]["rmse"] == pytest.approx(figures["cpu"]["rmse"], rel=0.1)
    content = json.loads((tmp_path / "gpu" / "trained" / "features.json").read_text())
    assert content["learner"] == model
    out = tmp_path / "predictions"
    assert run(predict.predict, model=tmp_path / "gpu" / "trained", features=at["test"], predictions=out) == 0


@pytest.mark.parametrize("method", [pytest.param(name, marks=needs("cuml")) for name in ("kmeans", "pca", "umap")])
def test_groups_and_components_of_the_gpu_are_as_good_and_need_no_gpu(method, tmp_path, trips):
    at = prepared(tmp_path, trips, "cpu")
    found = {}
    for wanted in ("gpu", "cpu") if method != "umap" else ("gpu",):
        ports = {
            "features": at["train"],
            "reduced": tmp_path / wanted / "reduced",
            "model": tmp_path / wanted / "model",
        }
        assert run(reduce.reduce, f"method={method}", engine=wanted, **ports) == 0
        found[wanted] = json.loads((tmp_path / wanted / "model" / "reduce.json").read_text())
        assert table(tmp_path / wanted / "reduced").height == table(at["train"]).height
    if method == "umap":
        assert "scikit-learn has no UMAP" in found["gpu"]["model"]
        return
    (key,) = {"inertia_per_row", "variance_share"} & set(found["cpu"]["figures"])
    assert found["gpu"]["figures"][key] == pytest.approx(found["cpu"]["figures"][key], rel=0.2)
    model = skops.io.load(tmp_path / "gpu" / "model" / "model.skops", trusted=["numpy.dtype"])
    assert len(model.predict(np.zeros((1, len(found["gpu"]["features"])))) if method == "kmeans" else model.steps) > 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("_", [pytest.param(None, marks=needs("xgboost"))])
def test_a_search_on_the_gpu_finds_a_model_that_needs_no_gpu(_, workers, tmp_path, trips):
    at = prepared(tmp_path, trips, "cpu")
    ports = {"train": at["train"], "test": at["test"], "trained": tmp_path / "trained", "study": tmp_path / "study"}
    words = ["model.rounds=20", "trials=4", f"workers={workers}"]
    assert run(tune.tune, *words, engine="gpu", **ports) == 0
    assert pl.read_csv(tmp_path / "study" / "trials.csv")["trial"].to_list() == [0, 1, 2, 3]
    assert json.loads((tmp_path / "study" / "best.json").read_text())["held_out"]["r2"] > 0.8
    out = tmp_path / "predictions"
    assert run(predict.predict, model=tmp_path / "trained", features=at["test"], predictions=out) == 0


# Not marked gpu: cudf-polars translates a query without one, which is how a fallback is found before a GPU is paid for.
@pytest.mark.skipif(importlib.util.find_spec("cudf_polars") is None, reason="cudf-polars is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of its own imports
class TestQueriesFitCudfPolars:
    @pytest.fixture(autouse=True)
    def metrics(self, tmp_path, monkeypatch):
        monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))

    def test_every_query_of_the_steps_translates(self, tmp_path, trips):
        """With fallback=refuse a step translates each query that it is about to run, whatever its engine."""
        for name in CSV.glob("*.csv"):
            shutil.copy(name, tmp_path)
        (tmp_path / "ragged.csv").write_text((CSV / "yellow_2016.csv").read_text() + "1,2\n")
        shutil.copytree(trips, tmp_path, dirs_exist_ok=True)
        at = {name: tmp_path / "out" / name for name in ("prepared", "train", "test", "truth", "predictions", "report")}
        words = {"engine": "cpu", "fallback": "refuse"}
        assert run(prepare.prepare, trips=tmp_path, prepared=at["prepared"], **words) == 0
        parts = {name: at[name] for name in ("train", "test")}
        assert run(transform.transform, prepared=at["prepared"], **parts, **words) == 0
        at["predictions"].mkdir()
        table(at["test"]).select(TRIP_ID, prediction="fare_usd").write_parquet(at["predictions"] / "part-00000.parquet")
        given = {"predictions": at["predictions"], "truth": at["test"], "report": at["report"]}
        assert run(score.score, **given, **words) == 0
        assert logged(tmp_path / "metrics.jsonl")["engine_fallbacks"] == 0
        assert logged(tmp_path / "metrics.jsonl", "tag")["fallback_foreseen"] == "yes"

    def test_tables_in_parts_translate(self, tmp_path):
        rows = pl.read_parquet(TAXI / "yellow_2016.parquet")
        rows.write_parquet(pl.PartitionBy(tmp_path / "trips", key=["passengerCount"], include_key=False), mkdir=True)
        files = partitions.by_folders(tmp_path / "trips", sorted((tmp_path / "trips").rglob("*.parquet")))
        deleted = {files.files[1]: pl.Series([0, 2], dtype=pl.UInt32)}
        made = engine.Engine.of("cpu", Metrics([]), tmp_path, "refuse")
        found = made.collect(dataclasses.replace(files, deleted=deleted).scan("row"))
        assert found.height == rows.height - 2
        assert found["row"].to_list() == list(range(found.height))
        words = {"engine": "cpu", "fallback": "refuse"}
        assert run(prepare.prepare, trips=tmp_path / "trips", prepared=tmp_path / "prepared", **words) == 0

    def test_a_query_that_would_fall_back_is_refused_before_it_runs(self, tmp_path):
        memory = Memory()
        metrics = Metrics([memory])
        made = engine.Engine.of("cpu", metrics, tmp_path, "refuse")
        ran: list[int] = []
        query = pl.LazyFrame({"a": [1.0]}).select(pl.col("a").map_batches(ran.append, return_dtype=pl.Float64))
        with pytest.raises(BadInput, match=r"^fallback='refuse': the GPU cannot run a query: .+; set fallback=cpu$"):
            made.collect(query)
        with pytest.raises(BadInput, match="the GPU cannot run a query"):
            made.write({tmp_path / "a.parquet": query}, pl.LazyFrame({"a": [1]}))
        metrics.close()
        assert not ran
        assert not (tmp_path / "a.parquet").exists()
        assert memory.latest()["engine_fallbacks"] == 2
        assert memory.latest("tag")["engine_fallback"]

    def test_a_query_that_fits_runs(self, tmp_path):
        made = engine.Engine.of("cpu", Metrics([]), tmp_path, "refuse")
        assert made.collect(pl.LazyFrame({"a": [1.0]}).select(pl.col("a") * 2)).item() == 2.0
