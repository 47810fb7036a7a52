"""Inputs and outputs through memory that a server on this machine has mapped, instead of through a socket.

A region loses its name as soon as the server has mapped it, so that nothing stays in /dev/shm even after kill -9.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import mmap
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import NgcrunError
from runtime.triton.client import TransportError
from runtime.triton.model_config import TYPES, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.triton.async_client import AsyncClient

SHM = Path("/dev/shm")  # noqa: S108 - where shm_open(3) of the server looks
CHOICES = ("auto", "yes", "no")
ALIGNED = 64  # bytes: an input starts at a multiple
UNREGISTER_S, AGAIN_S = 1.0, 0.1  # a step that is stopped has little time


@dataclass
class Region:
    """Memory that this process and the server share."""

    name: str
    memory: mmap.mmap

    def write(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[dict[str, int], int]:
        """Where each input was put, in bytes from the start, and where the rest begins; no text, and what has room."""
        import numpy as np

        places, at = dict[str, int](), 0
        for name, array in inputs.items():
            if array.dtype.kind in "OUS" or at + array.nbytes > len(self.memory):
                continue
            np.frombuffer(self.memory, array.dtype, array.size, at)[:] = array.ravel()
            places[name] = at
            at += aligned(array.nbytes)
        return places, at

    def read(self, at: int, kind: str, shape: Sequence[int]) -> NDArray[Any]:
        """An output that the server put there, as a copy: the next request takes its place."""
        import numpy as np

        found = np.frombuffer(self.memory, TYPES[kind].numpy, math.prod(shape), at)
        return found.reshape([int(dim) for dim in shape]).copy()


@dataclass(frozen=True)
class Outputs:
    """A model's outputs; `fixed`: the bytes of a row (of the whole, where none is batched) of each that has a size."""

    names: tuple[str, ...]
    fixed: Mapping[str, int]
    batched: bool

    def places(self, rows: int, at: int, room: int) -> dict[str, tuple[int, int]]:
        """Where each goes from `at` on, and its bytes; what has no size, and what has no room, is left out."""
        found = dict[str, tuple[int, int]]()
        for name, each in self.fixed.items():
            size = each * rows if self.batched else each
            if 0 < size <= room - at:
                found[name] = (at, size)
                at += aligned(size)
        return found

    def size(self, rows: int) -> int:
        """The bytes that all of them take, for so many rows."""
        return sum(aligned(each * rows if self.batched else each) for each in self.fixed.values())


def outputs_of(signature: Signature) -> Outputs:
    """The outputs of a model as its server describes it."""
    import numpy as np

    fixed = {
        tensor.name: math.prod(tensor.dims) * np.dtype(TYPES[tensor.dtype].numpy).itemsize
        for tensor in signature.outputs
        if tensor.dtype != "BYTES" and all(dim > 0 for dim in tensor.dims)
    }
    return Outputs(tuple(tensor.name for tensor in signature.outputs), fixed, signature.batched)


def aligned(size: int) -> int:
    """The bytes that so many take up, with the gap up to the next place."""
    return -(-size // ALIGNED) * ALIGNED


def is_local(address: str) -> bool:
    """Whether a server at `host:port` is reached over the loopback."""
    host = address.split("/", 1)[0].rsplit(":", 1)[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


@contextlib.asynccontextmanager
async def regions(client: AsyncClient, count: int, size: int) -> AsyncIterator[asyncio.Queue[Region] | str]:
    """A queue of `count` regions of `size` bytes, or the reason why there are none; the server lets go of them."""
    if size == 0:
        yield "the model does not say how large a request is"
        return
    free: asyncio.Queue[Region] = asyncio.Queue()
    made: list[Region] = []
    try:
        try:
            for _ in range(count):
                made.append(await _region(client, size))
                free.put_nowait(made[-1])
        except (OSError, NgcrunError) as error:
            yield " ".join(str(error).split())
        else:
            yield free
    finally:
        letting = asyncio.gather(*(_let_go(client, region.name) for region in made), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(letting, UNREGISTER_S)
        for region in made:
            with contextlib.suppress(BufferError):  # a view of a request that was given up
                region.memory.close()


async def _let_go(client: AsyncClient, name: str) -> None:
    """Have the server unmap a region, as soon as it has: it refuses while a request that was given up still runs.

    Source: measured with tritonserver 2.51.0: HTTP 500.
    """
    while True:
        try:
            return await client.unregister(name)
        except TransportError:  # a server that is gone has let go of it
            return None
        except NgcrunError:
            await asyncio.sleep(AGAIN_S)


async def _region(client: AsyncClient, size: int) -> Region:
    name = f"ngcrun-{os.getpid()}-{secrets.token_hex(4)}"
    handle = os.open(SHM / name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(handle, 0, size)  # a full /dev/shm is an error here and not a SIGBUS later
        memory = mmap.mmap(handle, size)
        await client.register(name, size)
    finally:
        os.close(handle)
        (SHM / name).unlink(missing_ok=True)
    return Region(name, memory)
