"""ONNX models of a native package, served by the python backend of a server that lacks onnxruntime."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from runtime.triton import model_config
from runtime.triton.repository import TEMPLATE


def python_twins(repository: Path, models: Sequence[str], work: Path) -> Path:
    """A repository in `work` with copies of ONNX models, same names, same IO, that run on the python backend."""
    for name in models:
        twin = work / "twins" / name
        shutil.copytree(repository / name, twin)
        config = model_config.read(twin / model_config.FILE)
        config.backend, config.platform = "python", ""
        del config.instance_group[:]
        config.instance_group.add(kind=2, count=1)  # KIND_CPU
        config.parameters["numpy_below"].string_value = "2"
        model_config.write(config, twin)
        for version in (p for p in twin.iterdir() if p.name.isdecimal()):
            shutil.copyfile(TEMPLATE, version / "model.py")
    return work / "twins"
