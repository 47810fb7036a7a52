"""Many downloads side by side; the first that fails ends them all, and what they have got stays for the next start."""

from __future__ import annotations

import contextlib
import fcntl
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from runtime.data.transfer import Fetched, Policy, Stopped, Wanted, fetch
from runtime.errors import BadInput, NgcrunError

FINISHED = "finished"
_Result = tuple[int, Fetched | BaseException]


def fetch_all(wanted: Sequence[Wanted], folder: Path, policy: Policy, connections: int) -> list[Fetched]:
    """Every file, in the order of `wanted`, as parts in `folder`; at most `connections` at a time.

    Raises:
        BadInput, ToolFailed: as `fetch`; several BadInput that were found by then are told together.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    results: queue.SimpleQueue[_Result] = queue.SimpleQueue()
    stop = threading.Event()
    for number in range(len(wanted)):
        todo.put(number)
    with progress(wanted) as tell:

        def work() -> None:
            with contextlib.suppress(queue.Empty):
                while True:
                    number = todo.get_nowait()
                    try:
                        results.put((number, fetch(wanted[number], folder, policy, stop, tell)))
                    except BaseException as error:
                        stop.set()
                        results.put((number, error))

        # Daemons: one that waits for a server must not hold up the end of a run that is stopped.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(connections, len(wanted)))]
        for thread in threads:
            thread.start()
        try:
            return _gather(results, len(wanted))
        finally:
            stop.set()


def _gather(results: queue.SimpleQueue[_Result], count: int) -> list[Fetched]:
    found: dict[int, Fetched] = {}
    failed: list[BaseException] = []
    while len(found) + len(failed) < count:
        try:
            number, result = results.get(timeout=1.0 if failed else None)
        except queue.Empty:
            break  # the others wait for their servers; what failed is known
        if isinstance(result, Fetched):
            found[number] = result
        else:
            failed.append(result)
    told = [error for error in failed if not isinstance(error, Stopped)]
    if not failed:
        return [found[number] for number in range(count)]
    if all(isinstance(error, BadInput) for error in told):
        raise BadInput(problem for error in told if isinstance(error, BadInput) for problem in error.problems)
    raise next((e for e in told if isinstance(e, NgcrunError) and not isinstance(e, BadInput)), told[0])


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder of unfinished downloads; raises `BadInput` while another run has it.

    After a good end it holds a file that says so: an output that is bound must not be empty.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput.of("partial", folder, "is in use by another run", "wait for it, or name another") from None
        except OSError:
            pass  # a mount without locks, such as blobfuse: then there is one node
        (folder / FINISHED).unlink(missing_ok=True)
        try:
            yield
            (folder / FINISHED).write_text("nothing is unfinished\n", encoding="utf-8")
        finally:
            (folder / "lock").unlink(missing_ok=True)


@contextlib.contextmanager
def progress(wanted: Sequence[Wanted]) -> Iterator[Callable[[int], None]]:
    """A function to call with bytes as they come; a live line on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    sizes = [item.size_bytes for item in wanted]
    total = sum(size for size in sizes if size is not None) if all(size is not None for size in sizes) else None
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{len(wanted)} file{'s' * (len(wanted) != 1)}", total=total)
        yield lambda count: bar.update(task, advance=count)
