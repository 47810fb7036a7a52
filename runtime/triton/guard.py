"""Cleans up after a killed `triton_verify`: waits for its end, then removes a server's process group and files.

Runs as `python -I -S guard.py <process group> <work folder> <shared memory prefix>` with a pipe on its standard input
that only the owner holds: it closes when the owner ends, in whatever way. Standard library only, and little of it.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def main(group: int, folder: str, prefix: str) -> None:
    """Wait for the owner's end; kill the process group; remove the folder and the shared memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while os.read(0, 1024):
        pass
    for _ in range(100):  # the stubs end by themselves shortly after their server; then their memory can go
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            break
        time.sleep(0.05)
    for path in Path("/dev/shm").glob(f"{prefix}*"):  # noqa: S108 - the kernel's place for shared memory
        with contextlib.suppress(OSError):
            path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
