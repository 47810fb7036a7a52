"""PyTorch models of a real torch, packaged, checked and asked of a real tritonserver; `nox -s torch`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from runtime.execute import main
from runtime.triton import model_config
from runtime.triton.check import check_repository
from runtime.triton.package import package
from runtime.triton.repository import read_golden
from runtime.triton.verify import verify

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # how the models are made here

NET = """\
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8, classes)

    def forward(self, image):
        found = self.body(image)
        return self.head(found), found
"""
IMAGE = {"inputs": {"image": ["FP32", [3, 32, 32]]}}


@pytest.fixture
def net(tmp_path: Path) -> nn.Module:
    """Of a file, because torch.jit.script reads the source."""
    torch.manual_seed(0)
    (tmp_path / "source.py").write_text(NET)
    spec = importlib.util.spec_from_file_location("source", tmp_path / "source.py")
    assert spec
    assert spec.loader
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    model: nn.Module = source.Net(5)
    return model.eval()


def card(folder: Path, **said: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "torch.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def script(tmp_path: Path, net: nn.Module) -> Path:
    folder = card(tmp_path / "script", **IMAGE)
    torch.jit.script(net).save(str(folder / "net.pt"))
    return folder


@pytest.fixture
def weights(tmp_path: Path, net: nn.Module) -> Path:
    folder = card(tmp_path / "weights", **IMAGE, module="net.py:Net", arguments={"classes": 5})
    torch.save(net.state_dict(), folder / "net.pth")
    (folder / "net.py").write_text(NET)
    return folder


def packaged(model: Path, out: Path, *words: str) -> int:
    return main(package, [f"model={model}", f"repository={out / 'repo'}", f"golden={out / 'golden'}", *words])


def proven(out: Path) -> float:
    """Asked of a real server over both protocols; the largest difference from what torch answered."""
    assert main(verify, [f"repository={out / 'repo'}", f"golden={out / 'golden'}", f"report={out / 'report'}"]) == 0
    report = json.loads((out / "report" / "report.json").read_text())
    assert {answer["protocol"] for answer in report["answers"]} == {"http", "grpc"}
    return max(answer["max_abs"] for answer in report["answers"])


def test_torchscript_goes_to_an_ngc_container_as_it_is(script: Path, net: nn.Module, tmp_path: Path) -> None:
    assert packaged(script, tmp_path, "target=ngc", "model_name=net", "threads=2") == 0
    folder = tmp_path / "repo" / "net"
    assert (folder / "1" / "model.pt").read_bytes() == (script / "net.pt").read_bytes()
    config = model_config.read(folder / "config.pbtxt")
    assert config.backend == "pytorch"
    assert [(t.name, list(t.dims)) for t in config.input] == [("image", [3, 32, 32])]
    assert [(t.name, list(t.dims)) for t in config.output] == [("OUTPUT__0", [5]), ("OUTPUT__1", [8])]
    assert config.parameters["INTRA_OP_THREAD_COUNT"].string_value == "2"
    golden = read_golden(tmp_path / "golden")
    with torch.inference_mode():
        want = net(torch.from_numpy(golden.inputs["image"]))
    np.testing.assert_allclose(golden.outputs["OUTPUT__0"], want[0].numpy(), rtol=1e-5, atol=1e-6)
    check_repository(tmp_path / "repo", "net")


def test_torchscript_is_served_as_onnx_where_there_is_no_pytorch_backend(script: Path, tmp_path: Path) -> None:
    assert packaged(script, tmp_path) == 0
    assert proven(tmp_path) < 1e-4


def test_a_state_dict_is_served_as_onnx(weights: Path, tmp_path: Path) -> None:
    assert packaged(weights, tmp_path, "trust_pickle=true") == 0
    assert proven(tmp_path) < 1e-4
    assert json.loads((tmp_path / "repo/model/1/provenance.json").read_text())["kind"] == "state_dict"


def test_a_table_needs_no_card(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    folder.mkdir()
    (folder / "features.json").write_text(json.dumps({"features": [{"name": n} for n in "abc"]}))
    torch.jit.script(nn.Sequential(nn.Linear(3, 1)).eval()).save(str(folder / "m.ts"))
    (tmp_path / "named").mkdir()
    assert packaged(folder, tmp_path / "named", "target=ngc") == 0


def test_rows_may_have_any_length_where_the_card_says_what_comes_of_them(tmp_path: Path) -> None:
    said = {"inputs": {"INPUT__0": ["FP32", [-1]]}, "outputs": {"OUTPUT__0": ["FP32", [-1]]}}
    folder = card(tmp_path / "free", **said)
    torch.jit.script(nn.ReLU()).save(str(folder / "m.pt"))
    assert packaged(folder, tmp_path) == 0
    assert proven(tmp_path) == 0


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"inputs": {"picture": ["FP32", [3, 32, 32]]}}, "name them as the arguments of forward (image)"),
        ({"inputs": {"image": ["FP32", [4, 32, 32]]}}, "does not take the inputs of torch.json"),
        ({"inputs": {"image": ["FP32", [3, -1, -1]]}}, "leaves a length of an input free and names no outputs"),
        ({"inputs": {"image": ["FP32", [2, 3, 32, 32]]}, "batched": True}, "does not take the inputs"),
    ],
)
def test_a_card_that_does_not_fit_is_told(script: Path, tmp_path: Path, capsys: Any, said: Any, wrong: str) -> None:
    card(script, **said)
    assert packaged(script, tmp_path) == 2
    assert wrong in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()


def test_a_damaged_archive_and_foreign_weights_are_told(
    script: Path, weights: Path, tmp_path: Path, capsys: Any
) -> None:
    assert packaged(weights, tmp_path) == 2
    assert "needs net.py to be run; say trust_pickle=true" in capsys.readouterr().err
    card(weights, **IMAGE, module="net.py:Net", arguments={"classes": 6})
    assert packaged(weights, tmp_path, "trust_pickle=true") == 2
    assert "does not fit Net (" in capsys.readouterr().err
    torch.save(nn.Linear(2, 2), weights / "net.pth")
    assert packaged(weights, tmp_path, "trust_pickle=true") == 2
    assert "save the weights alone" in capsys.readouterr().err
