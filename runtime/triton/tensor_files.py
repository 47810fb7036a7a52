"""Arrays in .npy files as requests for a model, and its outputs as such files again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, ToolFailed
from runtime.triton.model_config import TYPES, Signature, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.triton.async_client import Answer

SUFFIX = ".npy"
_OTHER = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Item:
    """One request's worth of arrays: its name without suffix, and the file of each input, None where it is missing."""

    name: str
    files: Mapping[str, Path | None]


def folder_name(tensor: str) -> str:
    """The folder of a tensor's files: its name with `_` for what is no letter, digit, dot or dash."""
    return _OTHER.sub("_", tensor).strip("_.") or "tensor"


def items_of(folder: Path, inputs: Sequence[Tensor]) -> list[Item]:
    """The items in `<folder>/<input>/**.npy`; those of a model's only input may lie in the folder itself.

    Raises:
        BadInput: when there is none.
    """
    places = {tensor.name: folder / folder_name(tensor.name) for tensor in inputs}
    if len(inputs) == 1 and not places[inputs[0].name].is_dir():
        places = {inputs[0].name: folder}
    files = {name: _files(place) for name, place in places.items()}
    names = sorted({name for found in files.values() for name in found})
    if not names:
        wanted = ", ".join(f"{folder_name(name)}/*{SUFFIX}" for name in places)
        raise BadInput.of("tensors", folder, f"holds no {SUFFIX} file", f"give {wanted}")
    return [Item(name, {tensor: found.get(name) for tensor, found in files.items()}) for name in names]


def _files(place: Path) -> dict[str, Path]:
    paths = [p for p in place.rglob(f"*{SUFFIX}") if p.is_file() and p.name[0] not in "._"]
    return {path.relative_to(place).with_suffix("").as_posix(): path for path in paths}


@dataclass(frozen=True)
class Arrays:
    """An item's arrays, of the model's types; `single`: without the dimension of the batch that the model has."""

    values: Mapping[str, NDArray[Any]]
    batched: bool
    single: bool

    def requests(self, most: int) -> Iterator[dict[str, NDArray[Any]]]:
        """The arrays in requests of at most `most` rows; the whole where the model knows no rows."""
        if not self.batched:
            yield dict(self.values)
            return
        if self.single:
            yield {name: array[None] for name, array in self.values.items()}
            return
        count = len(next(iter(self.values.values())))
        for first in range(0, max(count, 1), most):
            yield {name: array[first : first + most] for name, array in self.values.items()}


def load(item: Item, signature: Signature) -> Arrays:
    """The item's arrays, read as they are sent.

    Raises:
        ValueError: with what is wrong with a file, in words.
    """
    values = {tensor.name: _array(item.files[tensor.name], tensor) for tensor in signature.inputs}
    ranks = {values[tensor.name].ndim - len(tensor.dims) for tensor in signature.inputs}
    single = signature.batched and ranks == {0}
    if signature.batched and not single and len({len(array) for array in values.values() if array.ndim}) > 1:
        raise ValueError("has another number of rows for each input")
    return Arrays(values, signature.batched, single)


def _array(path: Path | None, tensor: Tensor) -> NDArray[Any]:
    import numpy as np

    if path is None:
        raise ValueError(f"has no file for the input {tensor.name}")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"is no array that can be read ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(array, np.ndarray):
        raise ValueError("is an archive of arrays; give one array a file")  # noqa: TRY004 - the file's fault
    kind = np.dtype(TYPES[tensor.dtype].numpy)
    if kind.kind == "O":
        if array.dtype.kind not in "US":
            raise ValueError(f"is {array.dtype}, {tensor.name} takes text")
        return np.array(array, dtype=object)
    if array.dtype.kind in "US" or not np.can_cast(array.dtype, kind, "same_kind"):
        raise ValueError(f"is {array.dtype}, {tensor.name} takes {tensor.dtype}; convert it")
    return array.astype(kind, copy=False)


def joined(parts: Sequence[Answer], arrays: Arrays) -> Answer:
    """The outputs of all requests of an item, and of all answers to each, one behind the other.

    Raises:
        ToolFailed: when there is no answer, or answers do not fit together.
    """
    import numpy as np

    if not parts or not parts[0]:
        raise ToolFailed("the model gave no answer")
    try:
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except (KeyError, ValueError) as error:
        raise ToolFailed(f"the model's answers do not fit together ({error})") from error
    if arrays.single and len(parts) == 1:
        return {name: array[0] if len(array) == 1 else array for name, array in found.items()}
    return found


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The array with text as numpy's own, which a file can hold without a pickle."""
    import numpy as np

    if array.dtype.kind != "O":
        return array
    texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in array.ravel()]
    return np.array(texts, dtype=str).reshape(array.shape)


def save(folder: Path, name: str, outputs: Answer) -> dict[str, Any]:
    """Write `<output>/<name>.npy` for each output; returns the item's line for predictions.jsonl."""
    import numpy as np

    told = {}
    for tensor, array in outputs.items():
        path = folder / folder_name(tensor) / f"{name}{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, _plain(array), allow_pickle=False)
        told[tensor] = {"file": path.relative_to(folder).as_posix(), "shape": list(array.shape)}
    return {"item": name, "outputs": told}
