"""Runs one `docker run` and sees to it that the container is gone afterwards. Standard library only.

Run as a script: `python -I -S guard.py NAME -- docker run ...`. A container outlives its client: a killed `docker run`
and a killed ngcrun leave it running. This process is told when ngcrun dies (PR_SET_PDEATHSIG) and removes the
container. On a failure it adds to the log what only docker knows: that the kernel ended it for its memory.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h
GRACE_S = 10.0  # between SIGTERM and SIGKILL, as `docker stop` has it
OOM = "out of memory: the kernel ended it; ask for less, or give docker more"


def remove(docker: str, name: str) -> None:
    """The container, running or not; one that is gone already is fine.

    Tried again: a daemon under load may say that its file system is in use, and then it stays.
    """
    for pause_s in (0.5, 1.0, 2.0, 4.0, 0.0):
        argv = [docker, "rm", "--force", "--volumes", name]
        done = subprocess.run(argv, check=False, capture_output=True, timeout=60)
        if done.returncode == 0 or b"No such container" in done.stderr:
            return
        time.sleep(pause_s)


def was_out_of_memory(docker: str, name: str) -> bool:
    """Whether the kernel killed it for its memory."""
    ask = [docker, "inspect", "--format", "{{.State.OOMKilled}}", name]
    return subprocess.run(ask, check=False, capture_output=True, timeout=60).stdout.strip() == b"true"


def main(name: str, argv: list[str]) -> int:
    """Returns the container's exit status; 143 when this process was asked to stop."""
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda number, _frame: stopped.append(number))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
    client = subprocess.Popen(argv)
    status: int | None = None
    waited = 0.0
    while status is None:
        try:
            status = client.wait(0.2)
        except subprocess.TimeoutExpired:
            if signal.SIGUSR1 in stopped and waited == 0.0:
                client.terminate()  # which passes it on; every other signal went to the whole group, so to the client
            waited += 0.2 if stopped else 0.0
            if waited > GRACE_S:
                break
    if status and was_out_of_memory(argv[0], name):
        print(OOM, flush=True)
    remove(argv[0], name)
    client.kill()
    return 143 if stopped and status is None else int(status or 0)


if __name__ == "__main__":
    split = sys.argv.index("--")
    sys.exit(main(sys.argv[1], sys.argv[split + 1 :]))
