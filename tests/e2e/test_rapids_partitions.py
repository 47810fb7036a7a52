"""Tables whose folders or whose log hold some of their columns, and Delta Lake tables that are not just their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pytest

from runtime.rapids.prepare import prepare
from runtime.rapids.profile import profile
from runtime.rapids.recipe import recipe
from runtime.rapids.transform import transform
from runtime.rapids.validate import validate
from tests.e2e.delta_support import asks, changed, vector
from tests.e2e.rapids_support import TAXI, assert_refused, logged, run, table

TRIPS = TAXI / "yellow_2016.parquet"
FARES = "target: {name: fareAmount}\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """What rapids_prepare makes of the trips in one file, in the order of their times."""
    folder = tmp_path_factory.mktemp("whole") / "prepared"
    assert run(prepare, trips=TRIPS, prepared=folder) == 0
    return _sorted(table(folder))


def _sorted(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.drop("trip_id").sort(pl.all())


def _delta(folder: Path, *columns: str) -> Path:
    pl.read_parquet(TRIPS).write_delta(folder, delta_write_options={"partition_by": list(columns)})
    return folder


def _hive(folder: Path, rows: pl.DataFrame, *columns: str) -> Path:
    rows.write_parquet(pl.PartitionBy(folder, key=list(columns), include_key=False), mkdir=True)
    return folder


@pytest.mark.parametrize("engine", ["cpu", "duckdb-check"])
@pytest.mark.parametrize("columns", [("passengerCount",), ("storeAndFwdFlag", "rateCodeId")])
def test_a_partitioned_delta_table_has_the_rows_of_one_file(
    tmp_path: Path, whole: pl.DataFrame, columns: tuple[str, ...], engine: str
) -> None:
    trips = _delta(tmp_path / "trips.delta", *columns)
    assert (
        "passengerCount" not in pl.read_parquet_schema(next(trips.rglob("*.parquet"))) or columns[0] != "passengerCount"
    )
    assert run(prepare, trips=trips, prepared=tmp_path / "out", engine=engine) == 0
    assert _sorted(table(tmp_path / "out")).equals(whole)


@pytest.mark.parametrize("engine", ["cpu", "duckdb-check"])
def test_folders_named_by_values_are_columns(tmp_path: Path, whole: pl.DataFrame, engine: str) -> None:
    rows = pl.read_parquet(TRIPS).with_columns(month=pl.col("tpepPickupDateTime").dt.date().dt.month_start())
    trips = _hive(tmp_path / "trips", rows, "month", "passengerCount")
    assert run(prepare, trips=trips, prepared=tmp_path / "out", engine=engine) == 0
    assert _sorted(table(tmp_path / "out")).equals(whole)


def test_a_column_of_the_folders_is_a_feature_a_category_and_a_filter(tmp_path: Path) -> None:
    rows = pl.read_parquet(TRIPS).with_columns(zone=pl.when(pl.col("extra") > 0).then(pl.lit("a b")).otherwise(None))
    data = _hive(tmp_path / "trips", rows, "rateCodeId", "zone")
    words = 'features: {rate: "\\"rateCodeId\\" * 2", zone: {categories: zone}, km: "\\"tripDistance\\""}\n'
    words += 'filters: {rated: "\\"rateCodeId\\" < 3"}\n'
    (tmp_path / "recipe.yaml").write_text(FARES + words)
    at = {name: tmp_path / name for name in ("train", "test")}
    assert run(recipe, data=data, recipe=tmp_path / "recipe.yaml", **at) == 0
    made = pl.concat([table(at["train"]), table(at["test"])])
    wanted = rows.filter(pl.col("rateCodeId") < 3)
    assert made["row_id"].n_unique() == made.height == wanted.height
    assert made["row_id"].is_between(0, rows.height - 1).all()
    assert sorted(made["rate"].to_list()) == sorted((wanted["rateCodeId"] * 2).to_list())
    assert made["zone"].is_nan().sum() + made["zone"].null_count() == wanted["zone"].null_count()
    assert json.loads((at["train"] / "features.json").read_text())["categories"] == {"zone": ["a b"]}
    one, other = (made.filter(pl.col("zone") == 0), wanted.filter(pl.col("zone") == "a b"))
    assert sorted(one["km"].to_list()) == sorted(other["tripDistance"].cast(pl.Float32).to_list())


def test_a_contract_and_a_profile_know_the_columns_of_the_folders(tmp_path: Path) -> None:
    rows = pl.read_parquet(TRIPS)
    data = _hive(tmp_path / "trips", rows, "rateCodeId")
    contract = "columns:\n  rateCodeId: {type: whole, maximum: 2}\n  tripDistance: {type: number}\n"
    (tmp_path / "contract.yaml").write_text(contract)
    at = {name: tmp_path / name for name in ("accepted", "quarantine", "report")}
    given = {"data": data, "contract": tmp_path / "contract.yaml", "max_rejected": 1.0}
    assert run(validate, **given, **at) == 0
    assert table(at["accepted"]).height == rows.filter(pl.col("rateCodeId") <= 2).height
    assert set(table(at["quarantine"])["rateCodeId"].cast(pl.Int32)) == set(range(3, 7)) & set(rows["rateCodeId"])
    assert run(profile, data=data, reference=_delta(tmp_path / "d", "rateCodeId"), profile=tmp_path / "p") == 0
    seen = json.loads((tmp_path / "p" / "profile.json").read_text())
    assert seen["rows"] == rows.height
    assert "rateCodeId" in {column["name"] for column in seen["columns"]}
    assert seen["drifted"] == []


def test_a_step_that_reads_features_does_not_take_a_partitioned_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "split"
    pl.read_parquet(TRIPS).write_delta(folder, delta_write_options={"partition_by": ["vendorID"]})
    line = "split': is partitioned by vendorID, which this step does not take; write it without partitions"
    at = {name: tmp_path / name for name in ("train", "test")}
    assert_refused(capsys, list(at.values()), line, run(transform, prepared=folder, **at))


def test_a_table_whose_first_log_entries_are_gone_is_read_at_its_present_version(
    tmp_path: Path, whole: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips = tmp_path / "trips"
    pl.read_parquet(TRIPS).head(10).write_delta(trips)
    pl.read_parquet(TRIPS).write_delta(trips, mode="overwrite")
    deltalake.DeltaTable(str(trips)).create_checkpoint()
    (trips / "_delta_log" / f"{0:020d}.json").unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    assert run(prepare, trips="trips", prepared="out") == 0
    assert _sorted(table(tmp_path / "out")).equals(whole)
    assert logged(tmp_path / "metrics.jsonl", "dataset")["trips"]["files"] == 1


def test_a_table_that_is_not_just_its_files_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for feature, settings, line in (
        (
            "columnMapping",
            {"columnMapping.mode": "name", "columnMapping.maxColumnId": "20"},
            "has other names in its files than in its log",
        ),
        ("madeUpFeature", {}, "madeUpFeature"),
    ):
        folder = tmp_path / feature
        pl.read_parquet(TRIPS).write_delta(folder)
        changed(folder, asks(feature, **settings))
        assert_refused(capsys, [tmp_path / "o"], line, run(prepare, trips=folder, prepared=tmp_path / "o"))


@pytest.mark.parametrize("engine", ["cpu", "duckdb-check"])
def test_rows_that_are_only_marked_as_deleted_are_none(tmp_path: Path, whole: pl.DataFrame, engine: str) -> None:
    folder, rows = tmp_path / "trips of 2016", pl.read_parquet(TRIPS)
    rows.write_delta(folder, delta_write_options={"partition_by": ["vendorID"]})
    changed(folder, asks("deletionVectors", enableDeletionVectors="true"))
    assert run(prepare, trips=folder, prepared=tmp_path / "all", engine=engine) == 0
    assert _sorted(table(tmp_path / "all")).equals(whole)

    def mark(entry: dict[str, Any]) -> None:
        if "vendorID=2" in entry.get("add", {}).get("path", ""):
            entry["add"]["deletionVector"] = vector(0, 3, 4)

    changed(folder, mark)
    kept = rows.filter(pl.col("vendorID") == 2).with_row_index("n").filter(~pl.col("n").is_in([0, 3, 4])).drop("n")
    pl.concat([rows.filter(pl.col("vendorID") != 2), kept]).write_parquet(tmp_path / "kept.parquet")
    assert run(prepare, trips=tmp_path / "kept.parquet", prepared=tmp_path / "wanted") == 0
    assert run(prepare, trips=folder, prepared=tmp_path / "out", engine=engine) == 0
    assert _sorted(table(tmp_path / "out")).equals(_sorted(table(tmp_path / "wanted")))


def test_a_step_that_reads_features_takes_no_table_with_rows_marked_as_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "marked"
    pl.read_parquet(TRIPS).write_delta(folder)
    changed(folder, asks("deletionVectors", enableDeletionVectors="true"))
    changed(folder, lambda entry: entry["add"].update(deletionVector=vector(1)) if "add" in entry else None)
    at = {name: tmp_path / name for name in ("train", "test")}
    line = "has rows that are only marked as deleted (deletion vectors), which this step does not take; run REORG TABLE"
    assert_refused(capsys, list(at.values()), line, run(transform, prepared=folder, **at))
