"""RAPIDS steps that read from object storage in place and write to it: the same rows as on this machine."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from runtime.rapids.predict import predict
from runtime.rapids.prepare import prepare
from runtime.rapids.profile import profile
from runtime.rapids.reduce import reduce
from runtime.rapids.score import score
from runtime.rapids.train import train
from runtime.rapids.transform import transform
from runtime.rapids.tune import tune
from runtime.remote_path import Remote
from tests.e2e.delta_support import asks, changed, vector
from tests.e2e.rapids_support import CSV, TAXI, logged, run, table

ROOT = Path(__file__).parents[2]


def test_steps_from_a_store_into_it(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    for name in ("yellow_2016.parquet", "green_2016.parquet"):
        Remote(f"{store}/raw/{name}").upload(TAXI / name)
    Remote(f"{store}/raw/yellow_2016.csv").upload(CSV / "yellow_2016.csv")
    (tmp_path / "raw").mkdir()
    for path in (TAXI / "yellow_2016.parquet", TAXI / "green_2016.parquet", CSV / "yellow_2016.csv"):
        (tmp_path / "raw" / path.name).symlink_to(path)
    assert run(prepare, trips=tmp_path / "raw", prepared=tmp_path / "prepared") == 0
    assert run(prepare, trips=f"{store}/raw", prepared=f"{store}/prepared") == 0
    told = logged(tmp_path / "metrics.jsonl", "dataset")["trips"]
    assert (told["source"], told["files"]) == (f"{store}/raw", 3)
    local = {name: tmp_path / name for name in ("train", "test")}
    there = {name: f"{store}/{name}" for name in ("train", "test")}
    assert run(transform, prepared=tmp_path / "prepared", **local) == 0
    assert run(transform, prepared=f"{store}/prepared", **there) == 0
    for name in ("train", "test"):
        assert pl.read_parquet(f"{store}/{name}/part-00000.parquet").equals(table(local[name]))
    assert run(train, "model.rounds=5", **there, trained=tmp_path / "model") == 0
    assert run(predict, model=tmp_path / "model", features=there["test"], predictions=f"{store}/predictions") == 0
    assert run(predict, model=tmp_path / "model", features=local["test"], predictions=tmp_path / "predictions") == 0
    assert pl.read_parquet(f"{store}/predictions/part-00000.parquet").equals(table(tmp_path / "predictions"))
    assert run(score, predictions=f"{store}/predictions", truth=there["test"], report=tmp_path / "score") == 0
    assert json.loads((tmp_path / "score" / "score.json").read_text())["rows"] == table(local["test"]).height
    assert run(reduce, features=there["test"], reduced=f"{store}/reduced", model=tmp_path / "kmeans") == 0
    assert pl.read_parquet(f"{store}/reduced/part-00000.parquet").height == table(local["test"]).height
    searched = {"trained": f"{store}/best", "study": tmp_path / "study", "storage": tmp_path / "storage"}
    assert run(tune, "model.rounds=5", **there, **searched, trials=2, workers=2) == 0
    assert Remote(f"{store}/best/MLmodel").is_file()
    assert run(profile, data=there["test"], reference=there["train"], profile=f"{store}/profile") == 0
    assert Remote(f"{store}/profile/profile.html").is_file()


def test_a_delta_table_in_a_store(store: str, tmp_path: Path) -> None:
    assert run(prepare, trips=TAXI / "yellow_2016.parquet", table_format="delta", prepared=f"{store}/prepared") == 0
    local = {name: tmp_path / name for name in ("train", "test")}
    assert run(transform, prepared=f"{store}/prepared", **local) == 0
    assert table(local["train"]).height > 0


def test_a_delta_table_with_partitions_and_deleted_rows_in_a_store(store: str, tmp_path: Path) -> None:
    here = tmp_path / "trips"
    pl.read_parquet(TAXI / "yellow_2016.parquet").write_delta(here, delta_write_options={"partition_by": ["vendorID"]})
    changed(here, asks("deletionVectors", enableDeletionVectors="true"))
    changed(here, lambda entry: entry["add"].update(deletionVector=vector(1, 2)) if "add" in entry else None)
    Remote(f"{store}/split").upload(here)
    assert run(prepare, trips=here, prepared=tmp_path / "local") == 0
    assert run(prepare, trips=f"{store}/split", prepared=tmp_path / "remote") == 0
    assert table(tmp_path / "local").height > 0
    assert table(tmp_path / "remote").equals(table(tmp_path / "local"))


def test_what_is_wrong_is_one_line(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Remote(f"{store}/raw/notes.txt").upload(Path(__file__))
    Remote(f"{store}/raw/empty.csv").upload(Path(__file__).with_name("__init__.py"))
    for address, line in (
        (f"{store}/nowhere", "does not exist"),
        (f"{store}/raw/notes.txt", "holds no .csv or .parquet file"),
        (f"{store}/raw", "is an empty file (0 bytes)"),
    ):
        assert run(prepare, trips=address, prepared=tmp_path / "out") == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1, told
        assert line in told
    assert run(prepare, trips=TAXI / "yellow_2016.parquet", prepared=f"{store}/raw") == 2
    assert "already holds data" in capsys.readouterr().err


def test_a_key_that_is_refused_is_one_line(store: str, tmp_path: Path) -> None:
    """In a process of its own: fsspec keeps a connection for as long as a process lives."""
    Remote(f"{store}/raw/a.parquet").upload(TAXI / "yellow_2016.parquet")
    connection = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    wrong = re.sub("AccountKey=[^;]*", f"AccountKey={base64.b64encode(b'wrong' * 12).decode()}", connection)
    env = os.environ | {"PYTHONPATH": str(ROOT), "AZURE_STORAGE_CONNECTION_STRING": wrong}
    if store.startswith("s3"):  # moto takes any key, so there is none
        env = {k: v for k, v in env.items() if k not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        env["AWS_EC2_METADATA_DISABLED"] = "true"
    argv = [sys.executable, "-m", "runtime.rapids.prepare", f"trips={store}/raw", f"prepared={tmp_path / 'out'}"]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "is refused by its store" in done.stderr
