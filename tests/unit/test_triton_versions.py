"""Versions in a repository in use: added whole or not at all, rolled back without a loss, compared, and traced back."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.__main__ import main as ngcrun
from runtime.execute import main
from runtime.triton import model_config, provenance, versions
from runtime.triton.difference import differences
from runtime.triton.package import package
from tests.fakes import triton_models as models

ROOT = Path(__file__).parents[2]


@pytest.fixture
def made(tmp_path):
    """A function that packages a model and returns the repository that the package is."""

    def make(name: str, *words: str, width: int = 4, learner: str | None = None) -> Path:
        folder = tmp_path / f"{name}-model"
        if learner:
            models.model_folder(folder, learner)
        else:
            folder.mkdir()
            models.onnx_model(folder, width=width)
        out = tmp_path / f"{name}-package"
        ports = [f"model={folder}", f"repository={out}", f"golden={tmp_path / f'{name}-golden'}", "target=ngc"]
        assert main(package, [*ports, *words]) == 0
        return out

    return make


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def policy(repository: Path) -> list[int]:
    return list(model_config.read(repository / "model" / "config.pbtxt").version_policy.specific.versions)


def test_a_version_is_added_and_the_others_and_the_config_stay_as_they_are(tmp_path, made):
    repository = tmp_path / "repo"
    first = versions.add(repository, made("a"))
    assert (first.model, first.version, first.served) == ("model", 1, True)
    path = repository / "model" / "config.pbtxt"
    path.write_text("# ours\n" + path.read_text())
    before = tree(repository)
    second = versions.add(repository, made("b", "max_batch_size=8"))
    assert (second.version, second.served, second.kept) == (2, True, ("max_batch_size",))
    after = tree(repository)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[1] for name in set(after) - set(before)} == {"2"}
    assert [p.name for p in tmp_path.glob(".repo.ngcrun*")] == [".repo.ngcrun.lock"]


def test_two_models_lie_side_by_side(tmp_path, made):
    repository = tmp_path / "repo"
    versions.add(repository, made("a"))
    versions.add(repository, made("b", "model_name=other", learner="linear"))
    assert sorted(p.name for p in repository.iterdir()) == ["model", "other"]


@pytest.mark.parametrize(
    ("words", "how", "told"),
    [
        ([], {"width": 5}, "takes and gives x FP32 [4], total FP32 [], the package x FP32 [5], total FP32 []; add it under another name"),
        (["backend=python"], {}, "runs on onnxruntime, the package on python; package it for that: backend=onnxruntime"),
    ],
)  # fmt: skip
def test_another_model_is_refused_and_the_repository_stays(  # noqa: PLR0917 - a row of the table
    tmp_path, made, capsys, words, how, told
):
    repository = tmp_path / "repo"
    versions.add(repository, made("a"))
    before = tree(repository)
    other = made("b", *words, **how)
    assert ngcrun(["triton", "add", str(repository), str(other)]) == 2
    assert told in capsys.readouterr().err
    assert tree(repository) == before


def test_a_broken_package_and_a_number_that_is_taken_are_refused(tmp_path, made, capsys):
    repository, package_ = tmp_path / "repo", made("a")
    versions.add(repository, package_)
    before = tree(repository)
    assert ngcrun(["triton", "add", str(repository), str(package_), "--version", "1"]) == 2
    assert "version=1: is there already" in capsys.readouterr().err
    (package_ / "model" / "1" / "model.onnx").unlink()
    assert ngcrun(["triton", "add", str(repository), str(package_)]) == 2
    assert "lacks model.onnx" in capsys.readouterr().err
    assert tree(repository) == before


def test_rollback_serves_the_version_before_and_back_again_and_keeps_comments(tmp_path, made, capsys):
    repository, package_ = tmp_path / "repo", made("a")
    for _ in range(3):
        versions.add(repository, package_)
    path = repository / "model" / "config.pbtxt"
    path.write_text("# ours\n" + path.read_text())
    before = path.read_text()
    assert ngcrun(["triton", "rollback", str(repository), "model"]) == 0
    assert "version 2 is what a server loads" in capsys.readouterr().out
    assert policy(repository) == [2]
    assert ngcrun(["triton", "rollback", str(repository), "model"]) == 0
    assert policy(repository) == [1]
    assert versions.add(repository, package_).served is False
    assert ngcrun(["triton", "rollback", str(repository), "model", "--to", "4"]) == 0
    assert policy(repository) == [4]
    assert ngcrun(["triton", "rollback", str(repository), "model", "--to", "latest"]) == 0
    assert path.read_text() == before
    assert ngcrun(["triton", "rollback", str(repository), "model", "--to", "9"]) == 2
    assert "to=9: is no version of" in capsys.readouterr().err
    assert ngcrun(["triton", "rollback", str(repository), "nobody"]) == 2


def test_there_is_nothing_before_the_first_version(tmp_path, made, capsys):
    versions.add(tmp_path / "repo", made("a"))
    assert ngcrun(["triton", "rollback", str(tmp_path / "repo"), "model"]) == 2
    assert "has no version before the one that is served" in capsys.readouterr().err


def _add_many(repository: Path, package_: Path, count: int) -> None:
    for _ in range(count):
        versions.add(repository, package_)


def test_packagings_at_once_each_get_a_version_of_their_own(tmp_path, made):
    repository, package_ = tmp_path / "repo", made("a")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add_many, args=(repository, package_, 5)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    found = versions.version_folders(repository / "model")
    assert found == list(range(1, 16))
    whole = tree(package_ / "model" / "1")
    assert all(tree(repository / "model" / str(number)) == whole for number in found)


def test_one_that_is_killed_leaves_the_repository_whole_and_nothing_beside_it_after_the_next(tmp_path, made):
    repository, package_ = tmp_path / "repo", made("a")
    versions.add(repository, package_)
    whole = tree(package_ / "model" / "1")
    loop = f"from runtime.triton import versions; from pathlib import Path\nwhile True: versions.add(Path({str(repository)!r}), Path({str(package_)!r}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for pause in (0.9, 1.1, 1.3, 1.5):
        worker = subprocess.Popen([sys.executable, "-c", loop], env=environment)
        time.sleep(pause)
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        found = versions.version_folders(repository / "model")
        assert {p.name for p in (repository / "model").iterdir() if p.is_dir()} == set(map(str, found))
        assert all(tree(repository / "model" / str(number)) == whole for number in found)
    versions.add(repository, package_)
    assert [p.name for p in tmp_path.glob(".repo.ngcrun*")] == [".repo.ngcrun.lock"]


def test_a_version_says_where_it_came_from_and_whether_it_is_still_that(tmp_path, made, capsys):
    repository = made("a", learner="xgboost")
    folder = repository / "model" / "1"
    source = tmp_path / "a-model" / "model.ubj"
    document = json.loads((folder / "provenance.json").read_text())
    assert document["source"] == {
        "file": "model.ubj",
        "sha256": provenance.sha256(source),
        "bytes": source.stat().st_size,
    }
    assert document["files"] == {"checkpoint.tl": provenance.sha256(folder / "checkpoint.tl")}
    assert (document["kind"], document["backend"], document["gpu"]) == ("xgboost", "fil", None)
    assert document["packaged_by"].keys() >= {"ngcrun", "treelite", "onnx"}
    assert provenance.changed(folder) == []
    (folder / "checkpoint.tl").write_bytes(b"other")
    assert provenance.changed(folder) == ["checkpoint.tl"]
    assert ngcrun(["triton", "list", str(repository)]) == 0
    out = capsys.readouterr().out
    assert "changed: checkpoint.tl" in out
    assert document["source"]["sha256"][:12] in out


def test_the_commit_and_the_training_run_are_in_it(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "a").write_text("1")
    subprocess.run([*git, "add", "a"], check=True)
    subprocess.run([*git, "commit", "-qm", "a"], check=True)
    state = provenance.git_state(tmp_path)
    assert (len(state["commit"]), state["dirty"]) == (40, False)
    (tmp_path / "a").write_text("2")
    assert provenance.git_state(tmp_path)["dirty"] is True
    (tmp_path / "MLmodel").write_text("flavors: {}\nrun_id: 0123abc\n")
    (tmp_path / "v").mkdir()
    provenance.write(tmp_path / "v", tmp_path / "a")
    assert provenance.read(tmp_path / "v")["mlflow_run"] == "0123abc"
    assert provenance.git_state(Path("/")) is None


def test_two_repositories_are_compared_line_by_line(tmp_path, made, capsys):
    a, b = made("a"), made("b", "max_batch_size=8", "scheduler.max_queue_delay_us=5")
    same = made("c")
    (b / "model" / "2").mkdir()
    (b / "model" / "1" / "model.onnx").write_bytes(b"other")
    versions.add(b, made("d", "model_name=extra"))
    assert list(differences(a, same)) == []
    lines = list(differences(a, b))
    assert lines == [
        "+ extra",
        "~ model: dynamic_batching.max_queue_delay_microseconds: absent -> 5",
        "~ model: max_batch_size: 1024 -> 8",
        "~ model/1/model.onnx",
        "+ model/2",
    ]
    (a / "model" / "config.pbtxt").write_text("# a comment\n" + (a / "model" / "config.pbtxt").read_text())
    assert list(differences(a, same)) == []
    assert ngcrun(["triton", "diff", str(a), str(b), "--exit-code"]) == 1
    assert ngcrun(["triton", "diff", str(a), str(same), "--exit-code"]) == 0
    assert capsys.readouterr().out.endswith("no difference\n")
    assert ngcrun(["triton", "diff", str(a), str(tmp_path / "none")]) == 2
