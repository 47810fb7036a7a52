"""A config against the file of a model: ONNX graph, header of a TensorRT plan, forest for FIL."""

from __future__ import annotations

import ast
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem
from runtime.triton import checkpoint, model_config
from runtime.triton.backends import model_file
from runtime.triton.check_signature import compare
from runtime.triton.findings import at, problem
from runtime.triton.model_config import FILE, Signature, Tensor
from runtime.triton.onnx_graph import load_graph
from runtime.triton.repository import MODEL_FILES, TEMPLATE, outside_of

AGAIN = "the file may be cut short; write it again"
LFS = b"version https://git-lfs"  # Source: git-lfs, docs/spec.md
# A plan begins with this number, the serialization's version, and from byte 24 the TensorRT version, a byte a part.
# Source: NVIDIA/TensorRT, samples/common/sampleEngines.cpp, printPlanVersion.
PLAN_TAG, PLAN_HEADER = 0x74727466, 28


def model_problems(folder: Path, version: int, config: Any, backend: str) -> list[Problem]:
    """Whether the config promises what the file of one version takes and gives."""
    path = folder / str(version) / model_file(config, backend)
    if backend == "python":
        if not _is_ours(path):
            return []  # somebody else's code: it is run by a server and not read here
        path = path.with_name(MODEL_FILES["onnxruntime"])
        if not path.exists():
            return [problem(path.parent, f"lacks {path.name}, which its model.py opens", "package the model again")]
    if path.is_dir() and backend == "onnxruntime":
        path /= MODEL_FILES["onnxruntime"]  # Source: onnxruntime_backend, src/onnxruntime.cc: a folder may hold it
    if not path.is_file() or (path.stat().st_size == 0 and backend != "python"):
        return []  # told by check_files
    head = _head(path, len(LFS))
    if not head:
        return [problem(path, "is empty", "package the model again")]
    if head.startswith(LFS):
        return [problem(path, "is a Git LFS pointer and not the model", "fetch the model: git lfs pull")]
    reader = READERS.get("onnxruntime" if backend == "python" else backend)
    return list(reader(folder, path, config, backend)) if reader else []


def notes(folder: Path, version: int, config: Any, backend: str) -> list[str]:
    """What only a server can tell of one version."""
    path = folder / str(version) / model_file(config, backend)
    if backend == "python" and not _is_ours(path):
        return [f"{path}: its code is run by a server and not read here"]
    if backend not in READERS and backend != "python":
        return [f"{path}: files of the {backend} backend are not read here"]
    if backend == "pytorch":
        return [f"{path}: of TorchScript only the archive is read here, its tensors by a server"]
    if backend == "tensorrt":
        return [f"{path}: of a plan only the header is read here, its tensors by a server with its GPU"]
    return []


def _is_ours(path: Path) -> bool:
    """Whether a model.py is the one that triton_package writes, in whatever version: it says so in its first line."""
    try:
        return _first_line(path) == _first_line(TEMPLATE)
    except (OSError, SyntaxError, ValueError):
        return False


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_bytes())) or "").partition("\n")[0]


# --- readers ----------------------------------------------------------------------------------------------------------


def _onnx(folder: Path, path: Path, config: Any, backend: str) -> Iterator[Problem]:
    from runtime.triton.kind_onnx import open_file

    unreadable = list(_lost_or_new(path))
    if unreadable:
        yield from unreadable
        return
    try:
        model = open_file(path, (), False)
    except BadInput as error:
        yield from (problem(path, p.wrong, p.todo) for p in error.problems)
        return
    native = backend == "onnxruntime"
    graph = model.onnx() if native and model.onnx else None
    exact = _with_dims(graph) if graph else ()
    yield from at(folder / FILE, compare(config, model.signature, exact=exact))
    singles = _single_values(graph) if graph else set()
    for entry in [*config.input, *config.output]:
        dims = list(entry.reshape.shape if entry.HasField("reshape") else entry.dims)
        if entry.name in singles and any(d != 1 for d in dims):
            wrong = f"gives {entry.name!r} the dims {dims}, the model has a single value"
            yield problem(folder / FILE, wrong, "write dims: 1")
    if native and config.max_batch_size > 0:
        for entry in config.input:
            if entry.optional:
                wrong = f"has the optional input {entry.name!r} and batches, which onnxruntime does not take"
                yield problem(folder / FILE, wrong, "remove optional, or write max_batch_size: 0")


def _lost_or_new(path: Path) -> Iterator[Problem]:
    """Weights that are not beside the graph, and versions that no reader here knows yet."""
    import onnx

    try:
        proto = load_graph(path)
        lost = sorted(name for name in outside_of(proto) if not (path.parent / name).is_file())
    except Exception:  # protobuf's own kinds; open_file tells what is wrong
        return
    if lost:
        yield problem(path, f"keeps weights in {', '.join(lost)}, which is not beside it", "copy it there")
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    for what, has, known in (
        ("IR version", proto.ir_version, onnx.IR_VERSION),
        ("opset", opset, onnx.defs.onnx_opset_version()),
    ):
        if has > known:
            wrong = f"has {what} {has}, onnx {onnx.__version__} knows none above {known}"
            yield problem(path, wrong, "export it with an older one")


def _with_dims(proto: Any) -> set[str]:
    """Names of the tensors that say what dims they have: not those without a shape, and not single values."""
    tensors = [*proto.graph.input, *proto.graph.output]
    return {t.name for t in tensors if t.type.tensor_type.shape.dim}


def _single_values(proto: Any) -> set[str]:
    """Names of the tensors that are known to have no dims."""
    kinds = [(t.name, t.type.tensor_type) for t in [*proto.graph.input, *proto.graph.output]]
    return {name for name, kind in kinds if kind.HasField("shape") and not kind.shape.dim}


def _forest(folder: Path, path: Path, config: Any, _backend: str) -> Iterator[Problem]:
    """Source: fil_backend, docs/model_config.md, "Maximum Batch Size" and "Inputs and Outputs"."""
    from runtime.triton.table_model import TABLE_INPUT, TABLE_OUTPUT

    kind = model_config.parameter(config, "model_type") or "xgboost"  # Source: fil_backend, src/shared_state.h
    if config.max_batch_size == 0:
        yield problem(folder / FILE, "has max_batch_size 0, the fil backend always takes batches", "write 1 or more")
        return
    try:
        count = _features(path, kind)
    except Exception as error:  # treelite's own kinds
        yield problem(path, f"cannot be read ({kind}: {_said(error)})", AGAIN)
        return
    proba = (model_config.parameter(config, "predict_proba") or "false") == "true"
    inputs = (Tensor(TABLE_INPUT, "FP32", (count,)),)
    outputs = (Tensor(TABLE_OUTPUT, "FP32", (-1,) if proba else (1,)),)
    yield from at(folder / FILE, compare(config, Signature(inputs, outputs, True), exact=()))


def _features(path: Path, kind: str) -> int:
    """How many features the forest takes. A checkpoint says first which treelite wrote it (measured with 4.8.1)."""
    if kind == "treelite_checkpoint":
        head = _head(path, 12)
        major = struct.unpack("<i", head[:4])[0] if len(head) == 12 else 0
        if not 3 <= major < 100:
            raise ValueError("it does not begin with treelite's version")
        return checkpoint.features_of(path)
    import treelite

    load = {
        "xgboost": treelite.frontend.load_xgboost_model_legacy_binary,
        "lightgbm": treelite.frontend.load_lightgbm_model,
    }.get(kind)
    if load is not None:
        return int(load(str(path)).num_feature)
    choice = "json" if kind == "xgboost_json" else "ubjson"
    return int(treelite.frontend.load_xgboost_model(str(path), format_choice=choice).num_feature)


def _said(error: BaseException) -> str:
    """The first line that says something, without the place in somebody's source and the time."""
    for line in str(error).strip().splitlines():
        words = line.split(": ", 2)[-1] if line.startswith("[") else line
        if words.strip():
            return words.strip()[:160]
    return type(error).__name__


def _plan(_folder: Path, path: Path, _config: Any, _backend: str) -> Iterator[Problem]:
    head = _head(path, PLAN_HEADER)
    if len(head) < PLAN_HEADER or struct.unpack("<I", head[:4])[0] != PLAN_TAG:
        todo = "build it with trtexec --saveEngine, or tao_gen_trt_engine"
        yield problem(path, "does not begin as a TensorRT plan does", todo)


def _torchscript(folder: Path, path: Path, config: Any, _backend: str) -> Iterator[Problem]:
    """Source: pytorch_backend, README.md, "Naming conventions"; src/pt/model_instance_state.cc."""
    from runtime.triton.kind_torch import is_torchscript

    if path.name != MODEL_FILES["pytorch"]:
        return  # another archive than TorchScript
    if not zipfile.is_zipfile(path):
        yield problem(path, "is no archive, which TorchScript is", AGAIN)
    elif not is_torchscript(path):
        todo = "save torch.jit.script(model), or package it through ONNX: triton_package with torch.json"
        yield problem(path, "is a state dict and no TorchScript: it holds no code", todo)
    for index, entry in enumerate(config.output):
        if entry.name.rpartition("__")[2] != str(index):
            wrong = f"names output {index} {entry.name!r}; the backend finds outputs by position"
            yield problem(folder / FILE, wrong, f"name it OUTPUT__{index}")


READERS = {"onnxruntime": _onnx, "fil": _forest, "tensorrt": _plan, "pytorch": _torchscript}
