"""perf_analyzer as triton_tune's load, by what 2.47.0 wrote."""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import BadInput, ToolFailed
from runtime.triton import perf_analyzer
from runtime.triton.load_generator import Measured
from runtime.triton.tune import Ports, _load
from tests.fakes import perf_analyzer as fake


@pytest.fixture
def installed(tmp_path, monkeypatch):
    script = tmp_path / "bin" / "perf_analyzer"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake.__file__}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")


def test_its_figures_are_rows_a_second_and_milliseconds(installed, tmp_path):
    found = perf_analyzer.measure("h:1", "waits", tmp_path / "d.json", 1, rows=4)
    assert found == Measured("closed", 1, 102, 88.397, 353.588, 11.143, 11.801, 12.763, 0.1, True)


def test_a_rate_that_is_not_steady_is_rough_and_said_so(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_PERF", "unsteady")
    found = perf_analyzer.measure("h:1", "waits", tmp_path / "d.json", 16)
    assert (found.steady, found.interval, found.level) == (False, 0.5, 16)


def test_where_there_is_no_rate_at_all_there_is_none(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_PERF", "never")
    assert perf_analyzer.measure("h:1", "waits", tmp_path / "d.json", 16) is None


@pytest.mark.parametrize(("wrong", "text"), [("refused", "exit status 99"), ("newer", "its table cannot be read")])
def test_its_failure_is_a_failure(installed, tmp_path, monkeypatch, wrong, text):
    monkeypatch.setenv("FAKE_PERF", wrong)
    with pytest.raises(ToolFailed, match=text):
        perf_analyzer.measure("h:1", "gone", tmp_path / "d.json", 1)


def test_rows_are_handed_over_as_bytes_and_text_as_text(tmp_path):
    rows = {"x": np.arange(4, dtype=">f4").reshape(2, 2), "t": np.array(["a", "b"], dtype=object)}
    perf_analyzer.write_data(tmp_path / "d.json", rows, batched=True)
    first, _second = json.loads((tmp_path / "d.json").read_text())["data"]
    assert base64.b64decode(first["x"]["content"]["b64"]) == np.array([0, 1], "<f4").tobytes()
    assert (first["x"]["shape"], first["t"]) == ([2], {"content": ["a"], "shape": [1]})
    perf_analyzer.write_data(tmp_path / "d.json", rows, batched=False)
    (whole,) = json.loads((tmp_path / "d.json").read_text())["data"]
    assert whole["x"]["shape"] == [2, 2]


def ports(load):
    return Ports(repository=Path("r"), golden=Path("g"), tuned=Path("t"), report=Path("o"), load=load)


def test_it_is_taken_where_it_is_there(installed, monkeypatch, capsys):
    assert [_load(ports(load)) for load in ("auto", "own", "perf_analyzer")] == [
        "perf_analyzer",
        "own",
        "perf_analyzer",
    ]
    assert capsys.readouterr().out.count("the requests are perf_analyzer's") == 2
    monkeypatch.setenv("PATH", "/nowhere")
    assert _load(ports("auto")) == "own"
    with pytest.raises(BadInput, match="load='perf_analyzer': is not on PATH; run it in NGC's Triton SDK image"):
        _load(ports("perf_analyzer"))
