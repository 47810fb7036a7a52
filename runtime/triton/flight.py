"""Many requests under way, never more than asked for, each sent again where it did not get through."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from runtime.errors import BadInput, NgcrunError, Problem, ToolFailed
from runtime.triton.async_client import Answer, AsyncClient, Feed
from runtime.triton.client import FIRST_WAIT_S, LONGEST_WAIT_S, TOO_SMALL, TransportError
from runtime.triton.shared_memory import Region, Size, is_local, regions

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2  # items that are read while as many requests as are allowed are under way


class ServerGone(ToolFailed):
    """No request gets through any more: the end of the step, not of one item."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; a signal that ends the step cancels it, and then `KeyboardInterrupt` is raised.

    Raised by the signal's handler in the middle of asyncio it can get lost, as in a callback of a weak reference.
    """
    here = threading.current_thread() is threading.main_thread()
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)} if here else {}
    before = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}  # nohup ignores
    stopped: list[int] = []

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task; narrows for mypy

        def stop(number: int) -> None:
            stopped.append(number)
            task.cancel()

        for number in before:
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        return await work

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if stopped:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def each(items: Iterable[T], work: Callable[[T], Coroutine[Any, Any, R]], most: int) -> AsyncGenerator[R]:
    """What `work` makes of each item, in order; an item is taken only when fewer than `most` are under way."""
    waiting: deque[asyncio.Task[R]] = deque()
    try:
        for item in items:
            if len(waiting) >= most:
                yield await waiting.popleft()
            waiting.append(asyncio.create_task(work(item)))
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


class Courier:
    """Sends requests with at most `clients` under way; `retried` counts the tries after the first."""

    def __init__(self, client: AsyncClient, types: Mapping[str, str], clients: int, retries: int) -> None:
        self._client, self._retries = client, retries
        self._room = asyncio.Semaphore(clients)
        self._regions: asyncio.Queue[Region] | None = None
        self._insists = False  # on shared memory
        self.types, self.clients, self.retried = types, clients, 0

    async def send(self, inputs: Feed) -> list[Answer]:
        """The answers to one request.

        Raises:
            BadInput: when the server says that the request is wrong.
            TransportError: when this request did not get through, though the server answers others.
            ServerGone: when the server does not answer any more.
            ToolFailed: when the server failed on it.
        """
        try:
            return await self._tried(lambda: self._once(inputs))
        except TransportError as error:
            raise await self._last_word(error) from error

    async def config(self) -> Any:
        """The model's configuration; raises `ServerGone` where the server does not answer."""
        try:
            return await self._tried(self._client.config)
        except TransportError as error:
            raise self._gone(error) from error

    async def _tried(self, question: Callable[[], Awaitable[T]]) -> T:
        wait = FIRST_WAIT_S
        for left in range(self._retries, -1, -1):
            try:
                return await question()
            except TransportError:
                if left == 0:
                    raise
                self.retried += 1
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)
        raise AssertionError("unreachable")  # the last try returns or raises

    async def _once(self, inputs: Feed) -> list[Answer]:
        async with self._room, self._region() as region:
            again = region
            try:
                return await self._client.infer(inputs, self.types, region)
            except NgcrunError as error:
                if region is not None and "shared memory region" in str(error):
                    self._regions = again = None  # the server was started anew and knows no region
                elif region is not None and TOO_SMALL in str(error) and not self._insists:
                    region.open = False  # the model gives more than it says: its answers come through the socket
                else:
                    raise
            return await self._client.infer(inputs, self.types, again)

    @contextlib.asynccontextmanager
    async def sharing(self, wish: str, size: Size) -> AsyncIterator[str]:
        """Shared memory for requests of this size for a while; gives what came of the wish, in words for a tag."""
        local = is_local(self._client.endpoint.address)
        if wish == "no" or (wish == "auto" and not local):
            yield "no"
            return
        async with regions(self._client, self.clients, size) as (found, told):
            if found is None and wish == "yes":
                todo = "use it where client and server share /dev/shm, or say shared_memory=auto"
                raise BadInput.of("shared_memory", wish, f"cannot be had ({told})", todo)
            self._regions, self._insists = found, wish == "yes"
            yield told if found else f"no: {told}"

    @contextlib.asynccontextmanager
    async def _region(self) -> AsyncIterator[Region | None]:
        free = self._regions
        if free is None:
            yield None
            return
        region = await free.get()
        try:
            yield region
        except BaseException as error:
            if isinstance(error, TransportError) or not isinstance(error, NgcrunError):
                region.open = False  # the server may yet answer into it
            raise
        finally:
            free.put_nowait(region)

    async def _last_word(self, error: TransportError) -> ToolFailed:
        """The error of a request that never got through: its own, where the server still answers."""
        try:
            await self._client.config()
        except NgcrunError:
            return self._gone(error)
        return TransportError(f"{error}; tried {self._retries + 1} times")

    def _gone(self, error: TransportError) -> ServerGone:
        return ServerGone(f"{error}; tried {self._retries + 1} times: is the server up?")


def is_of_the_item(error: NgcrunError) -> bool:
    """Whether other items may still succeed: not where the server is gone or refuses the key."""
    if isinstance(error, BadInput):
        return not any(problem.port in ("url", "task") for problem in error.problems)
    return isinstance(error, ToolFailed) and not isinstance(error, ServerGone)


def reason(error: NgcrunError) -> str:
    """The error as one line for a report, without the port that it is filed under."""
    problems: list[Problem] = error.problems if isinstance(error, BadInput) else []
    return "; ".join(f"{p.wrong}; {p.todo}" for p in problems) or str(error).splitlines()[0]
