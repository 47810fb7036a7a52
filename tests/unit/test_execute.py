from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from runtime.execute import machine_failure, main
from tests.fakes.echo import echo


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


def test_help_names_every_port_and_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(echo, ["--help"]) == 0
    text = capsys.readouterr().out
    for word in [*echo.all_ports(), "model.max_depth", "model.l2", "1..100", "good|fail|empty"]:
        assert word in text
