"""PyTorch models where there is no torch: what can be told, checked and packaged without it."""

import json
import sys
import zipfile

import pytest

from runtime.errors import BadInput
from runtime.execute import main
from runtime.triton import model_config
from runtime.triton.check import check_repository
from runtime.triton.kind_torch import is_torchscript
from runtime.triton.package import package

CARD = {"inputs": {"x": ["FP32", [4]]}, "outputs": {"OUTPUT__0": ["FP32", [2]]}}


def archive(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(f"m/{name}", b"x")
    return path


SCRIPT = ("data.pkl", "constants.pkl", "code/__torch__.py")
WEIGHTS = ("data.pkl", "data/0")


@pytest.fixture(autouse=True)
def no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)


def packaged(tmp_path, *words):
    targets = [f"repository={tmp_path / 'repo'}", f"golden={tmp_path / 'golden'}"]
    return main(package, [f"model={tmp_path / 'model'}", *targets, "target=ngc", *words])


def test_an_archive_with_code_is_torchscript(tmp_path):
    assert is_torchscript(archive(tmp_path / "a.pt", *SCRIPT))
    assert not is_torchscript(archive(tmp_path / "b.pt", *WEIGHTS))
    (tmp_path / "c.pt").write_bytes(b"\x80\x02")
    assert not is_torchscript(tmp_path / "c.pt")


def test_torchscript_with_a_whole_card_is_packaged_without_torch(tmp_path, capsys):
    path = archive(tmp_path / "model" / "m.pt", *SCRIPT)
    (tmp_path / "model" / "torch.json").write_text(json.dumps(CARD))
    assert packaged(tmp_path) == 0
    assert (tmp_path / "repo/model/1/model.pt").read_bytes() == path.read_bytes()
    assert model_config.read(tmp_path / "repo/model/config.pbtxt").backend == "pytorch"
    assert "0 made-up golden rows" in capsys.readouterr().out
    assert json.loads((tmp_path / "golden/golden.json").read_text())["rows"] == 0


@pytest.mark.parametrize(
    ("names", "card", "wrong"),
    [
        (SCRIPT, None, "does not say what shapes it takes; write torch.json beside it"),
        (SCRIPT, {"inputs": CARD["inputs"]}, "is a PyTorch model, and torch is not installed here; pip install torch"),
        (SCRIPT, {"inputs": {"x": ["FP33", [4]]}}, "says of 'x' in inputs what is no type and dims"),
        (SCRIPT, [], "is no JSON object"),
        (WEIGHTS, CARD, "is a state dict, and torch.json names no module that it is of"),
        (WEIGHTS, CARD | {"module": "gone.py:Net"}, "names no module that it is of: 'gone.py:Net'"),
    ],
)
def test_what_is_missing_is_told(tmp_path, capsys, names, card, wrong):
    archive(tmp_path / "model" / "m.pt", *names)
    if card is not None:
        (tmp_path / "model" / "torch.json").write_text(json.dumps(card))
    assert packaged(tmp_path) == 2
    assert wrong in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()


def test_a_checkpoint_of_tao_is_to_be_exported(tmp_path, capsys):
    archive(tmp_path / "model" / "m.pth", *WEIGHTS)
    (tmp_path / "model" / "model.json").write_text(json.dumps({"checkpoint": "m.pth"}))
    assert packaged(tmp_path) == 2
    assert "is a checkpoint of TAO; export it first: ngcrun run tao_export" in capsys.readouterr().err


def test_a_state_dict_where_torchscript_belongs_is_told(tmp_path):
    archive(tmp_path / "model" / "m.pt", *SCRIPT)
    (tmp_path / "model" / "torch.json").write_text(json.dumps(CARD))
    assert packaged(tmp_path) == 0
    path = tmp_path / "repo/model/1/model.pt"
    (tmp_path / "repo/model/1/model.pt").unlink()
    archive(path, *WEIGHTS)
    with pytest.raises(BadInput, match="is a state dict and no TorchScript"):
        check_repository(tmp_path / "repo")
    path.write_bytes(b"cut short")
    with pytest.raises(BadInput, match="is no archive, which TorchScript is"):
        check_repository(tmp_path / "repo")


def test_outputs_are_named_by_their_position(tmp_path):
    archive(tmp_path / "model" / "m.pt", *SCRIPT)
    card = CARD | {"outputs": {"OUTPUT__1": ["FP32", [2]]}}
    (tmp_path / "model" / "torch.json").write_text(json.dumps(card))
    assert packaged(tmp_path) == 2
