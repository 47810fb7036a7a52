"""Looking into a Treelite checkpoint that may be damaged, without loading it into this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_READ = """
import sys, treelite
try:
    print("features", treelite.Model.deserialize(sys.argv[1]).num_feature)
except Exception as error:
    print("wrong", error)
"""
_START_S, _BYTES_A_S = 30.0, 20e6  # far more than it takes, so that a slow machine is no damaged file


def features_of(path: Path) -> int:
    """How many features the forest takes; raises `ValueError` in treelite's words, or for a file that it cannot end.

    With one byte changed a checkpoint may keep treelite busy for ever, in code that no signal reaches (measured with
    4.8.1): so it is read in a process that can be ended.
    """
    limit_s = _START_S + path.stat().st_size / _BYTES_A_S
    try:
        done = subprocess.run(
            [sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=False, timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"it is damaged: treelite was still reading it after {limit_s:.0f} s") from None
    word, _, rest = done.stdout.partition(" ")
    if word == "features":
        return int(rest)
    raise ValueError(
        rest.strip() if word == "wrong" else f"it is damaged: reading it ends with status {done.returncode}"
    )
