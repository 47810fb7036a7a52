"""ONNX models: served as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.triton.model_config import TYPES, Signature, Tensor
from runtime.triton.onnx_graph import SMALL_BYTES, load_graph
from runtime.triton.source import PORT, Arrays, Model
from runtime.triton.table_model import unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray


def open_file(path: Path, features: tuple[str, ...], _trust: bool) -> Model:
    """An ONNX file as it is; names, types and dims come from its graph."""
    model = open_graph(path, features)
    try:
        session = onnx_session(path)  # which also checks the model, and is what will run it
    except Exception as error:  # onnxruntime has many
        raise unreadable(path, error) from error
    return replace(model, predict=_runner(session))


def open_graph(path: Path, features: tuple[str, ...]) -> Model:
    """As `open_file`, with nothing read but the graph: the model is loaded when it is first asked something."""
    try:
        proto = load_graph(path)
        _require_weights(proto, path)
    except Exception as error:  # protobuf and onnx each have their own
        raise unreadable(path, error) from error

    def predict(arrays: Arrays) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = _runner(onnx_session(path))(arrays)
        return found

    return Model("onnx", path, onnx_signature(proto, path), lambda: proto, predict, features=features)


def _require_weights(proto: Any, path: Path) -> None:
    """Raises `ValueError` for weights beside the graph that end too early; onnxruntime says that less clearly."""
    for tensor in proto.graph.initializer:
        about = {entry.key: entry.value for entry in tensor.external_data}
        file = path.parent / about["location"] if "location" in about else None
        if file is None or not file.is_file() or "length" not in about:
            continue
        start, length, there = int(about.get("offset", 0)), int(about["length"]), file.stat().st_size
        if start + length > there:
            raise ValueError(f"{file.name} has {there} bytes, and {tensor.name!r} lies at {start} to {start + length}")


def onnx_session(model: Path | bytes) -> Any:
    """An onnxruntime session on one CPU thread, made to answer a few times: large weights are not packed for speed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if isinstance(model, Path) and model.stat().st_size >= SMALL_BYTES:
        options.add_session_config_entry("session.disable_prepacking", "1")
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _runner(session: Any) -> Any:
    names = [output.name for output in session.get_outputs()]
    return lambda arrays: dict(zip(names, session.run(names, dict(arrays)), strict=True))


def onnx_signature(proto: Any, path: Path) -> Signature:
    """Inputs and outputs of an ONNX graph. It is batched when the first dimension of every tensor is free.

    Raises:
        BadInput: for a tensor that Triton has no type for (a sequence, a map), all of them at once.
    """
    weights = {w.name for w in proto.graph.initializer}
    inputs = [v for v in proto.graph.input if v.name not in weights]
    bad = [f"{v.name!r} is a {v.type.WhichOneof('value')}" for v in [*inputs, *proto.graph.output] if _dtype(v) is None]
    if bad:
        todo = "export tensors only; for a scikit-learn classifier use zipmap=False"
        raise BadInput.of(PORT, path, f"has values that Triton cannot pass: {', '.join(bad)}", todo)
    shapes = [_dims(v) for v in [*inputs, *proto.graph.output]]
    # An output without a known shape goes along with the inputs; one with a fixed first dimension rules batches out.
    known = [s for s in shapes if s is not None]
    batched = bool(inputs) and all(shapes[: len(inputs)]) and all(s and s[0] == -1 for s in known)

    def tensor(value: Any) -> Tensor:
        known = _dims(value)
        # A single value has no dims in ONNX and [1] in a config. Source: onnxruntime_backend, src/onnxruntime.cc.
        dims = (-1,) if known is None else known or (1,)
        return Tensor(value.name, _dtype(value) or "", dims[1:] if batched else dims)

    return Signature(tuple(map(tensor, inputs)), tuple(map(tensor, proto.graph.output)), batched)


def _dtype(value: Any) -> str | None:
    number = value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else 0
    return next((row.triton for row in TYPES.values() if row.onnx == number), None)


def _dims(value: Any) -> tuple[int, ...] | None:
    shape = value.type.tensor_type
    if not shape.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in shape.shape.dim)
