"""A plain Python function as a Triton model: packaged without being run, and answered by a real server as it answers itself."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.errors import BadInput, ToolFailed
from runtime.execute import main
from runtime.triton import model_config, source
from runtime.triton.client import Client, Endpoint
from runtime.triton.package import package
from runtime.triton.repository import read_golden
from runtime.triton.verify import verify
from tests.fakes.triton_server import server

FUNCTION = '''
"""Distance times rate, and a word about it."""
import numpy as np
INPUTS = {"km": ("FP32", []), "rate": ("FP32", [1])}
OUTPUTS = {"price": ("FP32", [1]), "word": ("BYTES", [1])}
RATE = 2.0
def predict(inputs):
    price = inputs["km"].reshape(-1, 1) * inputs["rate"] * RATE
    if (inputs["km"] > 1000).any():
        raise ValueError("km above 1000; send less")
    if (inputs["km"] == 999).any():
        raise KeyError("a bug")
    return {"price": price.astype(np.float64), "word": np.where(price > 0, "gain", "loss").astype(object)}
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "fare.py").write_text(FUNCTION)
    (tmp_path / "m" / "helper.py").write_text("x = 1\n")
    return tmp_path / "m"


def run(folder, *words):
    out = folder.parent
    ports = [f"model={folder}", f"repository={out / 'repo'}", f"golden={out / 'golden'}", "model_name=fare", *words]
    return main(package, ports), out


def test_a_function_answers_on_a_server_as_in_process_and_its_errors_are_told_apart(folder, capsys):
    status, out = run(folder, "trust_pickle=true", "max_batch_size=16")
    assert status == 0, capsys.readouterr().err
    assert read_golden(out / "golden").rows > 0
    assert (
        main(
            verify,
            [f"repository={out / 'repo'}", f"golden={out / 'golden'}", f"report={out / 'report'}", "measure_s=0"],
        )
        == 0
    )
    types = {"km": "FP32", "rate": "FP32"}
    with server(out / "repo", "fare") as running, Client(Endpoint(running.http, "http"), "fare") as client:

        def ask(km):
            return client.infer({"km": np.full((2, 1), km, np.float32), "rate": np.ones((2, 1), np.float32)}, types)

        found = ask(3)
        assert found["price"].dtype == np.float32  # what config.pbtxt promises, though the function gave float64
        assert found["price"].tolist() == [[6.0], [6.0]]
        assert found["word"].ravel().tolist() == [b"gain", b"gain"]
        with pytest.raises(BadInput, match="km above 1000; send less"):
            ask(2000)
        with pytest.raises(ToolFailed, match="KeyError: 'a bug'"):
            ask(999)
        assert ask(-1)["word"].ravel().tolist() == [b"loss", b"loss"]


def test_a_function_is_not_run_unless_it_is_trusted(folder, capsys):
    (folder / "fare.py").write_text(FUNCTION + "\nraise SystemExit('was run')\n")
    status, out = run(folder)
    assert status == 0
    assert read_golden(out / "golden").rows == 0
    config = model_config.read(out / "repo/fare/config.pbtxt")
    assert (config.backend, [e.name for e in config.input]) == ("python", ["km", "rate"])
    assert (out / "repo/fare/1/function.py").read_text() == (folder / "fare.py").read_text()


def test_a_file_without_the_tables_is_no_model(folder):
    assert source.kind_of(folder / "helper.py") is None
    assert source.kind_of(folder / "fare.py") == "function"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("INPUTS = {'x': ('FP32', [1])}\n", "has no function predict(inputs)"),
        ("INPUTS = {'x': ('FP32', [1])}\ndef predict(i): ...\n", "has no table OUTPUTS"),
        ("INPUTS = make()\ndef predict(i): ...\n", 'has no table INPUTS; write it as INPUTS = {"x": ("FP32", [4])}\n'),
        ("INPUTS = {'x': ('FLOAT', [1])}\ndef predict(i): ...\n", "says of 'x' in INPUTS what is no type and dims: ('FLOAT', [1])"),
        ("INPUTS = {\n", "is no Python: "),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_line(folder, capsys, text, told):
    (folder / "fare.py").write_text(text)
    assert run(folder)[0] == 2
    assert told in capsys.readouterr().err
