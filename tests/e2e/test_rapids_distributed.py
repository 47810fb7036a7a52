"""`engine=distributed`: several processes on this machine, one of them killed in the middle, and the processes of a job."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import psutil
import pytest
import yaml

from runtime.rapids.prepare import prepare
from runtime.rapids.train import train
from runtime.rapids.transform import transform
from tests.e2e.rapids_support import TAXI, assert_refused, logged, run, table

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen raw files, so that there is work to share out."""
    folder = tmp_path_factory.mktemp("trips")
    rows = pl.read_parquet(TAXI / "yellow_2018_2020.parquet")
    for number in range(12):
        rows.slice(number * 10_000, 10_000).write_parquet(folder / f"{number:02d}.parquet")
    return folder


@pytest.fixture(scope="module")
def alone(trips: Path) -> dict[str, Path]:
    """What one process makes of them."""
    folder = trips.parent / f"{trips.name}-alone"
    at = {name: folder / name for name in ("prepared", "train", "test", "trained")}
    assert run(prepare, trips=trips, engine="cpu", prepared=at["prepared"]) == 0
    assert run(transform, prepared=at["prepared"], engine="cpu", train=at["train"], test=at["test"]) == 0
    words = ("model.rounds=300", "model.early_stopping_rounds=0")
    assert run(train, *words, train=at["train"], test=at["test"], engine="cpu", trained=at["trained"]) == 0
    return at


def start(component: str, folder: Path, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "runtime", "run", component, "engine=distributed", "workers=2", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NGCRUN_METRICS_FILE": str(folder / "metrics.jsonl")}
    return subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers(step: subprocess.Popen[str]) -> list[psutil.Process]:
    """The workers: what the nannies, which are in the step's own process, have started."""
    found = []
    for process in psutil.Process(step.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            found += [process] if "spawn_main" in " ".join(process.cmdline()) else []
    return found


def kill_one_when(step: subprocess.Popen[str], due: Callable[[], bool]) -> None:
    while not due():
        assert step.poll() is None, step.communicate()
        time.sleep(0.01)
    busy = max(workers(step), key=lambda process: process.cpu_times().user)
    busy.send_signal(signal.SIGKILL)


def learns(step: subprocess.Popen[str], loaded: dict[int, float]) -> bool:
    """Whether a worker has used CPU for a while since it loaded XGBoost; `loaded`: how much it had used then."""
    for process in workers(step):
        with contextlib.suppress(psutil.Error, OSError):  # it has ended meanwhile
            used = process.cpu_times().user
            has = "libxgboost" in Path(f"/proc/{process.pid}/maps").read_text()
            if has and used > loaded.setdefault(process.pid, used) + 0.8:
                return True
    return False


def ended(step: subprocess.Popen[str]) -> None:
    out, err = step.communicate(timeout=120)
    assert step.returncode == 0, err
    assert "Traceback" not in err + out


def test_a_lost_worker_changes_no_row(trips: Path, alone: dict[str, Path], tmp_path: Path) -> None:
    step = start("rapids_prepare", tmp_path, f"trips={trips}", f"prepared={tmp_path / 'prepared'}")
    kill_one_when(step, lambda: any(tmp_path.glob(".prepared.partial-*/prepared/part-*.parquet")))
    ended(step)
    parts = sorted((tmp_path / "prepared").iterdir())
    assert [path.name for path in parts] == [f"part-{number:05d}.parquet" for number in range(12)]
    assert table(tmp_path / "prepared").equals(table(alone["prepared"]))
    told = logged(tmp_path / "metrics.jsonl", "tag")
    assert (told["engine"], told["engine_of_workers"]) == ("distributed", "cpu")
    assert logged(tmp_path / "metrics.jsonl")["workers"] == 2


def test_a_training_that_loses_a_worker_begins_anew_and_is_as_good(alone: dict[str, Path], tmp_path: Path) -> None:
    words = ["model.rounds=300", "model.early_stopping_rounds=0"]
    at = [f"{name}={alone[name]}" for name in ("train", "test")]
    step = start("rapids_train", tmp_path, *words, *at, f"trained={tmp_path / 'trained'}")
    loaded: dict[int, float] = {}
    kill_one_when(step, lambda: learns(step, loaded))
    ended(step)
    ours = logged(tmp_path / "metrics.jsonl")
    whole = json.loads((alone["trained"] / "features.json").read_text())
    assert json.loads((tmp_path / "trained" / "features.json").read_text()) == whole
    assert ours["workers_lost"] == 1
    assert ours["r2"] > 0.9
    assert ours["validation_rmse"] > ours["train_rmse"] > 0


def test_the_processes_of_a_job_are_a_cluster(trips: Path, alone: dict[str, Path], tmp_path: Path) -> None:
    specs = ROOT / "component_specs" / "rapids"
    job = {"type": "command", "distribution": {"type": "pytorch", "process_count_per_instance": 1},
           "resources": {"instance_count": 2}}  # fmt: skip
    prepared = {"trips": {"type": "uri_folder", "path": str(trips)}, "engine": "distributed"}
    features = {"prepared": "${{parent.jobs.prepare.outputs.prepared}}", "engine": "distributed"}
    jobs = {"prepare": job | {"component": str(specs / "rapids_prepare.yaml"), "inputs": prepared},
            "transform": job | {"component": str(specs / "rapids_transform.yaml"), "inputs": features}}  # fmt: skip
    path = tmp_path / "pipe.yaml"
    path.write_text(yaml.safe_dump({"type": "pipeline", "jobs": jobs}, sort_keys=False))
    argv = [sys.executable, "-m", "runtime", "pipeline", path.name, "--no-mlflow"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    (steps,) = tmp_path.glob("runs/pipe-*/steps")
    assert table(steps / "prepare" / "outputs" / "prepared").equals(table(alone["prepared"]))
    for part in ("train", "test"):
        assert table(steps / "transform" / "outputs" / part).equals(table(alone[part]))
    log = (steps / "transform" / "log.txt").read_text()
    assert "[rank 1] rapids_transform: process 0 of this job writes the outputs" in log


def test_what_cannot_be_distributed_is_one_line(
    alone: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = {"train": alone["train"], "test": alone["test"], "engine": "distributed", "trained": tmp_path / "m"}
    for words, line in (
        (["model=linear"], "engine='distributed': does not train model=linear; set model=xgboost, or another engine"),
        (["bins=disk"], "bins='disk': is for one process; leave it out"),
    ):
        assert_refused(capsys, [tmp_path / "m"], line, run(train, *words, **at))
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "nothing")
    assert_refused(capsys, [tmp_path / "m"], "DASK_SCHEDULER_ADDRESS='nothing': does not answer", run(train, **at))
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert_refused(capsys, [tmp_path / "m"], "do not say where process 0 is; give the step", run(train, **at))
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert_refused(capsys, [tmp_path / "m"], "needs Dask, which is not installed; pip install", run(train, **at))
