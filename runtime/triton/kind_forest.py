"""Forests of other libraries, as trees for FIL: a Treelite checkpoint (cuML writes one) or a LightGBM text model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.triton import checkpoint
from runtime.triton.source import PORT, Arrays, Model
from runtime.triton.table_model import TABLE_INPUT, TABLE_OUTPUT, agreed_names, table_signature, unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Source: treelite 4.8.1, include/treelite/enum/task_type.h: what the trees were trained for.
REGRESSOR = 1


def open_file(path: Path, features: tuple[str, ...], _trust: bool) -> Model:
    """A regression forest; it runs on FIL alone, as neither library writes ONNX from it."""
    import treelite

    try:
        if path.suffix == ".tl":
            checkpoint.features_of(path)  # a damaged one must not keep this process for ever
            forest = treelite.Model.deserialize(str(path))
        else:
            forest = treelite.frontend.load_lightgbm_model(path)
    except Exception as error:  # TreeliteError, whose last line says what is wrong
        raise unreadable(path, error) from error
    header = forest.get_header_accessor()
    if int(header.get_field("task_type")[0]) != REGRESSOR:
        wrong = "is a forest that ranks or classifies, and FIL's answer to it depends on settings that it does not hold"
        raise BadInput.of(PORT, path, wrong, "package the estimator or Booster that it was made from")
    names = agreed_names(path, features, _own_names(path), int(forest.num_feature))
    width = int(header.get_field("num_target")[0])
    signature, _ = table_signature(int(forest.num_feature), width, ())
    return Model(
        "forest",
        path,
        signature,
        onnx=None,
        predict=lambda arrays: predict(forest, arrays),
        treelite=lambda: forest,
        features=names,
    )


def _own_names(path: Path) -> tuple[str, ...]:
    """The columns that a LightGBM model names, unless they are the ones that it makes up itself."""
    if path.suffix == ".tl":
        return ()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("feature_names="):
            names = tuple(line.partition("=")[2].split(" "))
            return () if names == tuple(f"Column_{i}" for i in range(len(names))) else names
    return ()


def predict(forest: Any, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Treelite's own answers on the CPU, (rows, targets) float32."""
    import numpy as np
    import treelite

    rows = np.ascontiguousarray(arrays[TABLE_INPUT], dtype=forest.input_type)
    found = treelite.gtil.predict(forest, rows)
    return {TABLE_OUTPUT: found.astype(np.float32).reshape(len(rows), -1)}
