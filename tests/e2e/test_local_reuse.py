"""Taking over what was made before: when it happens, when it must not, and after the engine was killed at any moment."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import BadInput
from runtime.local import content
from runtime.local.pipeline import Options, run_file
from runtime.local.record import run_folder
from tests.fakes.pipelines import write_component, write_pipeline

A = "${{parent.jobs.a.outputs.out}}"
COUNTED = "echo x >> '${{inputs.count_in}}'; cat '${{inputs.data}}'/* > '${{outputs.out}}/text'"


def pipeline(folder: Path, **changes: Any) -> Path:
    """Step a copies the data, step b copies a's output; each start adds a line to a file beside them."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "one").write_text("1\n")
    inputs = {"data": {"type": "uri_folder"}, "count_in": {"type": "string"}, "text": {"type": "string", "default": ""}}
    write_component(folder, inputs=inputs, command=COUNTED, **changes)
    jobs = {
        "a": {"inputs": {"data": {"type": "uri_folder", "path": "./data"}, "count_in": str(folder / "a.count")}},
        "b": {"inputs": {"data": A, "count_in": str(folder / "b.count"), "text": "${{parent.inputs.text}}"}},
    }
    return write_pipeline(folder, jobs, inputs={"text": "t"})


def run(path: Path, *, status: int = 0, text: str = "t", **options: Any) -> dict[str, dict[str, Any]]:
    """Run it; returns the steps of the record by name."""
    options = {"mlflow": False, "runs": path.parent / "runs"} | options
    assert run_file(path, {"text": text}, Options(**options)) == status
    record = max(path.parent.glob("runs/*/run.json"), key=lambda p: p.stat().st_mtime_ns)
    return {step["name"]: step for step in json.loads(record.read_text())["steps"]}


def starts(folder: Path) -> tuple[int, int]:
    """How often a and b were started."""
    counts = [(folder / f"{n}.count") for n in "ab"]
    return (len(counts[0].read_text().splitlines()), len(counts[1].read_text().splitlines()))


def output_of(step: dict[str, Any]) -> Path:
    return Path(step["outputs"]["out"])


def test_what_has_not_changed_is_taken_over(tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    first = run(path)
    second = run(path)
    assert starts(tmp_path) == (1, 1)
    for name in "ab":
        assert second[name]["reused"] == first[name]["log"].removesuffix("/log.txt")
        assert output_of(second[name]).resolve() == output_of(first[name])
        assert second[name]["contents"] == first[name]["contents"]
        assert (output_of(second[name]) / "text").read_text() == "1\n"
    shutil.rmtree(output_of(second["a"]).parents[3])  # the links go, and nothing that they lead to
    third = run(path)
    assert third["b"]["reused"] == first["b"]["log"].removesuffix("/log.txt")


def test_a_literal_that_changes_runs_that_step_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pipeline(tmp_path)
    run(path)
    steps = run(path, text="other")
    assert starts(tmp_path) == (1, 2)
    assert steps["b"]["because"] == ["input text: 't', now 'other'"]
    from runtime.__main__ import main

    capsys.readouterr()
    assert main(["why", "b", "--runs", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.startswith("b  ran: input text: 't', now 'other'\n  command = ")


def test_a_changed_input_runs_what_needs_it_and_no_more_when_the_result_is_the_same(tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    run(path)
    (tmp_path / "data" / "one").write_text("2\n")
    assert (tmp_path / "data" / "two").write_text("") == 0  # `cat` of an empty file adds nothing
    assert [steps["reused"] for steps in run(path).values()] == [None, None]
    (tmp_path / "data" / "two").unlink()
    steps = run(path)
    assert steps["a"]["because"][0].startswith("input data: sha256:")
    assert steps["b"]["reused"]  # a made the same bytes as before


def test_touching_a_file_is_no_change(tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    run(path)
    (tmp_path / "data" / "one").touch()
    assert run(path)["a"]["reused"]


def test_a_changed_byte_in_a_kept_output_is_noticed(tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    made = output_of(run(path)["a"]) / "text"
    before = made.stat()
    made.write_text("9\n")
    os.utime(made, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same mtime: only the ctime tells
    steps = run(path)
    assert "has been changed" in steps["a"]["because"][0]
    assert steps["b"]["reused"]  # a's new output is what b had
    assert (output_of(steps["a"]) / "text").read_text() == "1\n"


def test_outputs_that_were_removed_are_made_again(tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    shutil.rmtree(output_of(run(path)["a"]).parents[3])
    steps = run(path)
    assert starts(tmp_path) == (2, 2)
    assert "is gone" in steps["a"]["because"][0]


@pytest.mark.parametrize(
    ("how", "because"),
    [({"force": True}, "--force"), ({"cache": False}, None)],
)
def test_flags_that_run_everything(tmp_path: Path, how: dict[str, bool], because: str | None) -> None:
    path = pipeline(tmp_path)
    run(path)
    steps = run(path, **how)
    assert starts(tmp_path) == (2, 2)
    assert steps["a"]["because"] == ([because] if because else [])


def test_what_is_not_deterministic_runs_again(tmp_path: Path) -> None:
    path = pipeline(tmp_path, is_deterministic=False)
    run(path)
    assert [s["because"] for s in run(path).values()] == [["is_deterministic: false"]] * 2


def test_force_rerun_in_the_pipeline_runs_everything(tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    run(path)
    path.write_text(path.read_text() + "settings: {force_rerun: true}\n")
    run(path)
    assert starts(tmp_path) == (2, 2)


def test_an_input_that_holds_the_runs_is_never_taken_over(tmp_path: Path) -> None:
    write_component(
        tmp_path, inputs={"data": {"type": "uri_folder"}}, command="cat ${{inputs.data}}/a > ${{outputs.out}}/x"
    )
    (tmp_path / "a").write_text("1")
    path = write_pipeline(tmp_path, {"s": {"inputs": {"data": {"type": "uri_folder", "path": "."}}}})
    for _ in range(2):
        step = run_file(path, {}, Options(mlflow=False, runs=tmp_path / "runs"))
        assert step == 0
    record = max(tmp_path.glob("runs/*/run.json"), key=lambda p: p.stat().st_mtime_ns)
    (step,) = json.loads(record.read_text())["steps"]
    assert step["because"] == ["input data holds the run folder, and so changes while it is read"]


def test_code_counts_by_what_is_uploaded(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / ".amlignore").write_text("*.log\n")
    (tmp_path / "src" / "job.sh").write_text("true\n")
    path = pipeline(tmp_path, code="./src")
    run(path)
    (tmp_path / "src" / "a.log").write_text("not uploaded")
    steps = run(path)
    assert steps["a"]["reused"]
    (tmp_path / "src" / "job.sh").write_text("false\n")
    assert [b.split(":")[0] for b in run(path)["a"]["because"]] == ["code"]


def test_a_failed_step_is_not_taken_over_and_a_resumed_run_goes_on_in_its_folder(tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    (tmp_path / "a.count").mkdir()  # echo >> a folder fails, and `set -e` is not on: cat still runs
    command = f"set -e; {COUNTED}"
    path = pipeline(tmp_path)
    write_component(tmp_path, inputs={"data": {"type": "uri_folder"}, "count_in": {"type": "string"},
                                      "text": {"type": "string", "default": ""}}, command=command)  # fmt: skip
    failed = run(path, status=3)
    assert failed["a"]["status"] == "failed"
    (tmp_path / "a.count").rmdir()
    folder = output_of(failed["a"]).parents[3]
    again = run(path, resume=folder)
    assert output_of(again["a"]).parents[3] == folder
    assert [s["status"] for s in again.values()] == ["completed", "completed"]
    assert starts(tmp_path) == (1, 1)
    kept = run(path, resume=folder)
    assert starts(tmp_path) == (1, 1)
    assert not output_of(kept["a"]).is_symlink()


def test_a_second_engine_in_a_run_folder_says_so_and_stops(tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    folder = output_of(run(path)["a"]).parents[3]
    with run_folder(folder.parent, "pipe", folder), pytest.raises(BadInput, match="still going on; wait until it has"):
        run_file(path, {}, Options(mlflow=False, resume=folder))
    with (
        pytest.raises(BadInput, match="is a run of 'pipe', not of 'other'"),
        run_folder(folder.parent, "other", folder),
    ):
        pass
    with pytest.raises(BadInput, match="is no run folder"), run_folder(tmp_path, "pipe", tmp_path):
        pass


def tree(folder: Path) -> dict[str, str]:
    """Hash of each file below the outputs of a run, links followed."""
    return {
        f"{port.parents[1].name}/{port.name}/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest()
        for port in sorted(folder.glob("steps/*/outputs/*"))
        for p in sorted(port.resolve().iterdir())
    }


SLOW = (  # writes in many small pieces, so that a kill finds it half done
    "for i in 1 2 3 4 5 6; do cat '${{inputs.data}}'/* >> '${{outputs.out}}/text'; echo $i >> '${{outputs.out}}/text'; "
    "sleep 0.01; done; cp '${{outputs.out}}/text' '${{outputs.out}}/copy'"
)


def engine_once(path: Path, resume: Path | None) -> None:
    os.setsid()
    with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a file descriptor
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os._exit(run_file(path, {}, Options(mlflow=False, runs=path.parent / "runs", resume=resume)))


def test_killed_at_two_hundred_moments_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one").write_text("1\n" * 1000)
    write_component(tmp_path, inputs={"data": {"type": "uri_folder"}}, command=SLOW)
    jobs: dict[str, Any] = {"a": {"inputs": {"data": {"type": "uri_folder", "path": "./data"}}}}
    for before, name in zip("abc", "bcd", strict=True):
        jobs[name] = {"inputs": {"data": A.replace(".a.", f".{before}.")}}
    path = write_pipeline(tmp_path, jobs)
    began = time.monotonic()
    run_file(path, {}, Options(mlflow=False, runs=tmp_path / "calm"))
    whole_s = time.monotonic() - began
    (calm,) = (tmp_path / "calm").glob("pipe-*")
    wanted = tree(calm)
    fork = multiprocessing.get_context("fork")
    dice = random.Random(4)  # noqa: S311 - moments of a test, the same each time
    killed = completed = 0
    resume: Path | None = None
    while killed < 200:
        process = fork.Process(target=engine_once, args=(path, resume))
        process.start()
        process.join(dice.uniform(0.0, min(whole_s, 0.4)))
        if process.is_alive():
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            killed += 1
        if process.exitcode == 0:
            completed += 1
            run = resume or max((tmp_path / "runs").glob("pipe-*/run.json"), key=lambda p: p.stat().st_mtime_ns).parent
            assert tree(run) == wanted
            shutil.rmtree(tmp_path / "runs")  # from the beginning again
            resume = None
            continue
        assert process.exitcode == -signal.SIGKILL
        left = sorted(p.parent for p in (tmp_path / "runs").glob("pipe-*/run.json"))
        resume = dice.choice([None, *left])
    assert completed >= 2, completed


def test_the_content_of_a_folder_is_its_names_and_bytes(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "a").write_text("a")
    (data / "b").write_text("b")
    (data / "nowhere").symlink_to("gone")
    first = content.of(data, manifests)
    assert (first.files, first.read) == (3, 3)
    time.sleep(0.12)  # or the stat of files this young proves nothing
    content.of(data, manifests)
    assert content.of(data, manifests) == content.Content(first.digest, first.size, 3, 0)
    (data / "sub" / "a").write_text("c")
    assert content.of(data, manifests).digest != first.digest
    (data / "sub" / "a").write_text("a")
    assert content.of(data, manifests).digest == first.digest == content.of(data).digest
    (data / "loop").symlink_to(data)
    assert content.of(data, manifests).digest == first.digest
    (data / "b").rename(data / "c")
    assert content.of(data, manifests).digest != first.digest
    for file in manifests.iterdir():
        file.write_text("{")
    assert content.of(data / "sub", manifests).files == 1
