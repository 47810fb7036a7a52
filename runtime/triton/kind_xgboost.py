"""XGBoost models: trees for FIL, or ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import lean_import
from runtime.triton.source import Arrays, Model
from runtime.triton.table_model import (
    LABEL,
    PROBABILITIES,
    TABLE_INPUT,
    TABLE_OUTPUT,
    agreed_names,
    named,
    table_signature,
    unreadable,
    width_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

MLTOOLS_OPSET = 15  # the newest that onnxmltools 1.16.0 writes


def open_file(path: Path, features: tuple[str, ...], _trust: bool) -> Model:
    """A Booster in .ubj or .json; its trees go to FIL, or through ONNX where it is a classifier."""
    xgboost = lean_import.xgboost()

    booster = xgboost.Booster()
    try:
        booster.load_model(str(path))
    except Exception as error:  # XGBoostError and ValueError; their first line says enough
        raise unreadable(path, error) from error
    count = booster.num_features()
    names = agreed_names(path, features, tuple(booster.feature_names or ()), count)
    booster.feature_names = None  # onnxmltools understands no other names than f0, f1, ...; ours stay in `names`
    classes = _xgboost_classes(booster)
    width = width_of(lambda a: _xgboost_predict(booster, a, classes), count)
    signature, labels = table_signature(count, width, classes)
    return Model(
        "xgboost",
        path,
        signature,
        onnx=lambda: _xgboost_onnx(booster, classes),
        predict=lambda arrays: _xgboost_predict(booster, arrays, classes),
        treelite=None if classes or width > 1 else lambda: _xgboost_treelite(booster),
        labels=labels,
        refuse=("inf",),  # Source: xgboost 3.4.1, "Input data contains `inf`"
        features=names,
    )


def _xgboost_classes(booster: Any) -> tuple[str, ...]:
    import json

    learner = json.loads(booster.save_config())["learner"]
    if not learner["objective"]["name"].startswith(("binary:", "multi:")):
        return ()
    count = int(learner["learner_model_param"]["num_class"])
    return tuple(str(i) for i in range(max(2, count)))


def _xgboost_onnx(booster: Any, classes: tuple[str, ...]) -> Any:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    shape = [(TABLE_INPUT, FloatTensorType([None, booster.num_features()]))]
    return named(convert_xgboost(booster, initial_types=shape, target_opset=MLTOOLS_OPSET), classes)


def _xgboost_treelite(booster: Any) -> Any:
    import treelite

    return treelite.frontend.from_xgboost(booster)


def _xgboost_predict(booster: Any, arrays: Arrays, classes: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    import numpy as np
    import xgboost

    out = np.asarray(booster.predict(xgboost.DMatrix(arrays[TABLE_INPUT])), dtype=np.float32)
    if not classes:
        return {TABLE_OUTPUT: out.reshape(len(out), -1)}
    table = out if out.ndim == 2 else np.stack([1 - out, out], axis=1)
    return {LABEL: table.argmax(axis=1).astype(np.int64), PROBABILITIES: table}
