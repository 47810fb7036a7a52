"""A stand-in for the console scripts of TAO's PyTorch networks: see entry.py and work.py for what it copies.

Its failures are asked for by variables; N is the epoch, counted from 0, at which it happens:

FAKE_TAO_EPOCH_S=<seconds an epoch takes>, FAKE_TAO_OOM=N, FAKE_TAO_NAN=N (the loss from there on), FAKE_TAO_DISK_FULL=N
(half a checkpoint, then ENOSPC), FAKE_TAO_KILL=N (SIGKILL to the script), FAKE_TAO_KILL_ALL=N (to its entrypoint too),
FAKE_TAO_TORN=N (half a status line, for good), FAKE_TAO_SILENT=1 (exit 0 without the last word), FAKE_TAO_NO_ARTEFACT=1
(the last word without a file), FAKE_TAO_LEAK=1 (prints the key), FAKE_TAO_SAYS=<a line to print, then exit 1>,
FAKE_TAO_FLOOD=<status lines in a burst>.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
NETWORKS = ("classification_pyt", "rtdetr", "segformer")


def install(folder: Path, networks: tuple[str, ...] = NETWORKS) -> str:
    """Write the console scripts, `python` and `torchrun` into `folder`; returns the PATH that has them first."""
    folder.mkdir(parents=True, exist_ok=True)
    scripts = {name: f'exec "{sys.executable}" "{HERE / "entry.py"}" {name} "$@"' for name in networks}
    scripts["python"] = f'exec "{sys.executable}" "$@"'
    scripts["torchrun"] = f'shift 2\nexec "{sys.executable}" "$@"'  # --nnodes=1 --nproc-per-node=1
    for name, line in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
