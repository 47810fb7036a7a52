"""What the kinds of table models share: (rows, features) float32 in, numbers or class probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.errors import BadInput, summary
from runtime.triton.model_config import Signature, Tensor
from runtime.triton.source import PORT

# FIL takes these two names and no other, and a client should not care which backend answers, so every table model
# that is converted here has them. Source: triton-inference-server/fil_backend docs/model_config.md.
TABLE_INPUT, TABLE_OUTPUT = "input__0", "output__0"
LABEL, PROBABILITIES = "label", "probabilities"


def unreadable(path: Path, error: BaseException) -> BadInput:
    """What a library said of a file, as one line."""
    return BadInput.of(PORT, path, f"cannot be read ({summary(error)})", "the file may be cut short; write it again")


def agreed_names(path: Path, said: tuple[str, ...], own: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The feature names, from features.json or the model; raises `BadInput` where the two disagree."""
    names = said or own
    if names and len(names) != count:
        wrong = f"takes {count} features, features.json names {len(names)}"
        raise BadInput.of(PORT, path, wrong, "the two must be of the same training run")
    if own and said and own != said:
        wrong = "was trained on other feature names, or in another order, than features.json says"
        raise BadInput.of(PORT, path, wrong, f"the model has: {', '.join(own)}")
    return names


def width_of(predict: Any, count: int) -> int:
    """How many numbers the model gives for one row; asked of the model, as each kind hides it elsewhere."""
    import numpy as np

    first = next(iter(predict({TABLE_INPUT: np.zeros((1, count), np.float32)}).values()))
    return int(first.size)


def table_signature(
    count: int, width: int, classes: tuple[str, ...], label: str = "INT64"
) -> tuple[Signature, dict[str, tuple[str, ...]]]:
    """A table model: (rows, features) float32 in; numbers of each row out, or a label and probabilities."""
    inputs = (Tensor(TABLE_INPUT, "FP32", (count,)),)
    if not classes:
        return Signature(inputs, (Tensor(TABLE_OUTPUT, "FP32", (width,)),), True), {}
    outputs = (Tensor(LABEL, label, ()), Tensor(PROBABILITIES, "FP32", (len(classes),)))
    return Signature(inputs, outputs, True), {PROBABILITIES: classes}


def named(proto: Any, classes: tuple[str, ...]) -> Any:
    """The graph with our names for its outputs, which the converters choose freely; checked."""
    import onnx

    wanted = [LABEL, PROBABILITIES] if classes else [TABLE_OUTPUT]
    new = dict(zip([o.name for o in proto.graph.output], wanted, strict=True))
    for node in proto.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for output in proto.graph.output:
        output.name = new[output.name]
    onnx.checker.check_model(proto)
    return proto
