"""Inputs and answers through memory that a server on this machine has mapped, instead of through a socket.

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

from runtime.errors import NgcrunError, ToolFailed
from runtime.triton.client import TransportError
from runtime.triton.model_config import TYPES, Signature, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.triton.async_client import AsyncClient

SHM = Path("/dev/shm")  # noqa: S108 - where shm_open(3) of the server looks
CHOICES = ("auto", "yes", "no")
ALIGNED = 64  # bytes: an input starts at a multiple
UNREGISTER_S, AGAIN_S = 1.0, 0.1  # a step that is stopped has little time


@dataclass
class Region:
    """Memory that this process and the server share: inputs, and from `answers_at` on the outputs of `signature`.

    `open`: whether outputs go through it. A server may still write those of a request that was given up, so they go
    the ordinary way from then on.
    """

    name: str
    memory: mmap.mmap
    answers_at: int
    signature: Signature
    open: bool = True

    def places(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, int]]:
        """Start and length in bytes of the room for each output of a request; none where its size is not known."""
        found = dict[str, tuple[int, int]]()
        if not self.open:
            return found
        rows, at = len(next(iter(inputs.values()))) if self.signature.batched else 1, self.answers_at
        for tensor in self.signature.outputs:
            size = bytes_of(tensor, rows)
            if size and at + size <= len(self.memory):
                found[tensor.name] = (at, size)
                at += aligned(size)
        return found

    def read(self, place: tuple[int, int], shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """A copy of an output that the server has put there; raises `ToolFailed` where it cannot have fitted."""
        import numpy as np

        kind, count = np.dtype(TYPES[dtype].numpy), math.prod(shape)
        if count * kind.itemsize > place[1]:
            wrong = f"gave {count * kind.itemsize} bytes of an output where its model's configuration says {place[1]}"
            raise ToolFailed(f"the server {wrong}; say shared_memory=no")
        return np.frombuffer(self.memory, kind, count, place[0]).reshape(shape).copy()

    def write(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Where each input was put, in bytes from the start; text, and what does not fit, is left out."""
        import numpy as np

        places, at = dict[str, int](), 0
        for name, array in inputs.items():
            if array.dtype.kind in "OUS" or at + array.nbytes > self.answers_at:
                continue
            np.frombuffer(self.memory, array.dtype, array.size, at)[:] = array.ravel()
            places[name] = at
            at += aligned(array.nbytes)
        return places


def aligned(size: int) -> int:
    """The next multiple at which a tensor may start."""
    return -(-size // ALIGNED) * ALIGNED


def bytes_of(tensor: Tensor, rows: int) -> int:
    """How large a tensor of so many rows is; 0 where that is not known: text, and free dims."""
    import numpy as np

    if tensor.dtype == "BYTES" or any(dim < 0 for dim in tensor.dims):
        return 0
    return rows * math.prod(tensor.dims) * np.dtype(TYPES[tensor.dtype].numpy).itemsize


@dataclass(frozen=True)
class Size:
    """How large a request is: the bytes of its inputs, 0 where nobody knows, and its rows for a model with batches."""

    inputs: int
    signature: Signature
    rows: int

    @property
    def answers(self) -> int:
        """Bytes of the outputs whose size is known."""
        rows = self.rows if self.signature.batched else 1
        return sum(aligned(bytes_of(tensor, rows)) for tensor in self.signature.outputs)


def is_local(address: str) -> bool:
    """Whether a server at `host:port` is reached over the loopback."""
    host = address.split("/", 1)[0].rsplit(":", 1)[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


@contextlib.asynccontextmanager
async def regions(
    client: AsyncClient, count: int, size: Size
) -> AsyncIterator[tuple[asyncio.Queue[Region] | None, str]]:
    """A queue of `count` regions and `yes`, or None and the reason why there are none; the server lets go of them.

    Where there is no room for the answers there are regions for the inputs alone, and the words say so.
    """
    if size.inputs == 0:
        yield None, "the model does not say how large a request is"
        return
    free: asyncio.Queue[Region] = asyncio.Queue()
    made: list[Region] = []
    told = ""
    try:
        for answers in dict.fromkeys((size.answers, 0)):  # a 0 twice is tried once
            try:
                for _ in range(count):
                    made += [
                        await _region(client, size, answers)
                    ]  # one by one: what is there when the next fails is let go
            except (OSError, NgcrunError) as error:
                told = " ".join(str(error).split())
                await _gone(client, made)
            else:
                break
        for region in made:
            free.put_nowait(region)
        if not made:
            yield None, told
        else:
            yield free, f"yes, for inputs alone: {told}" if told else "yes"
    finally:
        await _gone(client, made)


async def _gone(client: AsyncClient, made: list[Region]) -> None:
    """Have the server let go of the regions, and let go of them here; empties the list."""
    letting = asyncio.gather(*(_let_go(client, region.name) for region in made), return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(letting, UNREGISTER_S)
    for region in made:
        with contextlib.suppress(BufferError):  # a view of a request that was given up
            region.memory.close()
    made.clear()


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


async def _region(client: AsyncClient, size: Size, answers: int) -> Region:
    name = f"ngcrun-{os.getpid()}-{secrets.token_hex(4)}"
    answers_at = aligned(size.inputs)
    length = answers_at + answers
    handle = os.open(SHM / name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(handle, 0, length)  # a full /dev/shm is an error here and not a SIGBUS later
        memory = mmap.mmap(handle, length)
        await client.register(name, length)
    finally:
        os.close(handle)
        (SHM / name).unlink(missing_ok=True)
    return Region(name, memory, answers_at, size.signature)
