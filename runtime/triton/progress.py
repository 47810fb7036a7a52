"""Saying how far a client is."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

PLAIN_EVERY_S = 10.0


@contextlib.contextmanager
def progress(noun: str) -> Iterator[Callable[[int], None]]:
    """A function to call with how many more are done: a live line on a terminal, a plain one now and then elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        text = TextColumn(f"{{task.completed:,.0f}} {noun}")
        with Progress(SpinnerColumn(), text, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task(noun, total=None)
            yield lambda count: bar.update(task, advance=count)
        return
    done, told = 0, time.monotonic()

    def plain(count: int) -> None:
        nonlocal done, told
        done += count
        if time.monotonic() - told >= PLAIN_EVERY_S:
            told = time.monotonic()
            print(f"{done:,} {noun}", file=sys.stderr, flush=True)

    yield plain
