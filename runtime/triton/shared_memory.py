"""Inputs through memory that a server on this machine has mapped, instead of through a socket.

A region loses its name as soon as the server has mapped it, so that nothing stays in /dev/shm even after kill -9.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import NgcrunError
from runtime.triton.client import TransportError

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

    def write(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Where each input was put, in bytes from the start; text, and what does not fit, is left out."""
        import numpy as np

        places, at = dict[str, int](), 0
        for name, array in inputs.items():
            if array.dtype.kind in "OUS" or at + array.nbytes > len(self.memory):
                continue
            np.frombuffer(self.memory, array.dtype, array.size, at)[:] = array.ravel()
            places[name] = at
            at += -(-array.nbytes // ALIGNED) * ALIGNED
        return places


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
