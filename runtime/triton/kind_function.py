"""A plain Python function, served by the python backend: `predict` in a file that also says what it takes and gives."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.triton.model_config import Signature
from runtime.triton.source import PORT, Arrays, Model, declared, imported

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXAMPLE = 'INPUTS = {"x": ("FP32", [4])}'


def open_file(path: Path, features: tuple[str, ...], trust: bool) -> Model:
    """A file with `INPUTS`, `OUTPUTS` and `predict`; it is read and not run, unless the user trusts it.

    The two tables are literals: a tensor's name to its Triton type and its dims without the rows (-1: any length).
    `BATCHED = False` says that there are no rows.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise BadInput.of(PORT, path, f"is no Python: {error}", "correct it") from error
    said = dict(_literals(tree))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if "predict" not in names:
        raise BadInput.of(PORT, path, "has no function predict(inputs)", "it takes and gives a dict of arrays by name")
    inputs, outputs = (declared(path, table, said.get(table), EXAMPLE) for table in ("INPUTS", "OUTPUTS"))
    signature = Signature(inputs, outputs, bool(said.get("BATCHED", True)))
    predict = _run(path) if trust else _not_run
    return Model("function", path, signature, onnx=None, predict=predict, features=features, backend="python")


def _literals(tree: ast.Module) -> list[tuple[str, Any]]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                found.append((node.targets[0].id, ast.literal_eval(node.value)))
            except ValueError:  # some other value of theirs
                continue
    return found


def _not_run(_arrays: Arrays) -> dict[str, NDArray[Any]]:
    raise RuntimeError("the function is not run here: nobody said trust_pickle=true")


def _run(path: Path) -> Any:
    module = imported(path)
    return lambda arrays: dict(module.predict(dict(arrays)))
