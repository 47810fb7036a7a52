"""Starts the processes of a distributed command. Standard library only, Python 3.7 on: it runs in the step's image.

Run as a script: `python3 ranks.py NODES PROCESSES_PER_NODE COMMAND`. Each rank is a bash with the variables of its own;
its lines are passed on with `[rank N]` before them. The first that fails ends the others, and its status is the result.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 10.0
LOOK_S = 0.02


def start(rank: int, each: int, command: str) -> subprocess.Popen[bytes]:
    """One rank; it stays in this group, so that whoever ends the group ends all."""
    own = {"NODE_RANK": rank // each, "LOCAL_RANK": rank % each, "RANK": rank, "AZUREML_PROCESS_NAME": f"rank_{rank}"}
    env = {**os.environ, **{name: str(value) for name, value in own.items()}}
    return subprocess.Popen(["bash", "-c", command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def pass_on(process: subprocess.Popen[bytes], rank: int) -> None:
    """Print what a rank prints, line by line."""
    for line in process.stdout or ():
        os.write(1, f"[rank {rank}] ".encode() + line.rstrip(b"\n") + b"\n")


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """SIGTERM to the whole group (this process only notes it), SIGKILL to the ranks that are there after the grace.

    What a rank left behind is ended by whoever started this group.
    """
    if all(p.poll() is not None for p in processes):
        return
    os.killpg(0, signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    while any(p.poll() is None for p in processes) and time.monotonic() < until:
        time.sleep(LOOK_S)
    for process in processes:
        process.kill()


def failed(processes: list[subprocess.Popen[bytes]]) -> int:
    """The exit status of a rank that has failed; 0 while none has."""
    return next((p.returncode for p in processes if p.poll()), 0)


def main(nodes: int, each: int, command: str) -> int:
    """Run all ranks; returns the exit status."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    processes = [start(rank, each, command) for rank in range(nodes * each)]
    threads = [threading.Thread(target=pass_on, args=(p, rank), daemon=True) for rank, p in enumerate(processes)]
    for thread in threads:
        thread.start()
    while not stopped and not failed(processes) and any(p.poll() is None for p in processes):
        time.sleep(LOOK_S)
    status = failed(processes) or (128 + stopped[0] if stopped else 0)
    end(processes)
    for thread in threads:
        thread.join(1.0)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
