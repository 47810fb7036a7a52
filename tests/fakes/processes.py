"""Looking at processes that are not children of the test."""

from __future__ import annotations

import os
import time


def wait_until_gone(pid: int, timeout_s: float) -> bool:
    """Whether the process `pid` (not a child of ours) ended within `timeout_s`."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
