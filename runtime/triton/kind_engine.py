"""TensorRT engines: served as they are on the GPU that they were built for; the ONNX beside them says the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runtime.errors import BadInput
from runtime.triton import engine_card, kind_onnx
from runtime.triton.source import PORT, Model


def open_file(path: Path, features: tuple[str, ...], trust: bool) -> Model:
    """An engine with the signature and the answers of the ONNX model that it was built from."""
    if path.stat().st_size == 0:
        raise BadInput.of(PORT, path, "is empty", "build the engine again")
    onnx = sorted(path.parent.glob("*.onnx"))
    if len(onnx) != 1:
        wrong = f"does not say what it takes and gives, and {len(onnx)} ONNX models lie beside it"
        raise BadInput.of(PORT, path, wrong, "put the ONNX model that it was built from into the same folder")
    built = engine_card.read(path.parent)
    if built is None:
        todo = f'write {engine_card.CARD} beside it: {{"compute_capability": "8.0", "tensorrt": "10.3.0"}}'
        raise BadInput.of(PORT, path, f"does not say where it was built: there is no {engine_card.CARD}", todo)
    source = kind_onnx.open_file(onnx[0], features, trust)
    return replace(source, kind="engine", path=path, onnx=None, backend="tensorrt", engine=built)
