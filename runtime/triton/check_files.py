"""What a model's folder must hold for its config: versions, the model's file, labels, warm-ups, Python code.

Sources: triton-inference-server/core, src/model_repository_manager/model_lifecycle.cc (VersionsToLoad), src/model.cc;
python_backend, README, "Usage" and "Creating Custom Execution Environments".
"""

from __future__ import annotations

import ast
import math
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import Problem
from runtime.triton import model_config, provenance
from runtime.triton.backends import model_file
from runtime.triton.check_config import values
from runtime.triton.findings import problem
from runtime.triton.model_config import FILE, TYPES
from runtime.triton.repository import WARMUP

# Folders of a model that are no versions. Source: core, src/constants.h.
NO_VERSIONS = (WARMUP, "initial_state", "configs")
# A folder in the place of the model's file may hold it. Source: onnxruntime_backend, src/onnxruntime.cc.
INSIDE = {"onnxruntime": "model.onnx"}
ENVIRONMENT, MODEL_FOLDER = "EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY"
AGAIN = "package the model again"


def version_folders(folder: Path) -> list[int]:
    """The versions that a server would see: folders named by a positive whole number."""
    return sorted(
        int(p.name)
        for p in folder.iterdir()
        if p.is_dir() and p.name.isascii() and p.name.isdecimal() and p.name[0] != "0"
    )


def newest(folder: Path) -> Path | None:
    """The folder of the newest version, which the server looks into to guess the backend."""
    versions = version_folders(folder)
    return folder / str(versions[-1]) if versions else None


def file_problems(folder: Path, config: Any, backend: str) -> Iterator[Problem]:
    """Everything that is missing or too short in a model's folder."""
    yield from _versions(folder, config)
    for version in version_folders(folder):
        yield from _model_file(folder / str(version), config, backend)
    for output in config.output:
        if output.label_filename:
            yield from _labels(folder, output)
    for entry in config.model_warmup:
        for name, item in sorted(entry.inputs.items()):
            if item.input_data_file:
                yield from _warmup(folder / WARMUP / item.input_data_file, name, item)
    if ENVIRONMENT in config.parameters and backend == "python":
        yield from _environment(folder, model_config.parameter(config, ENVIRONMENT) or "")


def _versions(folder: Path, config: Any) -> Iterator[Problem]:
    found = version_folders(folder)
    if not found:
        others = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name not in NO_VERSIONS)
        wrong = f"has no version folder (found: {', '.join(others) or 'none'})"
        yield problem(folder, wrong, "name it by a whole number from 1 on, such as 1")
        return
    wanted = config.version_policy.specific.versions
    for version in wanted:
        if version not in found:
            wrong = f"serves version {version} by its version_policy, there is {', '.join(map(str, found))}"
            yield problem(folder / FILE, wrong, "name versions that are there")
    policy = config.version_policy.WhichOneof("policy_choice")
    if policy == "latest" and config.version_policy.latest.num_versions == 0:
        yield problem(folder / FILE, "serves 0 versions by its version_policy", "write num_versions: 1 or more")
    if policy == "specific" and not wanted:
        yield problem(folder / FILE, "serves no version by its version_policy", "name the versions to serve")


def _model_file(version: Path, config: Any, backend: str) -> Iterator[Problem]:
    names = {"": model_file(config, backend), **dict(sorted(config.cc_model_filenames.items()))}
    for capability, name in names.items():
        path = version / name
        if not name:
            continue
        if not path.exists():
            use = f" for compute capability {capability}" if capability else ""
            wrong = f"lacks {name}, which the {backend} backend reads{use}"
            found = ", ".join(sorted(p.name for p in version.iterdir() if p.name != provenance.FILE)[:8])
            yield problem(version, wrong, f"{AGAIN}, or name the file: found {found or 'nothing'}")
        elif path.is_dir() and name != "model.savedmodel" and not (path / INSIDE.get(backend, "")).is_file():
            yield problem(
                path, f"is a folder, which the {backend} backend cannot read", "put the model's file in its place"
            )
        elif path.is_file() and path.stat().st_size == 0:
            yield problem(path, "is empty", AGAIN)
        elif backend == "python" and path.is_file():
            yield from _python(path)


def _python(path: Path) -> Iterator[Problem]:
    """The code is parsed and never run: it is whatever code somebody wrote."""
    try:
        with tokenize.open(path) as file:  # decoded as Python itself does
            tree = ast.parse(file.read(), path.name)
    except (SyntaxError, ValueError) as error:
        place = isinstance(error, SyntaxError) and error.lineno
        line = f"line {place}: {error.msg}" if isinstance(error, SyntaxError) and place else str(error)
        yield problem(path, f"is no Python that compiles ({line})", "correct that line")
        return
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    others = [alias for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for alias in n.names]
    assigned = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if "TritonPythonModel" not in classes:
        named = {alias.asname or alias.name for alias in others} | assigned
        if not named & {"TritonPythonModel", "*"}:
            found = ", ".join(classes) or "none"
            wrong = f"has no class TritonPythonModel (found: {found})"
            yield problem(path, wrong, "name the model's class so")
        return
    body = classes["TritonPythonModel"]
    methods = {node.name for node in body.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    if not body.bases and "execute" not in methods:
        yield problem(path, "has no method execute in TritonPythonModel", "write it; it answers the requests")


def _labels(folder: Path, output: Any) -> Iterator[Problem]:
    path = folder / output.label_filename
    if not path.resolve().is_relative_to(folder.resolve()):
        wrong = f"has the labels file {output.label_filename!r}, which is outside the model's folder"
        yield problem(folder / FILE, wrong, "put it beside config.pbtxt")
        return
    if not path.is_file():
        yield problem(path, f"is the labels file of {output.name!r} and does not exist", "write one label a line")
        return
    try:
        count = len(path.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        yield problem(path, f"is the labels file of {output.name!r} and not UTF-8", "save it as UTF-8")
        return
    size = values(output.dims)
    if size > 0 and count != size:
        yield problem(path, f"has {count} labels, {output.name!r} has {size} values", "write one label for each value")


def _warmup(path: Path, name: str, item: Any) -> Iterator[Problem]:
    if not path.is_file():
        yield problem(path, f"is the warm-up of {name!r} and does not exist", AGAIN)
        return
    tensor = model_config.warmup_tensor(name, item)
    if tensor.dtype not in TYPES or tensor.dtype == "BYTES":
        return
    import numpy as np

    size = np.dtype(TYPES[tensor.dtype].numpy).itemsize * math.prod(tensor.dims)
    if path.stat().st_size != size and size > 0:
        yield problem(path, f"holds {path.stat().st_size} bytes, {tensor.text()} takes {size}", AGAIN)


def _environment(folder: Path, value: str) -> Iterator[Problem]:
    path = Path(value.replace(MODEL_FOLDER, str(folder)))
    if not value or not path.exists():
        todo = f"pack it there, or write {MODEL_FOLDER}/... for one beside the model"
        yield problem(folder / FILE, f"has {ENVIRONMENT} {value!r}, which does not exist", todo)
