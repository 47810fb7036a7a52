from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from runtime.component import Output, component
from runtime.errors import ToolFailed
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.staging import machine_failure, publish_all
from tests.fakes.echo import echo

ROOT = Path(__file__).parents[2]
NAMESPACES = subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode == 0


@dataclass(kw_only=True)
class TwoPorts:
    """Write two folders."""

    one: Annotated[Path, Output("First")]
    two: Annotated[Path, Output("Second")]


@component(name="fakes_two", version="1", image="rapids")
def two(ports: TwoPorts, _metrics: Metrics) -> None:
    for folder in (ports.one, ports.two):
        (folder / "x").write_text("x")


@dataclass(kw_only=True)
class KeptPorts:
    """Count to three, one a start."""

    done: Annotated[Path, Output("Written at three")]
    state: Annotated[Path | None, Output("How far it is", kept=True)] = None


@component(name="fakes_kept", version="1", image="rapids")
def kept(ports: KeptPorts, _metrics: Metrics) -> None:
    assert ports.state is not None
    count = len(list(ports.state.iterdir())) + 1
    (ports.state / str(count)).write_text("x")
    if count < 3:
        raise ToolFailed(f"at {count}")
    (ports.done / "x").write_text(str(count))


def test_a_secret_of_the_environment_is_in_no_param(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    monkeypatch.setenv("MY_TOKEN", "c4nary-of-a-token")
    monkeypatch.setenv("PLAIN", "c4nary-that-is-named")
    monkeypatch.setenv("NGCRUN_SECRET_ENV", "PLAIN")  # what --secret-env hands on
    words = ["text=c4nary-of-a-token", "note=c4nary-that-is-named", f"out={tmp_path / 'out'}"]
    assert main(echo, words) == 0
    told = (tmp_path / "metrics.jsonl").read_text()
    assert "c4nary" not in told
    assert told.count('"value": "***"') == 2


@pytest.mark.parametrize("bound", [True, False])
def test_what_is_kept_survives_a_failure_and_goes_when_it_has_served(tmp_path: Path, bound: bool) -> None:
    state = tmp_path / ("mine" if bound else "done.state")
    words = [f"done={tmp_path / 'done'}", *([f"state={state}"] if bound else [])]
    assert [main(kept, words) for _ in range(3)] == [3, 3, 0]
    assert (tmp_path / "done" / "x").read_text() == "3"
    assert state.exists() is bound


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def test_outputs_appear_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(echo, [f"out={tmp_path / 'a b' / 'out'}", "text=x"]) == 0
    assert json.loads((tmp_path / "a b" / "out" / "ports.json").read_text())["text"] == "x"
    assert leftovers(tmp_path) == ["a b", "out", "ports.json"]
    assert capsys.readouterr().out.splitlines() == ["  count  10", f"  out    {tmp_path / 'a b' / 'out'}"]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["mode=fail"], 2, ["fakes_echo: text='none': is no good; change it"]),
        (["mode=fail", "loud=true"], 3, ["fakes_echo: the tool broke"]),
        (["mode=empty"], 4, ["fakes_echo: out='{out}': was not written; fakes_echo ended without error"]),
        (
            ["count=many"],
            2,
            ["fakes_echo: count='many': is not a whole number; write a whole number, such as count=10"],
        ),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, told: list[str]
) -> None:
    out = tmp_path / "out"
    assert main(echo, [*words, f"--out={out}"]) == status
    assert capsys.readouterr().err.splitlines() == [line.format(out=out) for line in told]
    assert leftovers(tmp_path) == []


def test_an_output_that_holds_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    assert main(echo, [f"--out={tmp_path / 'out'}"]) == 2
    assert "already holds data; remove it or name another place" in capsys.readouterr().err
    assert (tmp_path / "out" / "mine").read_text() == "precious"


def test_an_empty_folder_as_output_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert main(echo, [f"--out={tmp_path / 'out'}"]) == 0
    assert leftovers(tmp_path) == ["out", "ports.json"]


def test_an_output_that_cannot_be_written_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(echo, ["--out=/proc/nowhere/out"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("fakes_echo: out='/proc/nowhere/out': cannot be written (")
    assert len(told.splitlines()) == 1


def test_the_machines_failures_are_not_our_bugs() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x")
    assert (
        str(machine_failure(full)) == "/data/x: No space left on device; free some space or point the output elsewhere"
    )
    assert str(machine_failure(RuntimeError("polars: Read-only file system (os error 30)"))) == (
        "outputs: Read-only file system; check the path"
    )
    assert machine_failure(ValueError("a bug")) is None


def test_the_config_can_be_shown_without_running(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(echo, ["--cfg", "job", "model=line"]) == 0
    assert "model:\n  l2: 0.0\n" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["model=line", "-h"]])
def test_help_names_every_port_and_field(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(echo, words) == 0
    text = capsys.readouterr().out
    for word in [*echo.all_ports(), "model.max_depth", "model.l2", "1..100", "good|fail|empty"]:
        assert word in text


@pytest.mark.parametrize("place", ["one", "one/two", "./one"])
def test_two_outputs_in_one_place_are_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    assert main(two, [f"--one={tmp_path / 'one'}", f"--two={tmp_path}/{place}"]) == 2
    assert "is or lies in the output " in capsys.readouterr().err
    assert leftovers(tmp_path) == []


def test_when_one_output_cannot_be_put_in_place_none_is(tmp_path: Path) -> None:
    stages = {name: tmp_path / "stage" / name for name in ("one", "two")}
    for stage in stages.values():
        stage.mkdir(parents=True)
        (stage / "x").write_text("x")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "mine").write_text("precious")  # came there while the step ran
    with pytest.raises(ToolFailed, match="two: was filled by another run meanwhile; name another place"):
        publish_all(stages, {"one": tmp_path / "one", "two": tmp_path / "two"})
    assert not (tmp_path / "one").exists()
    assert leftovers(tmp_path / "two") == ["mine"]


def test_an_output_behind_a_link_is_filled_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    assert main(echo, [f"--out={tmp_path / 'out'}"]) == 0
    assert (tmp_path / "out").is_symlink()
    assert leftovers(tmp_path / "disk") == ["ports.json"]


def in_namespace(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.skipif(not NAMESPACES, reason="this machine allows no mount namespaces")
@pytest.mark.parametrize("mount", ["mount --bind src dst", "mount -t tmpfs none dst"])
def test_an_output_that_is_a_mount_is_filled(tmp_path: Path, mount: str) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "dst").mkdir()
    there = f"cd '{tmp_path}' && {mount} && cd - >/dev/null"
    done = in_namespace(
        f"{there} && '{sys.executable}' -m tests.fakes.echo '--out={tmp_path}/dst' && ls '{tmp_path}/dst'"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ports.json"
    assert [p for p in leftovers(tmp_path) if "partial" in p] == []


@pytest.mark.skipif(not NAMESPACES, reason="this machine allows no mount namespaces")
def test_a_mount_that_fills_up_is_left_empty(tmp_path: Path) -> None:
    (tmp_path / "dst").mkdir()
    there = f"mount -t tmpfs -o size=4k none '{tmp_path}/dst'"
    word = "--text=" + "x" * 9000
    done = in_namespace(
        f"{there} && '{sys.executable}' -m tests.fakes.echo '--out={tmp_path}/dst' {word}; echo $?; ls '{tmp_path}/dst'"
    )
    assert done.stdout.splitlines() == ["3"]
    assert done.stderr.startswith("fakes_echo: outputs: No space left on device; free some space")


def test_a_step_that_is_stopped_does_not_wait_long_for_a_store(tmp_path: Path) -> None:
    slow = "import sys,time; from tests.unit import test_execute as t; sys.exit(t.main(t.sleeper, sys.argv[1:]))"
    with socket.socket() as deaf:  # a stand-in: accepts connections and says nothing, as a hung server does
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        uri = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        argv = [sys.executable, "-c", slow, f"--one={tmp_path / 'one'}", f"--two={tmp_path / 'two'}"]
        env = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 8
    assert leftovers(tmp_path) == []


@component(name="fakes_sleeper", version="1", image="rapids")
def sleeper(_ports: TwoPorts, _metrics: Metrics) -> None:
    print("at work", flush=True)
    time.sleep(60)


def test_a_value_that_looks_like_a_cry_for_help_is_a_value(tmp_path: Path) -> None:
    assert main(echo, [f"--out={tmp_path / 'out'}", "--text", "-h", "--note", "--help"]) == 0
    ports = json.loads((tmp_path / "out" / "ports.json").read_text())
    assert (ports["text"], ports["note"]) == ("-h", "--help")
