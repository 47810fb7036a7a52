"""The environments that hold NVIDIA's TAO packages on a machine outside the NGC images.

`python -m runtime.tao.env NAME` makes one in the cache and prints its folder:

- `schema`: nvidia-tao-core and nvidia-tao-deploy as files, for checks and `ngcrun tao spec` (2 MB, any Python).
- `cpu`: nvidia-tao-pytorch with all it imports, for `device=cpu` (8 GB, Python 3.12).
- `ds`: nvidia-tao-ds with DALI, for the data services (1.6 GB, Python 3.12).
- `launcher`: the `tao` launcher, which excludes a current tritonclient (its urllib3 is below 2).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from runtime import vendor
from runtime.cache import cache_folder, complete, is_complete, locked
from runtime.errors import BadInput, NgcrunError, nearest

TAO = "7.3.0"
UV = "uv==0.13.9"
PINS = Path(__file__).parent / "conf" / "env"
SCHEMA = (f"nvidia-tao-core=={TAO}", f"nvidia-tao-deploy=={TAO}")
SIZES = {"schema": "2 MB", "cpu": "8 GB on disk", "ds": "1.6 GB on disk", "launcher": "23 MB"}
VARIABLES = {"schema": "NGCRUN_TAO_SCHEMA", "cpu": "NGCRUN_TAO_ENV", "ds": "NGCRUN_TAO_DS_ENV",
             "launcher": "NGCRUN_TAO_LAUNCHER_ENV"}  # fmt: skip


def folder_of(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the environment `name` is or would be: its variable, else the cache."""
    if environ.get(VARIABLES[name]):
        return Path(environ[VARIABLES[name]]).absolute()
    return cache_folder(environ) / (f"tao-{name}" if name in ("schema", "launcher") else f"tao-{name}-py3.12")


def requirements(name: str) -> list[str]:
    """What the environment holds, as a requirements list with exact versions."""
    if name == "schema":
        return list(SCHEMA)
    lines = (PINS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def make(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Make the environment unless it is there and complete; returns its folder.

    A folder that the user named by its variable is taken as it is, and must exist.

    Raises:
        BadInput: there is no Python 3.12 on this machine, or the named folder is not there.
        ToolFailed: the installation fails; its log is named.
    """
    folder, wanted = folder_of(name, environ), requirements(name)
    if environ.get(VARIABLES[name]):
        if not folder.is_dir():
            raise BadInput.of(VARIABLES[name], folder, "does not exist", "unset it, or name the folder that holds TAO")
        return folder
    if is_complete(folder, wanted):
        return folder
    with locked(folder):
        if not is_complete(folder, wanted):
            shutil.rmtree(folder, ignore_errors=True)
            _install(name, folder, wanted)
            complete(folder, wanted)
    return folder


def _install(name: str, folder: Path, wanted: list[str]) -> None:
    print(f"making {folder} once ({SIZES[name]}): TAO's {name} environment", file=sys.stderr, flush=True)
    log = Path(tempfile.gettempdir()) / f"ngcrun-tao-{name}-{os.getpid()}.log"
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-warn-script-location"]
    if name == "schema":
        vendor.run([*pip, "--no-deps", "--only-binary", ":all:", "--target", str(folder), *wanted], log)
        log.unlink(missing_ok=True)
        return
    python = python312()
    uv = shutil.which("uv") or str(cache_folder() / "uv" / "bin" / "uv")
    if not Path(uv).is_file():
        vendor.run([*pip, "--only-binary", ":all:", "--target", str(cache_folder() / "uv"), UV], log)
    environment = {**os.environ, "UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "hardlink"), "UV_NO_PROGRESS": "1"}
    vendor.run([uv, "venv", "--quiet", "--python", python, str(folder)], log, env=environment)
    install = [uv, "pip", "install", "--python", str(folder / "bin" / "python"), "--no-deps", "--compile-bytecode"]
    vendor.run([*install, "-r", str(PINS / f"{name}.txt")], log, env=environment)
    log.unlink(missing_ok=True)


def python312() -> str:
    """A Python 3.12, which TAO's compiled wheels ask for: this one, on PATH, or pyenv's; raises `BadInput`."""
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.12.*/bin/python3.12"))
    for python in (getattr(sys, "_base_executable", sys.executable), shutil.which("python3.12"), *map(str, pyenv)):
        probe = [str(python), "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 12))"]
        if python and subprocess.run(probe, check=False, capture_output=True).returncode == 0:
            return str(python)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    todo = "install Python 3.12 (the wheels of TAO 7 are cp312), or run in docker or on AzureML"
    raise BadInput.of("python", version, "cannot hold TAO, and there is no python3.12", todo)


def cli(argv: list[str]) -> int:
    """Make the named environments and print their folders."""
    try:
        for name in argv or ["schema"]:
            if name not in VARIABLES:
                raise BadInput.of("environment", name, "is not one of TAO's", nearest(name, VARIABLES))
            print(make(name))
    except NgcrunError as error:
        print("\n".join(error.lines("tao_env")), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(cli(sys.argv[1:]))
