"""Tables that are elsewhere: on the web with its faults, and Delta Lake; checksums of what was read. Stores: tests/storage."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from runtime.rapids import sources, tables
from runtime.rapids.predict import predict
from runtime.rapids.prepare import prepare
from runtime.rapids.score import score
from runtime.rapids.transform import transform
from runtime.tracking import new_client
from tests.e2e.rapids_support import CSV, TAXI, assert_refused, logged, run, table
from tests.fakes.web_server import serving

TRIPS = TAXI / "yellow_2016.parquet"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What rapids_prepare makes of the file on this machine."""
    folder = tmp_path_factory.mktemp("here") / "prepared"
    assert run(prepare, trips=TRIPS, prepared=folder) == 0
    return folder


@pytest.mark.parametrize("name", ["yellow_2016.parquet", "yellow_2016.csv"])
def test_a_file_on_the_web_is_read_as_one_that_is_here(tmp_path: Path, name: str) -> None:
    local = (TAXI if name.endswith("parquet") else CSV) / name
    assert run(prepare, trips=local, prepared=tmp_path / "local") == 0
    with serving() as server:
        server.add(f"/data/{name}", local.read_bytes())
        assert run(prepare, trips=f"{server.url}/data/{name}", prepared=tmp_path / "remote") == 0
    assert table(tmp_path / "remote").equals(table(tmp_path / "local"))


@pytest.mark.parametrize("fault", ["status 503", "truncate 1000", "reset 500"])
def test_a_server_that_stumbles_costs_nothing(tmp_path: Path, here: Path, fault: str) -> None:
    with serving() as server:
        resource = server.add("/trips.parquet", TRIPS.read_bytes())
        resource.faults = ["", "", fault]
        assert run(prepare, trips=f"{server.url}/trips.parquet", prepared=tmp_path / "out") == 0
    assert table(tmp_path / "out").equals(table(here))


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("status 403", "is refused by its store"),
        ("status 404", "does not exist"),
        ("truncate 10", "trips.parquet"),
    ],
)
def test_a_server_that_goes_on_so_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str, line: str
) -> None:
    with serving() as server:
        resource = server.add("/trips.parquet", TRIPS.read_bytes())
        resource.faults = [fault] * 500
        status = run(prepare, trips=f"{server.url}/trips.parquet?sig=hush", prepared=tmp_path / "out")
    told = capsys.readouterr().err
    assert status in (2, 3)
    assert told.count("\n") == 1, told
    assert line in told
    assert "hush" not in told
    assert not (tmp_path / "out").exists()


def test_predictions_and_truth_on_the_web_are_scored(tmp_path: Path) -> None:
    pl.DataFrame({"trip_id": [1, 2], "prediction": [1.0, 3.0]}).write_parquet(tmp_path / "p.parquet")
    pl.DataFrame({"trip_id": [2, 1], "fare_usd": [2.0, 1.0]}).write_parquet(tmp_path / "t.parquet")
    with serving() as server:
        for name in ("p", "t"):
            server.add(f"/{name}.parquet", (tmp_path / f"{name}.parquet").read_bytes())
        words = {"predictions": f"{server.url}/p.parquet", "truth": f"{server.url}/t.parquet"}
        assert run(score, **words, report=tmp_path / "report") == 0
    found = json.loads((tmp_path / "report" / "score.json").read_text())
    assert (found["rows"], found["mae"]) == (2, 0.5)


def test_an_address_where_none_is_taken_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"model": "s3://b/m", "features": TRIPS, "predictions": tmp_path / "p"}
    assert_refused(capsys, [tmp_path / "p"], "model='s3://b/m': is an address", run(predict, **words))
    for address, line in (
        ("ftp://host/trips.csv", "is in no storage that is read here; known: abfs, abfss, az, s3,"),
        ("gs://bucket/trips.csv", "needs the package gcsfs, which is not installed; pip install"),
    ):
        assert_refused(capsys, [tmp_path / "o"], line, run(prepare, trips=address, prepared=tmp_path / "o"))


def test_a_delta_table_is_read_at_its_present_version(tmp_path: Path, here: Path) -> None:
    rows = pl.read_parquet(TRIPS)
    folder = tmp_path / "trips"
    rows.head(100).write_delta(folder)
    rows.write_delta(folder, mode="overwrite")
    assert len(list(folder.glob("*.parquet"))) == 2
    assert run(prepare, trips=folder, prepared=tmp_path / "out") == 0
    assert table(tmp_path / "out").equals(table(here))


def test_a_table_is_written_as_delta(tmp_path: Path, here: Path) -> None:
    assert run(prepare, trips=TRIPS, table_format="delta", prepared=tmp_path / "out") == 0
    assert pl.read_delta(str(tmp_path / "out")).sort("trip_id").equals(table(here).sort("trip_id"))
    at = {name: tmp_path / name for name in ("train", "test")}
    assert run(transform, prepared=tmp_path / "out", **at) == 0
    assert table(at["train"]).height > 0


def test_what_is_wrong_with_a_delta_table_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pl.read_parquet(TRIPS).head(100)
    rows.write_delta(tmp_path / "torn")
    (log,) = (tmp_path / "torn" / "_delta_log").glob("*.json")
    log.write_text(log.read_text()[:200])
    line = "torn': is no readable Delta Lake table:"
    assert_refused(capsys, [tmp_path / "o"], line, run(prepare, trips=tmp_path / "torn", prepared=tmp_path / "o"))


def test_what_was_read_is_a_dataset_input_with_its_checksum(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    at = {name: tmp_path / name for name in ("train", "test")}
    assert run(transform, prepared=here, **at) == 0
    expected = {"source": str(here), "digest": sources.digest(here, sorted(here.iterdir())), "files": 1}
    assert logged(tmp_path / "metrics.jsonl", "dataset") == {"prepared": expected}
    client = new_client(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "rapids_transform"]
    (found,) = client.search_runs([experiment.experiment_id])
    (one,) = found.inputs.dataset_inputs
    assert (one.dataset.name, one.dataset.digest) == ("prepared", expected["digest"])
    assert json.loads(one.dataset.source) == {"uri": str(here)}


def test_a_checksum_is_of_names_and_bytes(tmp_path: Path) -> None:
    for folder, text in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.csv").write_bytes(text)
    a, b, c = (sources.digest(tmp_path / n, tables.listing("x", tmp_path / n, (".csv",))) for n in "abc")
    assert a == b != c
    assert len(a) == sources.DIGEST_CHARS
