"""Which backend a model is for, and which file that backend reads, by the server's own rules.

Source: triton-inference-server/core, src/constants.h and src/model_config_utils.cc (AutoCompleteBackendFields); for fil
triton-inference-server/fil_backend, docs/model_config.md, "Model Filenames".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.triton.findings import Finding
from runtime.triton.model_config import parameter

ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Backend:
    """A backend under its names: `platform` is the older field, `file` what the version folder must hold."""

    name: str
    file: str
    platforms: tuple[str, ...] = ()


# In the order in which the server guesses from the files of a version folder. A platform that is named here excludes
# every other backend than its own.
BACKENDS = (
    Backend("tensorflow", "model.savedmodel", ("tensorflow_savedmodel",)),
    Backend("tensorflow", "model.graphdef", ("tensorflow_graphdef",)),
    Backend("tensorrt", "model.plan", ("tensorrt_plan",)),
    Backend("onnxruntime", "model.onnx", ("onnxruntime_onnx",)),
    Backend("openvino", "model.xml"),
    Backend("pytorch", "model.pt", ("pytorch_libtorch",)),
    Backend("pytorch", "model.pt2", ("torch_aoti",)),
    Backend("python", "model.py"),
)
FIL_FILES = {
    "xgboost_ubj": "xgboost.ubj",
    "xgboost_json": "xgboost.json",
    "xgboost": "xgboost.model",
    "lightgbm": "model.txt",
    "treelite_checkpoint": "checkpoint.tl",
}
# What people write for a backend's name. A name that is not known at all may be somebody's own backend.
MISTAKEN = {"onnx": "onnxruntime", "trt": "tensorrt", "torch": "pytorch", "libtorch": "pytorch", "xgboost": "fil"}
KNOWN = sorted({row.name for row in BACKENDS} | {"fil"})
PLATFORMS = {name: row for row in BACKENDS for name in row.platforms}


def is_ensemble(config: Any) -> bool:
    """Whether the config is of an ensemble, which has no backend and no files."""
    return bool(config.platform == ENSEMBLE or config.HasField("ensemble_scheduling"))


def backend_of(config: Any, version: Path | None) -> str:
    """The backend that a server would take; empty where it could not tell. `version`: the folder that it looks into."""
    if is_ensemble(config):
        return ENSEMBLE
    if config.backend:
        return str(config.backend)
    if config.platform:
        return PLATFORMS[config.platform].name if config.platform in PLATFORMS else ""
    if config.default_model_filename:
        return next((row.name for row in BACKENDS if row.file == config.default_model_filename), "")
    found = {path.name for path in version.iterdir()} if version else set()
    return next((row.name for row in BACKENDS if row.file in found), "")


def _platform_as_backend(name: str) -> list[str]:
    """The backend of a platform's name, or one that is spelled nearly so."""
    if name in PLATFORMS:
        return [PLATFORMS[name].name]
    return difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.8)


def model_file(config: Any, backend: str) -> str:
    """The name of the file or folder that the backend opens in a version folder; empty for a backend unknown here."""
    if config.default_model_filename:
        return str(config.default_model_filename)
    if backend == "fil":
        return FIL_FILES.get(parameter(config, "model_type") or "xgboost", "")
    if config.platform in PLATFORMS and PLATFORMS[config.platform].name == backend:
        return PLATFORMS[config.platform].file
    return next((row.file for row in BACKENDS if row.name == backend), "")


def disagreements(config: Any, backend: str, version: Path | None) -> Iterator[Finding]:
    """A backend that nobody can tell, and a platform that belongs to another one."""
    meant = MISTAKEN.get(config.backend) or next(iter(_platform_as_backend(config.backend)), None)
    if meant and config.backend not in KNOWN:
        yield f"has the backend {config.backend!r}, which no server has", f"write backend: {meant!r}"
    found = {path.name for path in version.iterdir()} if version else set()
    guesses = [row for row in BACKENDS if row.file in found]
    if len(guesses) > 1 and not (config.backend or config.platform or config.default_model_filename):
        names = ", ".join(row.file for row in guesses)
        wrong = f"names no backend and holds {names}, of which the server takes {guesses[0].file}"
        yield wrong, f"write backend: one of {', '.join(row.name for row in guesses)}"
    if not backend:
        what = f"has the platform {config.platform!r}, which no server knows" if config.platform else "names no backend"
        yield what, f"write backend: one of {', '.join(KNOWN)}"
    kind = parameter(config, "model_type") or "xgboost"
    if backend == "fil" and kind not in FIL_FILES:
        yield f"has model_type {kind!r}", f"write one of {', '.join(FIL_FILES)}"
    owner = PLATFORMS.get(config.platform)
    if config.backend and owner and owner.name != config.backend:
        wrong = f"has backend {config.backend!r} and platform {config.platform!r}, which is of {owner.name}"
        yield wrong, "remove one of the two"
    known = {row.name for row in BACKENDS if row.platforms}
    if config.backend in known and config.platform and not owner and config.platform != ENSEMBLE:
        yield f"has the platform {config.platform!r}, which is not of {config.backend}", "remove the platform"
