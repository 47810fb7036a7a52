"""A stand-in for the command lines of TAO's TF1 image: see cli.py for what it copies and from where."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
NETWORKS = tuple(json.loads((HERE / "flags.json").read_text()))


def install(folder: Path, schema: Path) -> dict[str, str]:
    """Write the console scripts, `python` and `mpirun` into `folder`; gives the environment that has them on PATH.

    `schema` is the folder that holds `nvidia_tao_deploy`: the stand-in reads specs with the real messages.
    Its failures are asked for by variables: FAKE_TAO_OOM=1, FAKE_TAO_NAN=1, FAKE_TAO_EPOCH_S=<seconds an epoch>,
    FAKE_TAO_SILENT=1 (ends well and writes no model), FAKE_TAO_EXIT=<status>.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scripts = {name: f'exec "{sys.executable}" "{HERE / "cli.py"}" {name} "$@"' for name in NETWORKS}
    scripts["python"] = scripts["python3"] = f'exec "{sys.executable}" "$@"'
    scripts["mpirun"] = f'exec "{sys.executable}" "{HERE / "mpirun.py"}" "$@"'
    for name, line in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "NGCRUN_TAO_SCHEMA": str(schema)}
