"""The parts of a dataset as the spec names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.tao.network import Network

_TRAINING = ("train", "val", "reference", "query")
_READ: Mapping[str, tuple[str, ...]] = {
    "train": _TRAINING,
    "retrain": _TRAINING,
    "distill": _TRAINING,
    "quantize": ("train", "val"),
    "evaluate": ("evaluate", "reference", "query"),
    "inference": ("inference",),
    "dataset_convert": ("train",),
}
_OR_ELSE = "test"  # what evaluate and inference read when the network names no split of their own


@dataclass(frozen=True)
class Place:
    """A key of the spec, and the value it holds."""

    key: str
    value: Any

    @property
    def path(self) -> Path:
        """The value as a path."""
        return Path(str(self.value))


@dataclass(frozen=True)
class Parts:
    """What an action of a network reads of its dataset, looked up in the final spec."""

    network: Network
    action: str
    spec: Mapping[str, Any]

    def places(self, part: str) -> list[Place]:
        """The places of a part: several where its key has a `*`, none where nothing is set."""
        dotted = self.network.layout_paths.get(part, "")
        found = _walk(self.spec, dotted.split("."), "") if dotted else iter(())
        return [place for place in found if place.value not in (None, "", "???") and "${" not in str(place.value)]

    def first(self, part: str) -> Place | None:
        """The first place of a part, or None when nothing is set."""
        return next(iter(self.places(part)), None)

    def splits(self, suffix: str = "") -> list[str]:
        """The splits that the action reads and the network has; `suffix` is what follows a split in a part's name."""
        named = self.network.layout_paths
        return [split for split in self._read(suffix) if split + suffix in named]

    def _read(self, suffix: str) -> Iterator[str]:
        for split in _READ.get(self.action, ()):
            own = split + suffix in self.network.layout_paths
            yield _OR_ELSE if split in ("evaluate", "inference") and not own else split

    def batch(self, split: str) -> Place | None:
        """Where the size of a split's batch stands; `train_batch_size` is a part that holds for train only."""
        return self.first("batch_size") or (self.first("train_batch_size") if split == "train" else None)

    @property
    def gpus(self) -> int:
        """How many GPUs the action uses."""
        section = self.spec.get("train" if self.action == "retrain" else self.action)
        number = section.get("num_gpus") if isinstance(section, Mapping) else None
        return number if isinstance(number, int) and number > 0 else 1


def _walk(value: Any, keys: list[str], above: str) -> Iterator[Place]:
    if not keys:
        yield Place(above, value)
        return
    first, *rest = keys
    if isinstance(value, list):
        for index, item in enumerate(value):
            if first in ("*", str(index)):
                yield from _walk(item, rest, f"{above}.{index}")
    elif isinstance(value, Mapping) and first in value:
        yield from _walk(value[first], rest, f"{above}.{first}" if above else first)
