"""The one seam to programs that are not ours: started from an argv, logged, and never left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from runtime.errors import TAIL_LINES, ToolFailed
from runtime.masks import Masks

LAST_BREATH_S = 1.0  # a killed process may finish the system call that it is in
_PIECE = 1 << 16
LAUNCHER = Path(__file__).with_name("launch.py")


LONGEST_LINE = 1000  # a failed warm-up of tritonserver 2.51.0 is told in one line of 60,000 characters


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last `lines` lines of a log, read from its end; undecodable bytes are replaced, very long lines cut."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024))
        found = file.read().decode("utf-8", "replace").splitlines()[-lines:]
    return "\n".join(line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..." for line in found)


@contextlib.contextmanager
def running(  # noqa: PLR0913 - what a process has
    argv: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    read_only: Sequence[Path] = (),
    grace_s: float = 8.0,
    masks: Masks | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a process group of its own; when the block is left, for whatever reason, the group is gone.

    Its output is appended to `log`, without the secrets that `masks` knows. It cannot write to `read_only` (see
    runtime/launch.py), and it is killed when the thread that started it ends, so also when this process is killed.
    Raises `ToolFailed` if there is no such program.
    """
    environment = dict(os.environ if env is None else env)
    if shutil.which(argv[0], path=environment.get("PATH")) is None:
        raise ToolFailed(f"{argv[0]}: there is no such program on this machine")
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *map(str, read_only), "--"]
    with log.open("ab", buffering=0) as out:
        process = subprocess.Popen(
            [*launcher, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if masks else out,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
        copier = threading.Thread(target=_copy, args=(process.stdout, out, masks), daemon=True) if masks else None
        if copier:
            copier.start()
        try:
            yield process
        finally:
            stop(process, grace_s)
            if copier:
                copier.join(LAST_BREATH_S)


def _copy(pipe: IO[bytes], out: IO[bytes], masks: Masks) -> None:
    """From the program to its log. A full disk costs the log, not the program, which must not wait for a reader."""
    stream = masks.stream()
    with pipe:
        while piece := os.read(pipe.fileno(), _PIECE):
            with contextlib.suppress(OSError):
                out.write(stream.feed(piece))
    with contextlib.suppress(
        OSError, ValueError
    ):  # ValueError: closed, after what the program left behind held the pipe
        out.write(stream.end())


def stop(process: subprocess.Popen[bytes], grace_s: float = 8.0) -> None:
    """SIGTERM to the process group, SIGKILL after `grace_s` seconds; returns when it is gone.

    The grace is the whole group's: a launcher may end at once while what it launched still saves its work.
    """
    if process.poll() is None:
        until = time.monotonic() + grace_s
        signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        while process.poll() is not None and _group_exists(process.pid) and time.monotonic() < until:
            time.sleep(0.05)
    signal_group(process.pid, signal.SIGKILL)  # also what the program itself left behind in its group
    process.wait()
    until = time.monotonic() + LAST_BREATH_S
    while _group_exists(process.pid) and time.monotonic() < until:
        time.sleep(0.005)


def end_by_environment(entry: str) -> None:
    """Kill what a program left behind in a session of its own (a daemon): known by an entry of its environment."""
    wanted = os.fsencode(entry)
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if wanted in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)


def _group_exists(group: int) -> bool:
    """Whether a process of the group still runs; a zombie does not, though it may wait long for a lazy init."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # "pid (name) state ppid pgrp ...", and the name may hold anything. Source: man 5 proc
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                return True
    return False


def run(
    argv: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
) -> None:
    """Run a program to its end; raises `ToolFailed` with its last lines if it fails or exceeds `timeout_s`."""
    with running(argv, log, env=env, cwd=cwd) as process:
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ToolFailed(f"{Path(argv[0]).name}: took longer than {timeout_s:g} s", log, tail(log)) from None
    if status != 0:
        raise ToolFailed(f"{Path(argv[0]).name}: exit status {status}", log, tail(log))


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a process group of ours; one that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
