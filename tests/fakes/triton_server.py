"""What the tests with a real tritonserver share: finding it, and seeing what a killed one left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.execute import main
from runtime.triton import serve
from runtime.triton.package import package
from runtime.triton.serve_env import find_server


@contextlib.contextmanager
def server(repository: Path, *models: str) -> Iterator[serve.Running]:
    """A real server with `models` loaded. Without one on this machine the test fails: `python -m runtime.triton.serve_env`."""
    with serve.serving(find_server(), repository, models) as running:
        yield running


def packaged(folder: Path, model: Path, *words: str) -> tuple[Path, Path]:
    """The repository and the golden rows of a model folder, for the server found here."""
    targets = [f"repository={folder / 'repo'}", f"golden={folder / 'golden'}"]
    assert main(package, [f"model={model}", *targets, *words]) == 0
    return folder / "repo", folder / "golden"


def processes(word: str) -> dict[int, str]:
    """Command lines by id of the living processes, other than ours, that hold `word` in theirs."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if word in line and int(path.parent.name) != os.getpid():
                found[int(path.parent.name)] = line
    return found


def shared_memory(word: str) -> list[str]:
    """Names in /dev/shm that hold `word`."""
    return [p.name for p in Path("/dev/shm").iterdir() if word in p.name]


def left_behind(pid: int, *words: str, within_s: float = 8.0) -> list[str]:
    """What is left of a verify that was process `pid`: processes, shared memory, work folders; waits for it to go."""
    until = time.monotonic() + within_s
    while True:
        found = [line for word in (f"ngcrun-{pid}-", *words) for line in processes(word).values()] + shared_memory(
            f"ngcrun-{pid}-"
        )
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """A component in a process and a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", *words], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))},
    )  # fmt: skip


def end(process: subprocess.Popen[str], number: signal.Signals, *, group: bool = False) -> tuple[int, str]:
    """Signal a process (or its group, as Ctrl-C does) and wait; returns its status and standard error."""
    os.killpg(process.pid, number) if group else process.send_signal(number)
    _, err = process.communicate(timeout=30)
    return process.returncode, err
