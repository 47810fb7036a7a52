"""Models of a native package, answered through the python backend of a server that lacks their own backend."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.triton import model_config
from runtime.triton.backends import backend_of
from runtime.triton.check_ensemble import steps_of
from runtime.triton.check_files import newest
from runtime.triton.repository import FUNCTION, MODEL_FILES, TEMPLATE

if TYPE_CHECKING:
    from runtime.triton.check import Served

FOREST = TEMPLATE.with_name("forest.py")
ONNX, CHECKPOINT = MODEL_FILES["onnxruntime"], MODEL_FILES["fil"]
# Backend -> the file that a twin answers from, and what is then verified of it.
FILES = {
    "onnxruntime": (ONNX, f"the same {ONNX}"),
    "tensorrt": (ONNX, f"the {ONNX} that the engine was built from"),
    "fil": (CHECKPOINT, f"the same {CHECKPOINT}, by Treelite,"),
}
ANSWERS_OTHERWISE = ("predict_proba", "output_class", "threshold")  # settings of FIL that Treelite does not know


def verified(served: Served, lacking: Sequence[str]) -> str | None:
    """What twins would answer from in place of the backends that are lacking; None where a model can have no twin."""
    found = dict[str, None]()
    models = [served]
    for model in models:  # grows
        models += model.members
        if model.backend not in lacking:
            continue
        what = _what(model.folder, model.config, model.backend)
        if what is None:
            return None
        found[what] = None
    return " and ".join(found) + (" of each step that needs it" if served.members else "")


def _what(folder: Path, config: Any, backend: str) -> str | None:
    file, what = FILES.get(backend, ("", ""))
    if backend == "fil" and any(
        model_config.parameter(config, name) not in (None, "", "false") for name in ANSWERS_OTHERWISE
    ):
        return None
    versions = [p for p in folder.iterdir() if p.name.isdecimal()]
    return what if file and versions and all((v / file).is_file() for v in versions) else None


def python_twins(repository: Path, models: Sequence[str], work: Path) -> Path:
    """A repository in `work` with copies of models, same names, same IO; those with a twin run on the python backend.

    With an ensemble come the models that it calls.
    """
    wanted = list(models)
    for name in wanted:  # grows
        twin = work / "twins" / name
        shutil.copytree(repository / name, twin)
        config = model_config.read(twin / model_config.FILE)
        wanted += [member for member in steps_of(config) if member not in wanted]
        backend = backend_of(config, newest(twin))
        if _what(twin, config, backend) is None:
            continue
        config.backend, config.platform = "python", ""
        config.ClearField("optimization")
        del config.instance_group[:]
        config.instance_group.add(kind=2, count=1)  # KIND_CPU
        config.parameters["numpy_below"].string_value = "2"
        model_config.write(config, twin)
        for version in (p for p in twin.iterdir() if p.name.isdecimal()):
            _place(version, backend)
    return work / "twins"


def _place(version: Path, backend: str) -> None:
    if backend == "fil":
        shutil.copyfile(FUNCTION, version / MODEL_FILES["python"])
        shutil.copyfile(FOREST, version / FUNCTION.name)
    else:
        shutil.copyfile(TEMPLATE, version / MODEL_FILES["python"])
