"""A search that is killed, times out, loses a worker, or is given what it cannot use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from rapids_support import run
from test_rapids_steps import contents
from test_rapids_tune import best, parts, search, trials

from runtime.errors import ToolFailed
from runtime.metrics import Metrics
from runtime.rapids import study as studies
from runtime.rapids import trainers, training
from runtime.rapids.learners import XGBoost
from runtime.rapids.tune import tune

ROOT = Path(__file__).parents[2]
WORDS = ["model.rounds=30", "trials=7", "pruner=median", "sampler=tpe"]

__all__ = ["parts"]  # the fixture


def start(parts: dict[str, Path], folder: Path, *words: str) -> subprocess.Popen[str]:
    ports = [
        f"--{name}={path}" for name, path in (parts | {n: folder / n for n in ("trained", "study", "storage")}).items()
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "runtime.rapids.tune", *ports, *WORDS, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def kill_after(process: subprocess.Popen[str], line: str) -> None:
    """SIGKILL to the step, not to its workers, once it has said `line`."""
    assert process.stdout is not None
    for told in process.stdout:
        if told.startswith(line):
            break
    else:
        pytest.fail(f"{line} was never said: {process.stderr and process.stderr.read()}")
    process.kill()
    process.communicate()


def finished(storage: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name=studies.NAME, storage=f"sqlite:///{storage / 'study.db'}")
    return [t for t in study.get_trials() if t.state.is_finished() and t.state.name != "FAIL"]


@pytest.mark.heavy
def test_a_search_killed_twice_finds_what_an_unbroken_one_finds(parts: dict[str, Path], tmp_path: Path) -> None:
    kill_after(start(parts, tmp_path, "engine=cpu"), "trial 1:")
    assert not (tmp_path / "trained").exists()
    kill_after(start(parts, tmp_path, "engine=cpu"), "trial 4:")
    before = len(finished(tmp_path / "storage"))
    assert 5 <= before < 7
    last = start(parts, tmp_path, "engine=cpu")
    out, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    assert out.splitlines()[0] == f"goes on after {before} trials"
    places = [t.user_attrs["place"] for t in finished(tmp_path / "storage")]
    assert sorted(places) == list(range(7))
    whole = search(parts, tmp_path / "whole", *WORDS, engine="cpu")
    for name in ("trained", "study"):
        assert contents(tmp_path / name) == contents(whole[name]), name


def test_workers_end_with_a_step_that_is_killed_and_nothing_is_doubled(parts: dict[str, Path], tmp_path: Path) -> None:
    process = start(parts, tmp_path, "workers=2")
    kill_after(process, "trial ")
    again = start(parts, tmp_path, "workers=2")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert "goes on after" in out
    assert sorted(t.user_attrs["place"] for t in finished(tmp_path / "storage")) == list(range(7))
    assert trials(tmp_path / "study")["trial"].to_list() == list(range(7))
    assert left_in_session(process.pid) == []


def left_in_session(leader: int) -> list[str]:
    """Commands of live processes in a session."""
    done = subprocess.run(["ps", "-s", str(leader), "-o", "stat=,args="], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if not line.startswith("Z")]


def test_sigterm_leaves_no_output_and_a_study_to_go_on_from(parts: dict[str, Path], tmp_path: Path) -> None:
    process = start(parts, tmp_path, "workers=2")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "rapids_tune: stopped; no output was written\n"
    assert not (tmp_path / "trained").exists()
    assert len(finished(tmp_path / "storage")) >= 1
    assert left_in_session(process.pid) == []


def test_the_time_ends_the_search_and_a_later_one_adds_to_it(parts: dict[str, Path], tmp_path: Path) -> None:
    words = ["model.rounds=30", "pruner=none"]
    at = search(parts, tmp_path / "a", *words, "trials=1000", timeout_s=1, storage=tmp_path / "storage")
    count = trials(at["study"]).height
    assert 1 <= count < 1000
    more = search(parts, tmp_path / "b", *words, f"trials={count + 2}", storage=tmp_path / "storage")
    assert trials(more["study"]).height == count + 2
    assert trials(more["study"]).head(count).equals(trials(at["study"]))
    assert best(more["study"])["validation_rmse"] <= best(at["study"])["validation_rmse"]


def test_a_worker_trains_as_this_process_does_and_its_death_is_told(parts: dict[str, Path]) -> None:
    data = training.open_parts(parts["train"], parts["test"], Metrics()).training(0.1, 0)
    work = trainers.Work(data, "cpu", 256, threads=1)
    here, there = trainers.Here(work), trainers.There(work, None)
    try:
        assert there._process.pid != os.getpid()
        learner = XGBoost(rounds=15, max_depth=4)
        assert there.train(learner, lambda _scores, _epoch: False) == here.train(learner, lambda _scores, _epoch: False)
        assert there.train(learner, lambda _scores, epoch: epoch == 4).rounds == 5

        def dies(_scores: object, _epoch: int) -> bool:
            there._process.kill()
            return False

        with pytest.raises(
            ToolFailed, match=r"a worker ended in the middle of a trial \(killed, as where memory runs out\)"
        ):
            there.train(learner, dies)
    finally:
        there.end()


BAD = {
    "space.max_depth.low=12": "space.max_depth='12..12': holds no values; make low less than high",
    "space.learning_rate.high=2": "space.learning_rate='0.02..2': is out of range; stay within 1e-06..1",
    "space.reg_lambda.low=0": "space.reg_lambda='0..100': has no logarithm; make low greater than 0, or log=false",
    "space.max_depth.low=two": "space.max_depth.low='two': Value 'two' of type 'str' could not be converted to Integer; it takes",
    "space.depth.low=2": "space.depth.low='2': is not a field of space=wide;",
    "space=narrow": "space='narrow': ",
    "pruner=average": "pruner='average': ",
    "trials=0": "trials=0: is below the minimum 1; give a larger number",
    "workers=0": "workers=0: is below the minimum 1; give a larger number",
    "validation_share=0": "validation_share=0.0: is below the minimum 0.01; give a larger number",
    "timeout_s=0": "timeout_s=0: is below the minimum 1; give a larger number",
    "model.max_depth=0": "model.max_depth=0: is out of range; give at least 1 and at most 64",
    "model=linear": "model='linear': ",
    "engine=gpu": "engine='gpu': ",
}


@pytest.mark.parametrize("word", BAD)
def test_bad_settings_get_one_line_and_nothing_is_written(
    word: str, parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = {name: tmp_path / name for name in ("trained", "study")}
    assert run(tune, word, **parts, **at) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"rapids_tune: {BAD[word]}"), told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_search_is_refused(
    parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["space=depth_and_rate", "space.max_depth=null", "space.learning_rate=null"]
    assert run(tune, *words, **parts, trained=tmp_path / "t", study=tmp_path / "s") == 2
    assert (
        capsys.readouterr().err
        == "rapids_tune: space=None: searches nothing; leave at least one range that is not null\n"
    )


def test_a_storage_of_another_search_in_use_or_broken_is_refused(
    parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, words = tmp_path / "storage", ["model.rounds=3", "trials=1"]
    search(parts, tmp_path / "a", *words, storage=storage)
    ports = {**parts, "trained": tmp_path / "t", "study": tmp_path / "s", "storage": storage}
    capsys.readouterr()

    def told(*more: str) -> str:
        assert run(tune, *words, *more, **ports) == 2
        return capsys.readouterr().err

    start = f"rapids_tune: storage='{storage}': holds a search with another"
    assert told("seed=1") == f"{start} seed; name another folder, or remove this one\n"
    assert told("model.reg_lambda=2", "space=depth_and_rate").startswith(f"{start} settings, space;")
    assert told("validation_share=0.2", "pruner=none").startswith(f"{start} validation_share, pruner;")
    with studies.locked(storage):
        assert told() == f"rapids_tune: storage='{storage}': is in use by another run; wait for it, or name another\n"
    (storage / "study.db").write_bytes(b"no database at all" * 100)
    assert told().startswith(f"rapids_tune: storage='{storage}/study.db': is not a readable study: ")
    assert not (tmp_path / "t").exists()


def test_other_data_is_another_search(
    parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, words = tmp_path / "storage", ["model.rounds=3", "trials=1"]
    search(parts, tmp_path / "a", *words, storage=storage)
    swapped = {"train": parts["test"], "test": parts["train"]}
    assert run(tune, *words, **swapped, trained=tmp_path / "t", study=tmp_path / "s", storage=storage) == 2
    assert "holds a search with another data;" in capsys.readouterr().err


def test_a_setting_that_the_learner_lacks_is_refused_by_train(
    parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from runtime.rapids.train import train

    assert run(train, "model=linear", **parts, trained=tmp_path / "t", max_depth=3) == 2
    assert (
        capsys.readouterr().err
        == "rapids_train: max_depth=3: is no setting of model=linear; leave it out; linear has l2\n"
    )
