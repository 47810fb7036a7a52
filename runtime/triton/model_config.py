"""config.pbtxt through Triton's own protobuf: what a model takes and gives, written and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.triton import scheduling

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "config.pbtxt"


@dataclass(frozen=True)
class DataType:
    """One element type under its three names; `onnx` is the number in TensorProto.DataType."""

    triton: str
    numpy: str
    onnx: int

    @property
    def config(self) -> str:
        """The name in config.pbtxt, where text is TYPE_STRING and not BYTES."""
        return "TYPE_STRING" if self.triton == "BYTES" else f"TYPE_{self.triton}"


# Source: triton-inference-server/common model_config.proto and onnx/onnx.proto (TensorProto.DataType).
# BF16 is left out: numpy has no such type, so no golden row could be compared.
TYPES = {
    row.triton: row
    for row in (
        DataType("FP32", "float32", 1), DataType("UINT8", "uint8", 2), DataType("INT8", "int8", 3),
        DataType("UINT16", "uint16", 4), DataType("INT16", "int16", 5), DataType("INT32", "int32", 6),
        DataType("INT64", "int64", 7), DataType("BYTES", "object", 8), DataType("BOOL", "bool", 9),
        DataType("FP16", "float16", 10), DataType("FP64", "float64", 11), DataType("UINT32", "uint32", 12),
        DataType("UINT64", "uint64", 13),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One input or output: its name, Triton type, and dims without the batch dimension (-1: any length)."""

    name: str
    dtype: str
    dims: tuple[int, ...]

    def text(self) -> str:
        """As findings print it."""
        return f"{self.dtype} {list(self.dims)}"


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives; `batched`: the first dimension of every tensor is rows, any number of them."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batched: bool


@dataclass(frozen=True)
class Plan:
    """All that a config.pbtxt will say. `max_batch_size` 0: no batch dimension. `warmup`: see `warmup_entries`."""

    name: str
    backend: str
    signature: Signature
    max_batch_size: int
    kind: str = "KIND_AUTO"
    count: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)  # output name -> file name
    warmup: Mapping[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)  # input name -> (shape, file name)
    version: int = 1
    scheduler: scheduling.Scheduler = field(default_factory=scheduling.Dynamic)
    serving: scheduling.Serving = field(default_factory=scheduling.Serving)


def build(plan: Plan) -> Any:
    """The plan as a `ModelConfig` message."""
    from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

    config = ModelConfig(name=plan.name, backend=plan.backend, max_batch_size=plan.max_batch_size)
    for tensor in plan.signature.inputs:
        _fill(config.input.add(), tensor)
    for tensor in plan.signature.outputs:
        entry = config.output.add()
        _fill(entry, tensor)
        entry.label_filename = plan.labels.get(tensor.name, "")
    kind = ModelInstanceGroup.Kind.Value(plan.kind)
    config.instance_group.add(kind=kind, count=plan.count)
    scheduling.apply(config, plan)
    for key, value in sorted(plan.parameters.items()):
        config.parameters[key].string_value = value
    for size in sorted({1, max(1, plan.max_batch_size)} if plan.warmup else ()):
        _add_warmup(config, plan, size)
    return config


def _fill(entry: Any, tensor: Tensor) -> None:
    from tritonclient.grpc.model_config_pb2 import DataType as Enum

    entry.name = tensor.name
    entry.data_type = Enum.Value(TYPES[tensor.dtype].config)
    entry.dims.extend(tensor.dims or (1,))
    if not tensor.dims:  # one number a row: the server wants at least one dim and drops it again for the model
        entry.reshape.SetInParent()


def _add_warmup(config: Any, plan: Plan, size: int) -> None:
    """One warm-up request; the server repeats the file's single row `size` times.

    Source: model_config.proto, ModelWarmup.batch_size ("duplicated to match the batch size").
    """
    from tritonclient.grpc.model_config_pb2 import DataType as Enum

    entry = config.model_warmup.add(name=f"real_row_batch_{size}", batch_size=size)
    types = {tensor.name: TYPES[tensor.dtype].config for tensor in plan.signature.inputs}
    for name, (shape, file) in sorted(plan.warmup.items()):
        entry.inputs[name].data_type = Enum.Value(types[name])
        entry.inputs[name].dims.extend(shape)
        entry.inputs[name].input_data_file = file


def to_text(config: Any) -> str:
    """The message as config.pbtxt. `max_batch_size: 0` is written: Triton needs it, text_format leaves it out."""
    from google.protobuf import text_format

    text: str = text_format.MessageToString(config)
    return text if config.max_batch_size else f"{text}max_batch_size: 0\n"


def write(config: Any, folder: Path) -> Path:
    """Write `folder/config.pbtxt` and parse it back; a message that does not survive is our bug."""
    path = folder / FILE
    path.write_text(to_text(config), encoding="utf-8")
    if read(path) != config:
        raise AssertionError(f"{path} does not read back as it was written")
    return path


def read(path: Path) -> Any:
    """The message in a config.pbtxt.

    Raises:
        ValueError: with the parser's own words, `line:column: what`, for text that is no ModelConfig.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(" ".join(str(error).split())) from error


def parse(text: str) -> Any:
    """The message in the text of a config.pbtxt; raises `ValueError` as `read` does."""
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(" ".join(str(error).split())) from error


def quoted(text: str) -> str:
    """Text as a value in a config.pbtxt."""
    from google.protobuf import text_encoding

    return f'"{text_encoding.CEscape(text, as_utf8=True)}"'


def signature_of(config: Any) -> Signature:
    """What a config promises; a dim that is only there for a reshape to nothing is left out."""
    return Signature(
        tuple(tensor_of(entry) for entry in config.input),
        tuple(tensor_of(entry) for entry in config.output),
        config.max_batch_size > 0,
    )


def tensor_of(entry: Any) -> Tensor:
    """One entry of `input` or `output` as the model sees it: after its reshape."""
    return Tensor(
        entry.name, _type(entry), tuple(entry.reshape.shape) if entry.HasField("reshape") else tuple(entry.dims)
    )


def warmup_tensor(name: str, entry: Any) -> Tensor:
    """Type and dims of one input of a warm-up request, for a single row."""
    return Tensor(name, _type(entry), tuple(entry.dims))


def _type(entry: Any) -> str:
    from tritonclient.grpc.model_config_pb2 import DataType as Enum

    name: str = Enum.Name(entry.data_type)
    return "BYTES" if name == "TYPE_STRING" else name.removeprefix("TYPE_")


def parameter(config: Any, key: str) -> str | None:
    """The text of one parameter, or None where it is not set."""
    return str(config.parameters[key].string_value) if key in config.parameters else None


def little_endian(array: NDArray[Any]) -> bytes:
    """The bytes that a warm-up file holds; text with a 4-byte length before each item.

    Source: Triton's binary tensor data extension.
    """
    import numpy as np

    if array.dtype.kind in "OU":
        items = [x if isinstance(x, bytes) else str(x).encode() for x in array.ravel()]
        return b"".join(len(item).to_bytes(4, "little") + item for item in items)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
