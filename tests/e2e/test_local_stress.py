"""The engine under what real machines and real programs do: secrets everywhere, floods of lines, daemons, full disks."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from runtime.local.pipeline import Options, run_file
from tests.fakes.pipelines import ngcrun, write_component, write_pipeline
from tests.fakes.processes import wait_until_gone

ROOT = Path(__file__).parents[2]
CANARY = "c4nary+bird/8d1f="


def record_of(folder: Path) -> dict[str, Any]:
    path = max(folder.glob("runs/*/run.json"), key=lambda p: p.stat().st_mtime_ns)
    return dict(json.loads(path.read_text()))


def test_a_secret_is_nowhere_in_what_a_run_leaves(tmp_path: Path) -> None:
    code = (
        "import base64, json, os, urllib.parse; s = os.environ['MY_TOKEN']; print('as is', s); print(repr(s)); "
        "print('url', urllib.parse.quote(s, safe='')); print('basic', base64.b64encode(f'user:{s}'.encode()).decode()); "
        "print('split', s[:4]); print(s[4:]); print(os.environ['PLAIN'], flush=True); "
        "open(os.environ['NGCRUN_METRICS_FILE'], 'a').write(json.dumps({'kind': 'param', 'key': 'k', 'value': s}) + chr(10)); "
        "raise SystemExit('it failed with ' + s)"
    )
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "leak.py").write_text(code)
    write_component(tmp_path, code="./src", command="python leak.py '${{inputs.word}}'",
                    inputs={"word": {"type": "string"}})  # fmt: skip
    path = write_pipeline(tmp_path, {"a": {"inputs": {"word": "${{parent.inputs.word}}"}}}, inputs={"word": "x"})
    words = ("pipeline", path.name, f"word={CANARY}", "--secret-env", "PLAIN")
    done = ngcrun(tmp_path, *words, MY_TOKEN=CANARY, PLAIN="chirp-chirp-92")
    assert done.returncode == 3
    forms = [CANARY, json.dumps(CANARY)[1:-1], urllib.parse.quote(CANARY, safe=""), CANARY[4:], "chirp-chirp-92"]
    forms += [
        base64.b64encode(f"user:{CANARY}".encode()).decode()[8:-4],
        base64.b64encode(CANARY.encode()).decode()[:-4],
    ]
    left = [p for p in tmp_path.rglob("*") if p.is_file() and "src" not in p.parts]
    assert {p.name for p in left} >= {"run.json", "report.html", "log.txt", "metrics.jsonl", "mlflow.db"}
    for place, text in [*((str(p), p.read_bytes()) for p in left), ("screen", (done.stdout + done.stderr).encode())]:
        for form in forms:
            assert form.encode() not in text, (place, form)
    log = Path(record_of(tmp_path)["steps"][0]["log"]).read_text()
    assert log.splitlines()[0] == "as is ***"
    assert "a: it failed with ***; log:" in done.stderr


def test_ten_thousand_lines_a_second_all_arrive(tmp_path: Path) -> None:
    code = "import sys\nfor i in range(200000): print('line', i, 'loss 0.12345 and so on and on')\n"
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "flood.py").write_text(code)
    write_component(tmp_path, code="./src", command="python flood.py; echo x > ${{outputs.out}}/x")
    path = write_pipeline(tmp_path, {"a": {}})
    done = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow", MY_TOKEN=CANARY)
    assert done.returncode == 0, done.stderr
    step = record_of(tmp_path)["steps"][0]
    lines = Path(step["log"]).read_text().splitlines()
    assert len(lines) == 200_000
    assert lines[-1].startswith("line 199999 ")
    assert step["seconds"] < 20


def test_two_hundred_steps(tmp_path: Path) -> None:
    write_component(tmp_path, inputs={"data": {"type": "uri_folder", "optional": True}},
                    command="echo x > ${{outputs.out}}/x")  # fmt: skip
    jobs: dict[str, Any] = {"s0": {}}
    for number in range(1, 200):
        jobs[f"s{number}"] = {"inputs": {"data": "${{parent.jobs.s" + str(number // 2) + ".outputs.out}}"}}
    jobs["s1"] = {"inputs": {"data": "${{parent.jobs.s0.outputs.out}}"}}
    path = write_pipeline(tmp_path, jobs)
    done = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow", "--jobs", "4")
    assert done.returncode == 0, done.stderr
    assert len(record_of(tmp_path)["steps"]) == 200
    again = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow")
    assert "200 of 200 steps taken over from earlier runs" in again.stdout


def test_a_daemon_that_a_step_leaves_behind_is_ended(tmp_path: Path) -> None:
    command = "setsid bash -c 'echo $$ > ${{inputs.at}}/pid; exec sleep 300' & until [ -s ${{inputs.at}}/pid ]; do sleep 0.02; done; echo x > ${{outputs.out}}/x"
    write_component(tmp_path, command=command, inputs={"at": {"type": "string"}})
    path = write_pipeline(tmp_path, {"a": {"inputs": {"at": str(tmp_path)}}})
    began = time.monotonic()
    done = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow", MY_TOKEN=CANARY)  # its log goes through a pipe
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 60
    assert wait_until_gone(int((tmp_path / "pid").read_text()), 5)


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_changes_no_duration_and_no_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    write_component(tmp_path, command="sleep 0.2; echo x > ${{outputs.out}}/x")
    path = write_pipeline(tmp_path, {"a": {}, "b": {"inputs": {"text": "b"}}})
    real, began = time.time, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: real() + (jump_s if time.monotonic() > began + 0.15 else 0.0))
    assert run_file(path, {}, Options(mlflow=False, runs=tmp_path / "runs", jobs=1)) == 0
    first = record_of(tmp_path)["steps"]
    assert all(0 <= step["began_s"] < 60 and 0.2 <= step["seconds"] < 60 for step in first)
    assert run_file(path, {}, Options(mlflow=False, runs=tmp_path / "runs", jobs=1)) == 0
    assert all(step["reused"] for step in record_of(tmp_path)["steps"])


def test_a_run_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_component(tmp_path)
    path = write_pipeline(tmp_path, {"a": {}})
    (tmp_path / "runs").write_text("a file")
    done = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow")
    assert (done.returncode, done.stderr) == (
        2,
        "--runs='runs': cannot be written (not a directory); name a folder that you may write to\n",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a read-only file system takes root")
def test_a_cache_that_cannot_be_written_costs_nothing_but_the_cache(tmp_path: Path) -> None:
    write_component(tmp_path)
    path = write_pipeline(tmp_path, {"a": {}})
    (tmp_path / "runs" / ".cache").mkdir(parents=True)
    script = 'mount -t tmpfs -o ro,size=64k none runs/.cache && exec "$@"'
    argv = [
        "unshare",
        "-m",
        "bash",
        "-c",
        script,
        "bash",
        sys.executable,
        "-m",
        "runtime",
        "pipeline",
        path.name,
        "--no-mlflow",
    ]
    done = subprocess.run(
        argv, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert record_of(tmp_path)["status"] == "completed"
