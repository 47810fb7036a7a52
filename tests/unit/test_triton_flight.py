"""Many requests under way: never more than asked for, in order, and nothing goes on after the end."""

import asyncio
import contextlib
import signal
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadInput, ToolFailed
from runtime.triton.client import Endpoint, TransportError, explain
from runtime.triton.flight import ServerGone, each, is_of_the_item, reason, run
from runtime.triton.shared_memory import is_local


@given(st.integers(0, 30), st.integers(1, 8), st.integers(0, 1000))
def test_the_order_stays_and_no_item_is_taken_before_there_is_room(count, most, seed):
    under_way, highest, taken, done = 0, 0, 0, 0

    def items():
        nonlocal taken
        for number in range(count):
            taken += 1
            yield number

    async def work(number):
        nonlocal under_way, highest
        under_way += 1
        highest = max(highest, under_way)
        for _ in range((number * seed) % 7):
            await asyncio.sleep(0)
        under_way -= 1
        return number

    async def whole():
        nonlocal done
        found = []
        async for number in each(items(), work, most):
            found.append(number)
            done += 1
            assert taken <= done + most
        return found

    assert run(whole()) == list(range(count))
    assert highest <= most


def test_an_error_ends_the_others():
    ended = []

    async def work(number):
        if number == 1:
            raise ToolFailed("no")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(number)
            raise

    async def whole():
        async with contextlib.aclosing(each(range(9), work, 3)) as results:
            async for _ in results:
                pass

    async def second():
        async with contextlib.aclosing(each([1], work, 3)) as results:
            return [r async for r in results]

    with pytest.raises(ToolFailed):
        run(second())

    async def given_up():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(whole(), 0.05)

    run(given_up())
    assert sorted(ended) == [0, 2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unwinds_as_an_interrupt_and_the_handlers_are_as_before(number):
    before = signal.signal(number, lambda *_: None)
    cleaned = []

    async def wait():
        timer.start()  # here, where the handlers are in place
        try:
            await asyncio.sleep(30)
        finally:
            cleaned.append(True)

    timer = threading.Timer(0.1, lambda: signal.raise_signal(number))
    try:
        mine = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt):
            run(wait())
        assert cleaned == [True]
        assert signal.getsignal(number) is mine
    finally:
        timer.join()
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("error", "alone"),
    [
        (BadInput.of("input", "m", "unexpected shape", "look"), True),
        (BadInput.of("url", "h", "refuses the request (401)", "key"), False),
        (BadInput.of("task", "detr", "wants", "look"), False),
        (ToolFailed("h: boom"), True),
        (TransportError("h: no answer"), True),
        (ServerGone("h: no answer"), False),
    ],
)
def test_what_concerns_one_item_and_what_all(error, alone):
    assert is_of_the_item(error) is alone


def test_a_reason_is_one_line_without_the_port():
    assert reason(BadInput.of("input", "m", "has a wrong shape", "send another")) == "has a wrong shape; send another"
    assert reason(ToolFailed("h: boom\nmore")) == "h: boom"


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost:8000", True), ("127.0.0.1:8000", True), ("127.1.2.3:8000/path", True), ("[::1]:8000", True),
        ("host:8000", False), ("10.127.0.1:8000", False), ("localhost.example.com:443", False), ("[::2]:1", False),
    ],
)  # fmt: skip
def test_only_the_loopback_is_this_machine(address, local):
    assert is_local(address) is local


def test_what_aiohttp_and_a_grpc_stream_say_is_explained():
    import aiohttp
    import grpc

    endpoint = Endpoint("h:1")
    assert "h:1: no answer (Server disconnected)" in str(explain(aiohttp.ServerDisconnectedError(), endpoint, "m"))
    assert "h:1: no answer (TimeoutError)" in str(explain(TimeoutError(), endpoint, "m"))
    no = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, no, no, "failed to connect")
    assert isinstance(explain(error, endpoint, "m"), TransportError)
    error = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, no, no, "Internal error from Core")  # a broken connection
    assert isinstance(explain(error, endpoint, "m"), TransportError)
    error = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, no, no, "the model failed")
    assert not isinstance(explain(error, endpoint, "m"), TransportError)
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAUTHENTICATED, no, no, "who are you")
    assert "refuses the request (UNAUTHENTICATED)" in str(explain(error, endpoint, "m"))
