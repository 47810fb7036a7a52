"""Where a version in a model repository came from: `<model>/<version>/provenance.json`, which Triton does not read."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import __version__

FILE = "provenance.json"
PACKAGES = (
    "onnx", "onnxruntime", "onnxmltools", "skl2onnx", "treelite", "xgboost", "xgboost-cpu", "scikit-learn", "torch",
    "tensorrt", "numpy", "pillow", "polars",
)  # fmt: skip
# What NGC images say of themselves. Source: the ENV lines of nvcr.io/nvidia/tritonserver and /pytorch.
CONTAINER = ("NVIDIA_TRITON_SERVER_VERSION", "NVIDIA_PRODUCT_NAME", "NVIDIA_BUILD_ID", "CUDA_VERSION", "TRT_VERSION")
IMAGE = "NGCRUN_IMAGE"  # set by ngcrun for its containers: the image's name and digest


@dataclass(frozen=True)
class Known:
    """The SHA-256 of a source, and the name of the file in the version folder that has the same bytes, if one has."""

    digest: str
    copy: str | None


def write(version: Path, source: Path, known: Known | None = None, **about: Any) -> None:
    """Write `provenance.json` for what lies in a version folder; nothing in it changes with the time."""
    known = known or Known(sha256(source), None)
    document = {
        "source": {"file": source.name, "sha256": known.digest, "bytes": source.stat().st_size},
        "files": hashes(version, {known.copy: known.digest} if known.copy else {}),
        **about,
        "packaged_by": {"ngcrun": __version__, **_packages()},
        "container": {name: os.environ[name] for name in (IMAGE, *CONTAINER) if os.environ.get(name)},
        "gpu": gpu(),
        "git": git_state(source.parent) or git_state(Path.cwd()),
        "mlflow_run": os.environ.get("MLFLOW_RUN_ID") or _trained_by(source.parent),
    }
    (version / FILE).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read(version: Path) -> dict[str, Any]:
    """What `write` wrote; empty for a version that something else made."""
    try:
        found = json.loads((version / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def hashes(folder: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """SHA-256 of each file below a folder, by its relative path; without the provenance itself. `known`: of some."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / FILE and "__pycache__" not in p.parts)
    names = {p.relative_to(folder).as_posix(): p for p in files}
    return {name: (known or {}).get(name) or sha256(path) for name, path in names.items()}


def changed(version: Path) -> list[str]:
    """The files of a version that are not as they were packaged, that are gone, or that came later."""
    then, now = read(version).get("files"), hashes(version)
    if not isinstance(then, Mapping):
        return []
    return sorted(name for name in {*then, *now} if then.get(name) != now.get(name))


def sha256(path: Path) -> str:
    """The digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit of the work tree that holds `folder` and whether tracked files differ from it; None outside one."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": dirty}


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def gpu() -> dict[str, str] | None:
    """The first GPU here, its compute capability and driver; None without one."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver: the package was made without a GPU
        return None
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        texts = (pynvml.nvmlDeviceGetName(handle), pynvml.nvmlSystemGetDriverVersion())
        name, driver = (t.decode() if isinstance(t, bytes) else str(t) for t in texts)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
    return {"name": name, "compute_capability": f"{major}.{minor}", "driver": driver}


def _trained_by(folder: Path) -> str | None:
    """The run that an MLflow model folder names."""
    try:
        found = re.search(r"^run_id: (\S+)$", (folder / "MLmodel").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return found.group(1) if found else None
