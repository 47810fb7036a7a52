"""triton_ensemble: a function, an ONNX model and a function again as one model, on a real tritonserver."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.execute import main
from runtime.triton import model_config, versions
from runtime.triton.client import Client, Endpoint
from runtime.triton.ensemble import ensemble
from runtime.triton.package import package
from tests.fakes import triton_models as models
from tests.fakes.triton_server import server

PREPARE = """
import numpy as np
INPUTS = {"text": ("BYTES", [1])}
OUTPUTS = {"row": ("FP32", [4])}
def predict(inputs):
    rows = [[float(word) for word in cell.decode().split(",")] for cell in inputs["text"].ravel()]
    return {"row": np.array(rows, np.float32)}
"""
NAME = """
import numpy as np
INPUTS = {"total": ("FP32", [1])}
OUTPUTS = {"size": ("BYTES", [1])}
def predict(inputs):
    return {"size": np.where(inputs["total"] > 10, "large", "small").astype(object)}
"""
CONFIG = """\
name: sized
steps:
  - model: prepare
    output: {row: numbers}
  - model: sum
    input: {x: numbers}
  - model: word
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble")
    for name in ("prepare", "sum", "word"):
        (folder / name).mkdir()
    (folder / "prepare" / "a.py").write_text(PREPARE)
    (folder / "word" / "b.py").write_text(NAME)
    models.onnx_model(folder / "sum")
    for name in ("prepare", "sum", "word"):
        out = folder / f"{name}-package"
        ports = [f"model={folder / name}", f"repository={out / 'r'}", f"golden={out / 'g'}", "backend=python"]
        words = ["max_batch_size=8", "serving.response_cache=false"] if name == "prepare" else []
        assert main(package, [*ports, f"model_name={name}", *words]) == 0
        versions.add(folder / "repo", out / "r")
    return folder / "repo"


def run(repository, tmp_path, text):
    path = tmp_path / "ensemble.yaml"
    path.write_text(text)
    return main(
        ensemble,
        [f"models={repository}", f"config={path}", f"repository={tmp_path / 'out'}", f"golden={tmp_path / 'golden'}"],
    )


def test_three_models_answer_as_one_over_both_protocols(repository, tmp_path, capsys):
    assert run(repository, tmp_path, CONFIG) == 0
    out = capsys.readouterr().out
    assert "in: text BYTES [1]" in out
    assert "out: size BYTES [1]" in out
    config = model_config.read(tmp_path / "out/sized/config.pbtxt")
    assert (config.platform, config.max_batch_size) == ("ensemble", 8)  # the least of its models
    rows = np.array([[b"1,2,3,4.5"], [b"0,0,0,1"]], dtype=object)
    with server(tmp_path / "out", "sized") as running:
        for protocol, address in (("http", running.http), ("grpc", running.grpc)):
            with Client(Endpoint(address, protocol), "sized") as client:
                assert client.infer({"text": rows}, {"text": "BYTES"})["size"].tolist() == [[b"large"], [b"small"]]


def test_a_tensor_between_two_steps_can_be_an_output_too(repository, tmp_path):
    assert run(repository, tmp_path, CONFIG + "output: [size, total]\n") == 0
    config = model_config.read(tmp_path / "out/sized/config.pbtxt")
    assert [entry.name for entry in config.output] == ["size", "total"]
    with server(tmp_path / "out", "sized") as running, Client(Endpoint(running.http, "http"), "sized") as client:
        found = client.infer({"text": np.array([[b"1,2,3,4.5"]], dtype=object)}, {"text": "BYTES"})
    assert found["total"].tolist() == [[10.5]]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("model: sum", "model: sun", "ensemble.yaml:5: steps.1.model='sun': is no model of the repository; did you mean 'sum'?"),
        ("{x: numbers}", "{y: numbers}", "steps.1.input.y='y': is no input of sum; known: x"),
        ("name: sized", "name: sum", "is a model of the repository; give the ensemble another name"),
        ("name: sized", "title: sized", "is no field of an ensemble"),
        ("{row: numbers}", "{row: total}", "total"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(repository, tmp_path, capsys, old, new, told):  # noqa: PLR0917 - a row of the table
    assert run(repository, tmp_path, CONFIG.replace(old, new)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_tensor_that_nothing_gives_is_an_input_and_is_told_as_one(repository, tmp_path, capsys):
    assert run(repository, tmp_path, CONFIG.replace("{x: numbers}", "{x: number}")) == 0
    assert "number FP32 [4]" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["name: a\n", "name: a\nsteps: []\n", "name: a\nsteps: {}\n", "steps:\n- model: sum\n"]
)
def test_a_file_without_name_or_steps_is_told(repository, tmp_path, capsys, text):
    assert run(repository, tmp_path, text) == 2
    assert "ensemble.yaml:" in capsys.readouterr().err
