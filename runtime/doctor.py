"""`ngcrun doctor`: what this machine can run, and why not. Looks only; changes nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from runtime.errors import BadInput

Row = tuple[str, str, str]  # what, "yes" | "no" | "part", why and what to do
_MIN_FREE_GIB = 10


def rows() -> list[Row]:
    """One row a thing, in the order in which a newcomer needs them."""
    checks: list[Callable[[], Row]] = [
        _python, _cpu_steps, _gpu, _gpu_steps, _mlflow, _docker, _tritonserver, _tao, _read_only, _disk,
    ]  # fmt: skip
    return [check() for check in checks]


def report() -> int:
    """Print the table; exit status 0 always: what is missing may not be needed."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("what", "here", "why, and what to do"):
        table.add_column(title, overflow="fold")
    colours = {"yes": "green", "no": "red", "part": "yellow"}
    for what, state, why in rows():
        table.add_row(what, f"[{colours[state]}]{state}[/]", escape(why))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


def _python() -> Row:
    version = platform.python_version()
    state = "yes" if (3, 11) <= sys.version_info[:2] <= (3, 12) else "no"
    return "Python", state, version if state == "yes" else f"{version}; use 3.11 or 3.12"


def _missing(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if importlib.util.find_spec(name) is None]


def _cpu_steps() -> Row:
    missing = _missing(("polars", "xgboost", "sklearn"))
    if missing:
        return "RAPIDS steps, CPU", "no", f"no {', '.join(missing)}; pip install 'ngcrun[rapids-cpu]'"
    return "RAPIDS steps, CPU", "yes", f"polars {_version('polars')}, scikit-learn {_version('scikit-learn')}"


def _gpu() -> Row:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return "NVIDIA GPU", "no", f"{error}; steps with engine=auto take the CPU"
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        names = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            names.append(f"{pynvml.nvmlDeviceGetName(handle)} ({memory:.0f} GiB, compute {major}.{minor})")
    finally:
        pynvml.nvmlShutdown()
    if not names:
        return "NVIDIA GPU", "no", f"driver {driver}, but no device"
    return "NVIDIA GPU", "yes", f"driver {driver}; {', '.join(names)}"


def _gpu_steps() -> Row:
    missing = _missing(("cudf_polars", "cuml"))
    if missing:
        todo = "pip install 'ngcrun[rapids-gpu]' on a machine with a GPU, or use the RAPIDS image"
        return "RAPIDS steps, GPU", "no", f"no {', '.join(missing)}; {todo}"
    state = "yes" if _gpu()[1] == "yes" else "part"
    return "RAPIDS steps, GPU", state, f"cudf-polars {_version('cudf-polars-cu12')}"


def _mlflow() -> Row:
    missing = _missing(("mlflow", "sqlalchemy", "alembic"))
    if missing:
        return "MLflow", "no", f"no {', '.join(missing)}; pip install 'ngcrun[mlflow]'"
    return "MLflow", "yes", f"{_version('mlflow-skinny')}; default store: sqlite in ./runs"


def _docker() -> Row:
    if shutil.which("docker") is None:
        return "docker", "no", "no docker command; steps run as subprocesses"
    argv = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        return "docker", "no", "the daemon did not answer within 10 s"
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return "docker", "no", said[0] if said else f"docker version: exit status {done.returncode}"
    return "docker", "yes", f"server {done.stdout.strip()}"


def _tritonserver() -> Row:
    from runtime.triton.serve_env import find_server

    try:
        server = find_server()
    except BadInput as error:
        return "tritonserver", "no", f"{error.problems[0].wrong}; {error.problems[0].todo}"
    return "tritonserver", "yes", f"{server.binary}, backends: {', '.join(server.backends())}"


def _tao() -> Row:
    from runtime.tao import env, machine

    here = importlib.util.find_spec("nvidia_tao_pytorch") is not None or shutil.which("classification_pyt") is not None
    if here and machine.gpu_count():
        return "TAO", "yes", "installed here, with a GPU"
    folder = env.folder_of("cpu")
    if here or (folder / "bin" / "classification_pyt").is_file():
        return "TAO", "part", f"device=cpu, from {'this Python' if here else folder}"
    return "TAO", "part", f"checks only; to rehearse on the CPU: python -m runtime.tao.env cpu ({env.SIZES['cpu']})"


def _read_only() -> Row:
    from runtime.local.pipeline import mounts_work

    if mounts_work():
        return "read-only inputs", "yes", "by mounts, as on AzureML"
    return "read-only inputs", "part", "no mount namespaces here; inputs are fingerprinted before and after each step"


def _disk() -> Row:
    usage = shutil.disk_usage(Path.cwd())
    free = usage.free / 2**30
    state = "yes" if free >= _MIN_FREE_GIB else "part"
    cores = os.cpu_count()
    return "disk and cores", state, f"{free:.0f} GiB free here, {cores} cores; NGC images take 5 to 30 GiB each"


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
