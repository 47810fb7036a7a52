"""scikit-learn models: ONNX, and a bare regression forest also as trees for FIL."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, summary
from runtime.triton.source import PICKLES, PORT, Arrays, Model
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

OPSET = 17  # gives IR 8, which every onnxruntime since 1.14 reads; skl2onnx's own default is 22 (IR 10)
# What skops does not trust by itself but a plain forest or imputer holds.
SAFE_TYPES = ("numpy.dtype", "sklearn.tree._tree.Tree")


def open_file(path: Path, features: tuple[str, ...], trust: bool) -> Model:
    """An estimator or Pipeline in .skops (or a pickle that the user trusts); a bare forest also goes to FIL."""
    estimator = _load_pickle(path) if path.suffix in PICKLES else _load_skops(path, trust)
    count = getattr(estimator, "n_features_in_", None)
    if count is None or not hasattr(estimator, "predict"):
        raise BadInput.of(
            PORT, path, f"holds a {type(estimator).__name__}, not a fitted estimator", "save a fitted model"
        )
    own = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    names = agreed_names(path, features, own, int(count))
    classes = tuple(str(c) for c in getattr(estimator, "classes_", ()))
    width = width_of(lambda a: _sklearn_predict(estimator, a), int(count))
    numbers = not classes or estimator.classes_.dtype.kind in "iub"
    signature, labels = table_signature(int(count), width, classes, "INT64" if numbers else "BYTES")
    forest = type(estimator).__name__ in ("RandomForestRegressor", "ExtraTreesRegressor") and width == 1
    return Model(
        "sklearn",
        path,
        signature,
        onnx=lambda: _sklearn_onnx(estimator, path, classes),
        predict=lambda arrays: _sklearn_predict(estimator, arrays),
        treelite=(lambda: _sklearn_treelite(estimator)) if forest else None,
        labels=labels,
        refuse=("inf",) if _takes_nan(estimator, int(count)) else ("nan", "inf"),
        features=names,
    )


def _load_skops(path: Path, trust: bool) -> Any:
    from skops import io

    try:
        unknown = io.get_untrusted_types(file=path)
        unsafe = [name for name in unknown if name not in SAFE_TYPES]
        if not unsafe or trust:
            return io.load(path, trusted=unknown)
    except Exception as error:  # zipfile, json and skops each have their own
        raise unreadable(path, error) from error
    todo = "use known scikit-learn types, or say trust_pickle=true if you made the file"
    raise BadInput.of(PORT, path, f"holds types that are not known to be safe: {', '.join(unsafe)}", todo)


def _load_pickle(path: Path) -> Any:
    import joblib  # type: ignore[import-untyped]

    try:
        return joblib.load(path)
    except Exception as error:  # a pickle can raise anything
        raise unreadable(path, error) from error


def _sklearn_onnx(estimator: Any, path: Path, classes: tuple[str, ...]) -> Any:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    options = {"zipmap": False} if classes else None
    shape = [(TABLE_INPUT, FloatTensorType([None, estimator.n_features_in_]))]
    try:
        return named(to_onnx(estimator, initial_types=shape, target_opset=OPSET, options=options), classes)
    except Exception as error:  # skl2onnx raises many kinds for an estimator that it does not know
        raise BadInput.of(
            PORT, path, f"cannot be written as ONNX ({summary(error)})", "use an estimator that skl2onnx supports"
        ) from error


def _sklearn_treelite(estimator: Any) -> Any:
    import treelite

    return treelite.sklearn.import_model(estimator)


def _sklearn_predict(estimator: Any, arrays: Arrays) -> dict[str, NDArray[Any]]:
    import numpy as np

    rows = arrays[TABLE_INPUT]
    with warnings.catch_warnings():
        # Fitted on a table, asked with an array: the order of the columns was checked when the model was opened.
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        if not hasattr(estimator, "classes_"):
            return {TABLE_OUTPUT: np.asarray(estimator.predict(rows), dtype=np.float32).reshape(len(rows), -1)}
        table = np.asarray(estimator.predict_proba(rows), dtype=np.float32)
    classes = np.asarray(estimator.classes_)
    classes = classes.astype(np.int64 if classes.dtype.kind in "iub" else np.object_)
    return {LABEL: classes[table.argmax(axis=1)], PROBABILITIES: table}


def _takes_nan(estimator: Any, count: int) -> bool:
    """Whether the estimator answers a row of missing values; asked of the estimator, which alone knows."""
    import numpy as np

    try:
        _sklearn_predict(estimator, {TABLE_INPUT: np.full((1, count), np.nan, np.float32)})
    except ValueError:
        return False
    return True
