"""Regions of shared memory without a server: where inputs and answers lie, and when answers go the ordinary way."""

from __future__ import annotations

import asyncio
import mmap

import numpy as np
import pytest

from runtime.errors import ToolFailed
from runtime.triton.async_client import AsyncClient
from runtime.triton.client import Endpoint, TransportError
from runtime.triton.flight import Courier
from runtime.triton.model_config import Signature, Tensor
from runtime.triton.shared_memory import SHM, Region, Size, bytes_of, regions

INPUTS = (Tensor("x", "FP32", (3,)),)
OUTPUTS = (
    Tensor("small", "FP32", (3,)), Tensor("word", "BYTES", (1,)), Tensor("free", "FP32", (-1, 2)),
    Tensor("large", "INT64", (2, 5)), Tensor("one", "BOOL", ()),
)  # fmt: skip
SIGNATURE = Signature(INPUTS, OUTPUTS, True)


class Mapping(AsyncClient):
    """Stand-in for a server that maps what it is told to; `fails` raises what it is to say of a request."""

    def __init__(self, fails: Exception | None = None) -> None:
        super().__init__(Endpoint("127.0.0.1:1"), "m")
        self.mapped: dict[str, int] = {}
        self.asked: list[Region | None] = []
        self.fails = fails

    async def register(self, name, size):
        assert (SHM / name).stat().st_size == size
        self.mapped[name] = size

    async def unregister(self, name):
        del self.mapped[name]

    async def infer(self, _inputs, _types, region=None):
        self.asked.append(region)
        if self.fails:
            raise self.fails
        return [{}]


def region(rows: int = 4, signature: Signature = SIGNATURE) -> Region:
    size = Size(64, signature, rows)
    return Region("r", mmap.mmap(-1, 64 + size.answers), 64, signature)


def test_outputs_of_known_size_have_room_behind_the_inputs_and_others_none():
    here = region()
    assert here.places({"x": np.zeros((4, 3), np.float32)}) == {"small": (64, 48), "large": (128, 320), "one": (448, 4)}
    assert here.places({"x": np.zeros((1, 3), np.float32)})["large"] == (128, 80)  # a last batch that is not full
    assert len(here.memory) == 64 + 64 + 320 + 64
    one = Signature(INPUTS, (Tensor("y", "FP16", (7, 3)),), False)
    assert region(9, one).places({"x": np.zeros((7, 3))}) == {"y": (64, 42)}
    assert [bytes_of(tensor, 2) for tensor in OUTPUTS] == [24, 0, 0, 160, 2]


def test_inputs_never_reach_into_the_room_of_the_answers():
    here = region()
    assert here.write({"x": np.zeros((4, 4), np.float32), "y": np.zeros(1)}) == {"x": 0}
    assert here.write({"x": np.zeros((5, 4), np.float32)}) == {}


def test_more_rows_than_were_planned_get_what_fits():
    assert set(region().places({"x": np.zeros((5, 3), np.float32)})) == {"small", "one"}


def test_an_answer_is_copied_before_the_next_one_comes():
    here = region()
    want = np.arange(12, dtype=np.float32).reshape(4, 3)
    here.memory[64 : 64 + 48] = want.tobytes()
    found = here.read((64, 48), [4, 3], "FP32")
    here.memory[64 : 64 + 48] = bytes(48)
    assert (found.dtype, found.tolist()) == (np.float32, want.tolist())
    with pytest.raises(
        ToolFailed, match="gave 60 bytes of an output where its model's configuration says 48; say shared_memory=no"
    ):
        here.read((64, 48), [5, 3], "FP32")


@pytest.mark.parametrize(
    ("error", "open_after"),
    [(None, True), (ToolFailed("the model failed"), True), (TransportError("timed out"), False), (asyncio.CancelledError(), False)],
)  # fmt: skip
def test_a_region_whose_request_was_given_up_takes_no_answers_any_more(error, open_after):
    """The server may write an answer late, over that of the request which has the region by then."""
    client = Mapping(error)

    async def whole():
        courier = Courier(client, {}, 1, 0)
        async with courier.sharing("yes", Size(64, SIGNATURE, 1)) as told:
            assert told == "yes"
            try:
                await courier._once({"x": np.zeros((1, 3), np.float32)})
            except (ToolFailed, asyncio.CancelledError):
                assert error is not None
            (used,) = client.asked
            assert used is not None
            assert used.open is open_after
            assert bool(used.places({"x": np.zeros((1, 3), np.float32)})) is open_after
            assert used.write({"x": np.zeros((1, 3), np.float32)}) == {"x": 0}

    asyncio.run(whole())
    assert client.mapped == {}


def test_where_the_answers_have_no_room_the_inputs_still_have():
    client = Mapping()
    huge = Signature(INPUTS, (Tensor("y", "FP32", (2**60,)),), True)
    before = set(SHM.glob("ngcrun-*"))

    async def whole():
        async with regions(client, 3, Size(100, huge, 1)) as (free, told):
            assert told.startswith("yes, for inputs alone: ")
            assert free is not None
            assert (free.qsize(), sorted(client.mapped.values())) == (3, [128] * 3)
            assert free.get_nowait().places({"x": np.zeros((1, 3), np.float32)}) == {}
        async with regions(client, 3, Size(0, huge, 1)) as (free, told):
            assert (free, told) == (None, "the model does not say how large a request is")

    asyncio.run(whole())
    assert (client.mapped, set(SHM.glob("ngcrun-*")) - before) == ({}, set())
