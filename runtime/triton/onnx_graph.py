"""The graph of an ONNX file without the numbers of its weights, which are nearly all of a large file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SMALL_BYTES = 16 << 20  # below, onnx reads a file whole in a moment
# The way down to a weight: ModelProto.graph, GraphProto.initializer; and the fields of a TensorProto that hold numbers:
# float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data. Source: onnx.proto (onnx 1.23.2).
_DOWN = (7, 5)
_NUMBERS = frozenset((4, 5, 6, 7, 9, 10, 11))
# How many bytes a value has by its wire type; of type 2 the length stands before it. Source: protobuf's encoding.
_FIXED = {1: 8, 5: 4}


def load_graph(path: Path) -> Any:
    """An ONNX file as a `ModelProto`, with what it keeps beside itself unread; a large file's weights hold no numbers.

    Raises what onnx raises for a file that it cannot read.
    """
    import onnx

    if path.stat().st_size >= SMALL_BYTES:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return onnx.load_model_from_string(bytes(_thin(data, 0, len(data), _DOWN)))
            except (ValueError, IndexError):
                pass  # a damaged file, of which onnx has more to say
    return onnx.load(str(path), load_external_data=False)


def _thin(data: mmap.mmap, start: int, end: int, down: tuple[int, ...]) -> bytearray:
    """The message in `data[start:end]`; `down`: the fields that lead to the weights, empty in a weight."""
    kept = bytearray()
    for number, begin, value, stop in _fields(data, start, end):
        if down and number == down[0]:
            inner = _thin(data, value, stop, down[1:])
            kept += bytes((number << 3 | 2,)) + _encoded(len(inner)) + inner
        elif down or number not in _NUMBERS:
            kept += data[begin:stop]
    return kept


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field of a message: its number, and where it, its value and what follows begin.

    Raises:
        ValueError, IndexError: for bytes that are no message.
    """
    while start < end:
        key, value = _decoded(data, start)
        wire = key & 7
        if wire == 2:
            length, value = _decoded(data, value)
            stop = value + length
        else:
            stop = _decoded(data, value)[1] if wire == 0 else value + _FIXED.get(wire, end)
        if stop > end:
            raise ValueError("the message ends too early")
        yield key >> 3, start, value, stop
        start = stop


def _decoded(data: mmap.mmap, at: int) -> tuple[int, int]:
    """The varint at a place, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7


def _encoded(number: int) -> bytes:
    """A number as a varint."""
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes((*made, number))
