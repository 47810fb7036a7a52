"""ONNX models of a native package, served by the python backend of a server that lacks onnxruntime."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from runtime.triton import model_config
from runtime.triton.backends import backend_of
from runtime.triton.check_ensemble import steps_of
from runtime.triton.check_files import newest
from runtime.triton.repository import TEMPLATE


def python_twins(repository: Path, models: Sequence[str], work: Path) -> Path:
    """A repository in `work` with copies of models, same names, same IO; the ONNX ones run on the python backend.

    With an ensemble come the models that it calls.
    """
    wanted = list(models)
    for name in wanted:  # grows
        twin = work / "twins" / name
        shutil.copytree(repository / name, twin)
        config = model_config.read(twin / model_config.FILE)
        wanted += [member for member in steps_of(config) if member not in wanted]
        if backend_of(config, newest(twin)) != "onnxruntime":
            continue
        config.backend, config.platform = "python", ""
        del config.instance_group[:]
        config.instance_group.add(kind=2, count=1)  # KIND_CPU
        config.parameters["numpy_below"].string_value = "2"
        model_config.write(config, twin)
        for version in (p for p in twin.iterdir() if p.name.isdecimal()):
            shutil.copyfile(TEMPLATE, version / "model.py")
    return work / "twins"
