"""Finding a tritonserver on this machine, and making the environment of the one that a PyPI wheel carries.

`python -m runtime.triton.serve_env` makes that environment, or says where it is.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime import vendor
from runtime.cache import cache_folder, complete, is_complete, locked
from runtime.errors import BadInput, NgcrunError

# Tested together; numpy 2 gives silently wrong results in this server. Source: measured, docs/triton.md.
# Pillow and polars are for the ready-made steps of an ensemble, which run the clients' and rapids_transform's own code;
# treelite is for the twins of FIL's models.
PINS = ("numpy==1.26.4", "onnxruntime==1.32.*", "pillow==13.0.*", "polars==1.44.2", "treelite==4.8.1")
SERVER_PIN = "nvidia-pytriton==0.7.0"  # carries tritonserver 2.51.0; its own dependencies are not needed to serve
PYTHONS = ((3, 11), (3, 12))  # numpy<2 has no wheels for 3.13, and the wheel has stubs up to it
COMMAND = "python -m runtime.triton.serve_env"
_PROBE = (
    "import json, sys, sysconfig; "
    "print(json.dumps([sys.version_info[:2], sysconfig.get_config_var('LIBDIR'), sysconfig.get_path('purelib')]))"
)


@dataclass(frozen=True)
class Server:
    """A tritonserver that can be started here.

    Attributes:
        binary: the executable.
        backend_dirs: folders whose sub-folders are backends.
        environment: the serving venv; None for a server that is installed on the machine (in an NGC container).
        variables: what has to be set for it, on top of our own environment.
        stub: the Python stub for the venv's Python; None where the server brings its own.
    """

    binary: Path
    backend_dir: Path
    environment: Path | None = None
    variables: Mapping[str, str] | None = None
    stub: Path | None = None

    def backends(self) -> list[str]:
        """Names of the backends that it ships, sorted."""
        return sorted(p.name for p in self.backend_dir.iterdir() if any(p.glob("libtriton_*.so")))

    def env(self) -> dict[str, str]:
        """The whole environment for the process; Python's own variables would mislead the stub."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYENV_")) and k != "TRITON_TOKEN"}
        return kept | dict(self.variables or {})


def find_server(environ: Mapping[str, str] = os.environ) -> Server:
    """The server to use: on PATH, in `NGCRUN_TRITON_ENV`, or in the cache; raises `BadInput` when there is none."""
    found = shutil.which("tritonserver", path=environ.get("PATH"))
    if found:
        return _installed(Path(found).resolve())
    folder = environment_folder(environ)
    if not (folder / "bin" / "python").exists():
        raise BadInput.of("tritonserver", folder, "is neither on PATH nor there", f"make it: {COMMAND}")
    return _from_wheel(folder)


def _installed(binary: Path) -> Server:
    """The server of an NGC container. Source: /opt/tritonserver/{bin,backends} in nvcr.io/nvidia/tritonserver."""
    backends = binary.parent.parent / "backends"
    if not backends.is_dir():
        raise BadInput.of(
            "tritonserver", binary, f"has no backends beside it in {backends}", "take it off PATH or install it whole"
        )
    return Server(binary, backends)


def environment_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the serving environment is or would be."""
    if environ.get("NGCRUN_TRITON_ENV"):
        return Path(environ["NGCRUN_TRITON_ENV"]).absolute()
    return cache_folder(environ) / f"triton-py{sys.version_info[0]}.{sys.version_info[1]}"


def _from_wheel(folder: Path) -> Server:
    """The server of the nvidia-pytriton wheel in a venv; checks that its stub can start at all."""
    answer = subprocess.run([str(folder / "bin" / "python"), "-c", _PROBE], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise _broken(folder, (answer.stderr.strip().splitlines() or ["its Python does not start"])[-1])
    (major, minor), libdir, site = json.loads(answer.stdout)
    root = Path(site) / "pytriton" / "tritonserver"
    stub = root / "python_backend_stubs" / f"{major}.{minor}" / "triton_python_backend_stub"
    for needed in (root / "bin" / "tritonserver", stub):
        if not needed.is_file():
            raise _broken(folder, f"{needed} is missing")
    libraries = os.pathsep.join([libdir, str(Path(site) / "nvidia_pytriton.libs")])
    variables = {
        "LD_LIBRARY_PATH": libraries,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    _require_libraries(stub, variables, f"{major}.{minor}")
    return Server(root / "bin" / "tritonserver", root / "backends", folder, variables, stub)


def _broken(folder: Path, why: str) -> BadInput:
    return BadInput.of(
        "tritonserver",
        folder,
        f"is not a complete serving environment ({why})",
        f"remove it and make it again: {COMMAND}",
    )


def _require_libraries(stub: Path, variables: Mapping[str, str], version: str) -> None:
    """A stub without its libpython does not fail: it hangs for ever. Source: measured with 3.12, docs/triton.md."""
    if shutil.which("ldd") is None:
        return
    out = subprocess.run(
        ["ldd", str(stub)], capture_output=True, text=True, check=False, env={**os.environ, **variables}
    ).stdout
    missing = [line.split()[0] for line in out.splitlines() if "not found" in line]
    if missing:
        todo = f"install it (Debian, Ubuntu: apt-get install libpython{version})"
        raise BadInput.of("tritonserver", stub, f"needs {', '.join(missing)}, which is not on this machine", todo)


# --- making the environment ---------------------------------------------------------------------------------------


def make(folder: Path) -> bool:
    """Make the serving environment in `folder` unless it is there and complete; returns whether it was made.

    A stamp, written last, marks it complete: a venv cannot be built elsewhere and moved. A half-made one is replaced.

    Raises:
        BadInput: for a machine that the wheel does not support.
        ToolFailed: when pip fails.
    """
    wanted = [SERVER_PIN, *PINS]
    if is_complete(folder, wanted):
        return False
    _require_machine()
    with locked(folder):
        if is_complete(folder, wanted):  # another process made it meanwhile
            return False
        if folder.exists() and not (folder / "pyvenv.cfg").is_file() and any(folder.iterdir()):
            raise BadInput.of("NGCRUN_TRITON_ENV", folder, "is a folder with other things in it", "name a new one")
        shutil.rmtree(folder, ignore_errors=True)
        _install(folder)
        complete(folder, wanted)
    return True


def _require_machine() -> None:
    if sys.version_info[:2] not in PYTHONS:
        known = ", ".join(f"{a}.{b}" for a, b in PYTHONS)
        raise BadInput.of(
            "python",
            platform.python_version(),
            "cannot serve: this tritonserver needs numpy 1.26",
            f"use Python {known}",
        )
    name, _, version = platform.platform(terse=True), *platform.libc_ver()
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise BadInput.of("platform", name, "has no tritonserver wheel", "use Linux on x86_64, or an NGC container")
    if version and tuple(map(int, version.split(".")[:2])) < (2, 35):  # Source: the wheel's tag, manylinux_2_35_x86_64
        raise BadInput.of(
            "glibc",
            version,
            "is too old for this tritonserver",
            "use a system with glibc 2.35 or newer, such as Debian 12",
        )


def _install(folder: Path) -> None:
    """A venv of the base Python, filled by this environment's pip; pip's log is kept if it fails."""
    base = getattr(sys, "_base_executable", sys.executable)
    log = Path(tempfile.gettempdir()) / f"ngcrun-serve-env-{os.getpid()}.log"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--disable-pip-version-check",
    ]
    vendor.run([base, "-m", "venv", "--without-pip", str(folder)], log)
    vendor.run([*pip, "--no-deps", SERVER_PIN], log)
    vendor.run([*pip, *PINS], log)
    log.unlink(missing_ok=True)


def cli() -> int:
    """Make the environment where `NGCRUN_TRITON_ENV` or the cache says and print its folder."""
    folder = environment_folder()
    try:
        if not is_complete(folder, [SERVER_PIN, *PINS]):
            _require_machine()
            print(f"making the serving environment in {folder} (a download of about 150 MB)", flush=True)
        made = make(folder)
        if made:
            find_server({**os.environ, "PATH": ""})
    except NgcrunError as error:
        print("\n".join(error.lines("serve_env")), file=sys.stderr)
        return error.exit_code
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(cli())
