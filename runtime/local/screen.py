"""What a running pipeline looks like: a live table on a terminal, one plain line an event elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from runtime import vendor
from runtime.local.engine import Engine, State
from runtime.local.plan import Planned

_COLOURS = {"completed": "green", "failed": "red", "running": "cyan", "skipped": "yellow", "canceled": "yellow"}


def plain_line(name: str, state: State) -> str:
    """One event as a line for a log: time, step, what happened."""
    text = f"{time.strftime('%H:%M:%S')} {name}: {state.status}"
    if state.reused:
        return f"{text}, taken over from {run_of(state)}"
    if state.status in ("completed", "failed"):
        text += f" in {state.seconds:.1f} s"
    return text + (f": {state.why}" if state.why else "")


def run_of(state: State) -> str:
    """The run that the outputs of a step were taken over from."""
    return Path(state.reused).parents[1].name


def say(text: str, *, error: bool = False) -> None:
    """Print a line; a reader that is gone (`| head`, a closed terminal) does not end the run that it reads of."""
    stream = sys.stderr if error else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:
        deafen(stream)


def deafen(stream: TextIO) -> None:
    """From now on what is written to `stream` goes nowhere, without an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def plain(name: str, state: State) -> None:
    """A listener that prints each event, for logs and pipes."""
    say(plain_line(name, state))


def quiet(_name: str, _state: State) -> None:
    """A listener that prints nothing; the live table shows the same."""


@contextmanager
def live(engine: Engine, planned: Mapping[str, Planned]) -> Iterator[None]:
    """Show a table that follows the engine while the block runs, if this is a terminal."""
    if not sys.stdout.isatty():
        yield
        return
    from rich.live import Live

    with Live(get_renderable=lambda: _table(engine.states, planned), refresh_per_second=8, transient=False):
        yield


def _table(states: Mapping[str, State], planned: Mapping[str, Planned]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("step", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("", overflow="ellipsis", no_wrap=True, ratio=1)
    for name, state in states.items():
        seconds = time.monotonic() - state.clock if state.status == "running" else state.seconds
        said = f"taken over from {run_of(state)}" if state.reused else state.why
        if state.status == "running":
            because = f"runs: {state.because[0]}" if state.because else ""
            said = vendor.tail(planned[name].log, 1) or because
        clock = f"{seconds:.1f}" if state.started else ""
        table.add_row(name, Text(state.status, style=_COLOURS.get(state.status, "dim")), clock, Text(said, style="dim"))
    return table
