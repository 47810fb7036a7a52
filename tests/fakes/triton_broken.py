"""Good model repositories, and how to break one: what the faults of `triton_faults` are made of.

Every good one comes from the real triton_package; an ensemble, which it does not write, calls two that do.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.execute import main
from runtime.triton import model_config
from runtime.triton.package import package
from tests.fakes import triton_models as models

Break = Callable[[Path], object]
NAMES = ("fare", "scale", "both")  # of the models in these repositories
ENSEMBLE = """name: "both"
platform: "ensemble"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
ensemble_scheduling {
  step { model_name: "scale" model_version: -1
    input_map { key: "x" value: "x" }
    output_map { key: "scaled" value: "scaled" } }
  step { model_name: "fare" model_version: -1
    input_map { key: "input__0" value: "scaled" }
    output_map { key: "output__0" value: "y" } }
}
"""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one repository.

    Attributes:
        name: what is wrong, in a few words.
        source: who reported it, or where the server has the rule.
        base: the good repository that is broken.
        broken: breaks a copy of it.
        where: the file or folder of our finding, in the repository; empty for a note.
        line: what the finding says of it, exactly.
    """

    name: str
    source: str
    base: str
    broken: Break
    where: str
    line: str

    @property
    def native(self) -> bool:
        """Whether its model needs a backend that the server of the tests lacks."""
        return self.base in NATIVE


# --- good repositories ------------------------------------------------------------------------------------------------


def onnx(path: Path, inputs: dict[str, Any], outputs: dict[str, Any], nodes: list[Any], weights: Any = (), **more: Any):
    """Write a graph; a tensor is (numpy type, dims), and `None` for a free dim."""
    import onnx
    from onnx import helper

    def info(tensors):
        rows = [(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), dims) for name, (kind, dims) in tensors.items()]
        return [helper.make_tensor_value_info(name, kind, dims) for name, kind, dims in rows]

    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "g", info(inputs), info(outputs), [onnx.numpy_helper.from_array(array, name) for name, array in weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, **more)


def scale_onnx(path: Path, kind: str = "float32", width: int = 4) -> None:
    """`x` (rows, 4) float32 to `scaled` (rows, width) of `kind`."""
    weights = [("w", np.ones((4, width), np.float32))]
    nodes = [("MatMul", ["x", "w"], ["m"]), ("Cast", ["m"], ["scaled"], {"to": {"float32": 1, "float64": 11}[kind]})]
    onnx(path, {"x": ("float32", [None, 4])}, {"scaled": (kind, [None, width])}, nodes, weights)


def _two_onnx(path: Path) -> None:
    """Two inputs of unlike types and dims, one with a name that is not ASCII."""
    inputs = {"grid": ("float32", [None, 2, 3]), "größe": ("int64", [None, 2])}
    outputs = {"sums": ("float32", [None, 2]), "doubled": ("int64", [None, 2])}
    nodes = [("ReduceMax", ["grid"], ["sums"], {"axes": [2], "keepdims": 0}), ("Add", ["größe", "größe"], ["doubled"])]
    onnx(path, inputs, outputs, nodes)


def _outside_onnx(path: Path) -> None:
    weights = [("w", np.ones((4, 1), np.float32))]
    onnx(path, {"x": ("float32", [None, 4])}, {"y": ("float32", [None, 1])}, [("MatMul", ["x", "w"], ["y"])], weights,
         save_as_external_data=True, location="w.bin", size_threshold=0)  # fmt: skip


def _single_onnx(path: Path) -> None:
    """The largest of two numbers, without dims."""
    nodes = [("ReduceMax", ["x"], ["largest"], {"keepdims": 0})]
    onnx(path, {"x": ("float32", [2])}, {"largest": ("float32", [])}, nodes)


def _learned(learner: str, *, sample: bool = False) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        if learner == "xgboost":
            models.xgboost_model(folder)
        else:
            models.sklearn_model(folder, learner)
        if sample:
            models.add_sample(folder)

    return make


def _file(write: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda folder: write(folder / "model.onnx") and None


def _packaged(folder: Path, make: Callable[[Path], None], *words: str, name: str = "fare") -> None:
    source = folder.with_name(f"{folder.name}-{name}-model")
    source.mkdir(parents=True)
    make(source)
    out = folder.with_name(f"{folder.name}-{name}-out")
    targets = [f"repository={out}", f"golden={out}-golden", f"model_name={name}"]
    assert main(package, [f"model={source}", *targets, *words]) == 0
    folder.mkdir(exist_ok=True)
    shutil.move(out / name, folder / name)


PYTHON, NGC = ("backend=python", "max_batch_size=8"), ("target=ngc", "max_batch_size=8")


def _both(folder: Path) -> None:
    _packaged(folder, _learned("plain_linear"), *PYTHON)
    _packaged(folder, _file(scale_onnx), *PYTHON, name="scale")
    (folder / "both" / "1").mkdir(parents=True)
    (folder / "both" / "config.pbtxt").write_text(ENSEMBLE)


def _plan(folder: Path) -> None:
    """A config that package would write, and a file that only begins as a plan does."""
    _packaged(folder, _learned("plain_linear"), *NGC)
    version = folder / "fare" / "1"
    (version / "model.onnx").unlink()
    (version / "model.plan").write_bytes(struct.pack("<II16x4B", 0x74727466, 0, 10, 13, 3, 9) + bytes(64))
    replace('backend: "onnxruntime"', 'backend: "tensorrt"')(folder)


BASES: dict[str, Callable[[Path], None]] = {
    "python": lambda folder: _packaged(folder, _learned("plain_linear"), *PYTHON),
    "warm": lambda folder: _packaged(folder, _learned("plain_linear", sample=True), *PYTHON),
    "labels": lambda folder: _packaged(folder, _learned("classifier"), *PYTHON),
    "two": lambda folder: _packaged(folder, _file(_two_onnx), *PYTHON),
    "fixed": lambda folder: _packaged(folder, lambda f: models.onnx_model(f, batch=2) and None, "backend=python"),
    "outside": lambda folder: _packaged(folder, _file(_outside_onnx), *PYTHON),
    "ensemble": _both,
    "onnx": lambda folder: _packaged(folder, _learned("plain_linear"), *NGC),
    "fil": lambda folder: _packaged(folder, _learned("xgboost"), *NGC),
    "single": lambda folder: _packaged(folder, _file(_single_onnx), "target=ngc"),
    "plan": _plan,
}
NATIVE = ("onnx", "fil", "single", "plan")


class Corpus:
    """Makes broken repositories in a folder, each good one only once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def good(self, base: str) -> Path:
        """A good repository, which is not to be changed."""
        path = self.folder / "good" / base
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            BASES[base](path)
        return path

    def broken(self, fault: Fault, path: Path) -> Path:
        """A broken copy of the fault's good repository, at `path`."""
        shutil.copytree(self.good(fault.base), path)
        fault.broken(path)
        return path


def numbered(repository: Path, number: int) -> None:
    """Calls the models of a repository `fare012` and so on, so that one server can hold all of the corpus."""
    for name in NAMES:
        if (repository / name).is_dir():
            (repository / name).rename(repository / f"{name}{number:03d}")
    for config in repository.glob("*/config.pbtxt"):
        data = config.read_bytes()
        for name in NAMES:
            data = data.replace(f'"{name}"'.encode(), f'"{name}{number:03d}"'.encode())
        config.write_bytes(data)


# --- breaking ---------------------------------------------------------------------------------------------------------


def edit(change: Callable[[Any], object], model: str = "fare") -> Break:
    """Changes the message of a config."""

    def broken(repository: Path) -> None:
        path = repository / model / "config.pbtxt"
        config = model_config.read(path)
        change(config)
        path.write_text(model_config.to_text(config))

    return broken


def add(text: str, model: str = "fare", *, without: str = "") -> Break:
    """Merges more text into a config; `without`: a field that it is to take the place of."""

    def change(config: Any) -> None:
        from google.protobuf import text_format

        if without:
            config.ClearField(without)
        text_format.Merge(text, config)

    return edit(change, model)


def replace(old: str, new: str, model: str = "fare") -> Break:
    """Replaces text of a config, once."""

    def broken(repository: Path) -> None:
        path = repository / model / "config.pbtxt"
        text = path.read_text()
        assert old in text, text
        path.write_text(text.replace(old, new, 1))

    return broken


def write(path: str, data: str | bytes) -> Break:
    """Writes a file of the repository."""
    return lambda repository: (repository / path).write_bytes(data if isinstance(data, bytes) else data.encode())


def remove(path: str) -> Break:
    """Removes a file or folder."""

    def broken(repository: Path) -> None:
        target = repository / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return broken


def move(old: str, new: str) -> Break:
    """Moves a file or folder."""
    return lambda repository: (repository / old).rename(repository / new)


def cut(path: str, size: int) -> Break:
    """Keeps the first bytes of a file."""
    return lambda repository: (repository / path).write_bytes((repository / path).read_bytes()[:size])


def graph(change: Callable[[Any], object], path: str = "fare/1/model.onnx") -> Break:
    """Changes an ONNX file."""

    def broken(repository: Path) -> None:
        import onnx

        proto = onnx.load(repository / path, load_external_data=False)
        change(proto)
        (repository / path).write_bytes(proto.SerializeToString())

    return broken


def all_of(*parts: Break) -> Break:
    """One fault that takes several changes."""

    def broken(repository: Path) -> None:
        for part in parts:
            part(repository)

    return broken
