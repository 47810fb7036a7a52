"""The files of a ready-made step: our own modules, copied beside its model.py with all that they import."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import runtime
from runtime.triton import model_config, provenance
from runtime.triton.ready_steps import Ready
from runtime.triton.repository import FUNCTION, MODEL_FILES

ROOT = Path(runtime.__file__).parent
STEP = FUNCTION.with_name("step.py")
SETTINGS = "step.json"


def write_step(repository: Path, step: Ready, source: Path) -> None:
    """Write `<repository>/<name>/{config.pbtxt, 1/...}` for one step; `source` is the file that asked for it."""
    version = repository / step.name / "1"
    version.mkdir(parents=True)
    shutil.copyfile(FUNCTION, version / MODEL_FILES["python"])
    shutil.copyfile(STEP, version / FUNCTION.name)
    (version / SETTINGS).write_text(step.document() + "\n", encoding="utf-8")
    for name in modules_of(step.module):
        target = version / _path_of(name).relative_to(ROOT.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_path_of(name), target)
    model_config.write(step.config, version.parent)
    provenance.write(version, source, model=step.name, kind=step.make, backend="python", step_for=step.model)


def modules_of(name: str) -> list[str]:
    """The module, and all of ours that it imports when it is imported, packages included; sorted."""
    found, left = set[str](), [name]
    while left:
        one = left.pop()
        if one in found:
            continue
        found.add(one)
        left += [one.rpartition(".")[0]] if "." in one else []
        left += _imported(one)
    return sorted(found)


def _imported(name: str) -> Iterator[str]:
    """Our modules that a module imports at its top; what a function or a type checker imports is not needed there."""
    for node in ast.parse(_path_of(name).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == ROOT.name:
            yield node.module
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (module for module in inside if _path_of(module).is_file())


def _path_of(name: str) -> Path:
    path = ROOT.parent.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
