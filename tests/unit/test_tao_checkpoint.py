from __future__ import annotations

import io
import json
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest

from runtime.errors import BadInput
from runtime.tao import checkpoint, network

CLASSIFIER = network.find("classification_pyt")


class Config:
    """Pickles as TAO's own configuration class does."""


Config.__module__, Config.__qualname__ = "nvidia_tao_pytorch.config.rtdetr.default_config", "ExperimentConfig"


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch evil",)


def torch_file(path: Path, *, names: bytes = b"", value: object = None, protocol: int = 2) -> Path:
    """A file in torch's zip format; `names` are GLOBAL opcodes as protocol 2 writes them."""
    data = names + pickle.dumps(value, protocol=protocol) if not names else b"\x80\x02" + names + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3")
    return path


def problems(path: Path, *, trusted: bool = False, has_key: bool = False, net: str = "classification_pyt") -> list[str]:
    found = checkpoint.check("checkpoint", path, network.find(net), trusted=trusted, has_key=has_key)
    return [p.line().replace(str(path), path.name) for p in found]


def test_a_checkpoint_of_tensors_and_tao_s_own_configuration_is_let_through(tmp_path: Path) -> None:
    names = b"cnvidia_tao_pytorch.config.classification_pyt.default_config\nExperimentConfig\n"
    assert problems(torch_file(tmp_path / "a.pth", names=names)) == []
    assert problems(torch_file(tmp_path / "b.pth", value=OrderedDict(a=1))) == []


def test_one_of_another_network_is_named(tmp_path: Path) -> None:
    names = b"cnvidia_tao_pytorch.config.rtdetr.default_config\nExperimentConfig\n"
    told = "checkpoint='a.pth': was written by rtdetr, not by classification_pyt; give a checkpoint of classification_pyt, or run network=rtdetr"
    assert problems(torch_file(tmp_path / "a.pth", names=names)) == [told]


def test_a_pickle_that_runs_code_is_refused_unless_trusted_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = "checkpoint='a.pth': would run code when it is loaded (posix.system); if you know where it comes from, add trust_checkpoint=true"
    path = torch_file(tmp_path / "a.pth", value=Evil())
    assert problems(path) == [told]
    assert problems(path, trusted=True) == []
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        # the two names are pushed, two harmless ones too, and those are popped again
        b"\x80\x04\x8c\x05posix\x8c\x06system\x8c\x0bcollections\x8c\x0bOrderedDict00\x93.",
        # through the memo
        b"\x80\x04\x8c\x05posix\x940\x8c\x06system\x940h\x00h\x01\x93.",
        b"(iposix\nsystem\n.",
    ],
    ids=["popped", "memo", "inst"],
)
def test_no_way_of_spelling_a_name_escapes(tmp_path: Path, opcodes: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", opcodes)
    assert checkpoint.imported_names(tmp_path / "a.pth") == {"posix system"}


class Model:
    """Pickles as OCRNet's whole model does."""

    def __init__(self, **state: object) -> None:
        self.__dict__.update(state)


Model.__module__, Model.__qualname__ = "nvidia_tao_pytorch.cv.ocrnet.model.model", "Model"


class Tensor:
    """Pickles as a storage outside torch's file does: by a function of torch that unpickles bytes."""

    def __init__(self, inner: object, *, by: str = "called") -> None:
        self.inner, self.by = inner, by

    def __reduce__(self) -> tuple[object, ...]:
        if self.by == "called":
            return load_from_bytes, (pickle.dumps(self.inner, protocol=2),)
        return Model, ({"forward": [load_from_bytes]},)


def load_from_bytes(_data: bytes) -> None: ...


load_from_bytes.__module__, load_from_bytes.__qualname__ = "torch.storage", "_load_from_bytes"


@pytest.fixture
def _torch_s_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """pickle looks whether the classes above are where they say they are."""
    for name, value in (("Model", Model), ("_load_from_bytes", load_from_bytes)):
        module = types.ModuleType(value.__module__)
        setattr(module, name, value)
        parts = module.__name__.split(".")
        for depth in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:depth]), types.ModuleType(parts[0]))
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.usefixtures("_torch_s_names")
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_whole_model_is_let_through_and_the_pickles_in_it_are_read(tmp_path: Path, protocol: int) -> None:
    def written(inner: object) -> list[str]:
        value = {"state_dict": {}, "whole_model": pickle.dumps(Model(weight=inner), protocol=4)}
        return problems(torch_file(tmp_path / "a.pth", value=value, protocol=protocol), net="ocrnet")

    todo = "if you know where it comes from, add trust_checkpoint=true"
    assert written(Tensor(OrderedDict(a=1))) == []
    for evil in (Evil(), Tensor(Evil()), Tensor(Tensor(Evil()))):
        assert written(evil) == [f"checkpoint='a.pth': would run code when it is loaded (posix.system); {todo}"]
    handed_on = f"checkpoint='a.pth': would run code when it is loaded (torch.storage._load_from_bytes); {todo}"
    assert written(Tensor(None, by="another")) == [handed_on]


def test_the_format_before_torch_1_6_is_read_to_its_object(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"state": Evil()}, ["0"]):
        pickle.dump(value, buffer, protocol=2)
    (tmp_path / "a.pth").write_bytes(buffer.getvalue() + b"\x00" * 64)
    assert checkpoint.imported_names(tmp_path / "a.pth") == {"posix system"}


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.pth", b"", "is empty; copy it again; it was not written to its end"),
        ("a.pth", b"PK\x03\x04 cut", "is damaged or cut short (File is not a zip file); copy it again, or take an earlier one"),
        ("a.pth", b"<html>", "is damaged or cut short (neither a zip nor a pickle); copy it again, or take an earlier one"),
        ("a.pth", b"\x80\x02}q\x00", "is damaged or cut short (Ran out of input); copy it again, or take an earlier one"),
        ("a.tlt", b"x", "is a .tlt of TAO 4 and earlier, which TAO 5 and later do not read; take the decrypted .pth (or ONNX) of the same model from NGC, or export it with the TAO that wrote it"),
        ("a.etlt", b"x", "is a .etlt of TAO 4 and earlier, which TAO 5 and later do not read; take the decrypted .pth (or ONNX) of the same model from NGC, or export it with the TAO that wrote it"),
        ("a.hdf5", b"x", "is a TF1 checkpoint (Keras HDF5), which PyTorch networks cannot load; classification_pyt takes .pth; export the old network to ONNX, or train classification_pyt anew"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_said_before_anything_starts(
    tmp_path: Path, name: str, data: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert problems(tmp_path / name) == [f"checkpoint={name!r}: {told}"]


def test_an_encrypted_checkpoint_of_a_tf1_network_wants_the_key(tmp_path: Path) -> None:
    (tmp_path / "a.tlt").write_bytes(b"x")
    told = (
        "checkpoint='a.tlt': is encrypted and there is no key; set NGCRUN_TAO_KEY to the key that it was written with"
    )
    assert problems(tmp_path / "a.tlt", net="detectnet_v2") == [told]
    assert problems(tmp_path / "a.tlt", net="detectnet_v2", has_key=True) == []


def test_a_folder_gives_its_checkpoint(tmp_path: Path) -> None:
    def find() -> Path:
        return checkpoint.find("checkpoint", tmp_path, CLASSIFIER)

    with pytest.raises(BadInput, match=r"holds no checkpoint; name a file \(.pth"):
        find()
    for name in ("model_epoch_000.pth", "model_epoch_001.pth"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(
        BadInput, match=r"holds several checkpoints \(model_epoch_000.pth, model_epoch_001.pth\); name the file"
    ):
        find()
    (tmp_path / "classifier_model_latest.pth").symlink_to("model_epoch_001.pth")
    assert find().name == "classifier_model_latest.pth"
    (tmp_path / checkpoint.CARD).write_text(json.dumps({"checkpoint": "model_epoch_000.pth"}))
    assert find().name == "model_epoch_000.pth"
