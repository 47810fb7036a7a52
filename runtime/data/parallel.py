"""The same work on many files, over processes: in order, with progress, and nothing left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from runtime.errors import ToolFailed

FEW = 32  # items for which starting processes takes longer than the work
_BATCHES = 8  # for each process, so that none waits long for the last
_LARGEST_BATCH = 16  # what has begun is finished when a run is stopped
PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h
# Blocks of 16 MiB that Pillow keeps for the next image instead of giving them back: a third of the processor time saved
# (measured, 1024x768 to 736x416). Source: Pillow's documentation, "Block allocator".
PILLOW_BLOCKS = "16"

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(work: Callable[[Item], Result], items: Sequence[Item], noun: str, workers: int | None = None) -> list[Result]:
    """`work` of every item, in their order; it must be a function of a module. `noun` is what progress counts."""
    count = workers or os.cpu_count() or 1
    with _progress(noun, len(items)) as done:
        if len(items) <= FEW:
            return [result for batch in _batches(items, 1) for result in done(_all(work, batch))]
        size = max(1, min(_LARGEST_BATCH, len(items) // (count * _BATCHES)))
        with _pool(count) as pool:
            try:
                batches = pool.map(partial(_all, work), _batches(items, size))
                return [result for batch in batches for result in done(batch)]
            except BrokenProcessPool:
                raise ToolFailed(
                    f"a process for {noun} was killed, perhaps for want of memory; try workers=1"
                ) from None


def _all(work: Callable[[Item], Result], batch: Sequence[Item]) -> list[Result]:
    return [work(item) for item in batch]


def _batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


@contextlib.contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that start anew: a fork of one that has threads (MLflow's) may hang."""
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # waits for what has begun: nothing is written behind our back


def _begin(parent: int) -> None:
    """In each process: Ctrl-C is the parent's to handle, and its end, however it comes, is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.setdefault("PILLOW_BLOCKS_MAX", PILLOW_BLOCKS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def _progress(noun: str, total: int) -> Iterator[Callable[[list[Result]], list[Result]]]:
    """A function that passes results through and counts them: a live line on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda results: results
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(noun, total=total)

        def done(results: list[Result]) -> list[Result]:
            bar.update(task, advance=len(results))
            return results

        yield done
