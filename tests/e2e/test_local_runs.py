"""What one can ask about runs afterwards: the list, the logs, and what may be removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.__main__ import main
from runtime.local.pipeline import Options, run_file
from runtime.local.record import run_folder
from tests.fakes.pipelines import write_component, write_pipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_component(tmp_path, command="echo said '${{inputs.text}}'; echo x > ${{outputs.out}}/x")
    write_pipeline(tmp_path, {"a": {"inputs": {"text": "${{parent.inputs.word}}"}}}, inputs={"word": "w"})
    return tmp_path


def run(here: Path, word: str = "w", **options: Any) -> Path:
    assert run_file(here / "pipe.yaml", {"word": word}, Options(mlflow=False, **options)) == 0
    return max((here / "runs").glob("*/run.json"), key=lambda p: p.stat().st_mtime_ns).parent


def test_runs_are_listed_with_how_they_went(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = run(here), run(here)
    record = json.loads((second / "run.json").read_text()) | {"status": "running"}
    (second / "run.json").write_text(json.dumps(record))  # as a killed engine leaves it
    capsys.readouterr()
    assert main(["runs"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:5] == ["run", "status", "started", "seconds", "steps"]
    assert [line[:2] for line in lines[1:]] == [[first.name, "completed"], [second.name, "interrupted"]]
    assert [line[4:7] for line in lines[1:]] == [["1/1", "0", "pipe.yaml"], ["1/1", "1", "pipe.yaml"]]
    with run_folder(second.parent, "pipe", second):
        main(["runs"])
    assert f"{second.name}  running" in capsys.readouterr().out


def test_the_log_of_a_step(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(here, "hello")
    capsys.readouterr()
    assert main(["logs", "latest", "a"]) == 0
    assert main(["logs", folder.name, "a", "-f"]) == 0
    assert capsys.readouterr().out == "said hello\n" * 2
    assert main(["logs", "latest", "b"]) == 2
    assert capsys.readouterr().err == f"step='b': is not in runs/{folder.name}; known: a\n"
    assert main(["logs", "gone", "a"]) == 2
    assert capsys.readouterr().err == "run='gone': is no run folder; see `ngcrun runs`\n"


def test_a_log_is_followed_to_the_end_of_the_step(here: Path) -> None:
    write_component(here, command="for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done; echo x > ${{outputs.out}}/x")
    ngcrun, env = [sys.executable, "-m", "runtime"], os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*ngcrun, "pipeline", "pipe.yaml", "--no-mlflow"], env=env, stdout=subprocess.DEVNULL
    ) as engine:
        while not list(here.glob("runs/*/steps/a/log.txt")):
            assert engine.poll() is None
            time.sleep(0.02)
        argv = [*ngcrun, "logs", "latest", "a", "-f"]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [f"line {i}" for i in range(1, 6)]


def test_clean_keeps_what_is_asked_what_is_used_and_what_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used, old, taker = run(here, "1"), run(here, "2"), run(here, "1")
    assert main(["clean"]) == 2
    assert "does not know what to remove" in capsys.readouterr().err
    assert main(["clean", "--keep", "1", "--dry-run"]) == 0
    assert f"would remove runs/{old.name}" in capsys.readouterr().out
    assert old.is_dir()
    assert main(["clean", "--keep", "1"]) == 0
    told = capsys.readouterr().out
    assert f"kept runs/{used.name}: {taker.name} has taken over outputs of it" in told
    assert (used.is_dir(), old.is_dir(), taker.is_dir()) == (True, False, True)
    assert (taker / "steps" / "a" / "outputs" / "out" / "x").read_text() == "x\n"
    assert main(["clean", "--older-than", "1"]) == 0
    assert used.is_dir()
    with run_folder(taker.parent, "pipe", taker):
        assert main(["clean", "--keep", "0"]) == 0
    assert f"kept runs/{taker.name}: it is still going on" in capsys.readouterr().out
    assert main(["clean", "--keep", "0"]) == 0
    assert not list(here.glob("runs/pipe-*"))
    stillborn, begun, other = (here / "runs" / name for name in ("pipe-1", "pipe-2", "other"))
    for folder in (stillborn, begun, other):
        folder.mkdir()
        (folder / ("notes.txt" if folder == other else ".lock")).touch()
    os.utime(stillborn / ".lock", (0, 0))
    assert main(["clean", "--keep", "3"]) == 0
    assert (stillborn.is_dir(), begun.is_dir(), other.is_dir()) == (False, True, True)
    assert not list(here.glob("runs/.cache/steps/*"))
