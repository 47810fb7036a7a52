"""The model kinds: opening each, its signature, its ONNX and Treelite forms, and its answer in this process."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.triton.model_config import TYPES, Signature, Tensor
from runtime.triton.source import PICKLES, PORT, TABLE_INPUT, TABLE_OUTPUT, Arrays, Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

MLTOOLS_OPSET = 15  # the newest that onnxmltools 1.16.0 writes
OPSET = 17  # gives IR 8, which every onnxruntime since 1.14 reads; skl2onnx's own default is 22 (IR 10)
LABEL, PROBABILITIES = "label", "probabilities"
# What skops does not trust by itself but a plain forest or imputer holds; none of these runs code when it is loaded.
SAFE_TYPES = ("numpy.dtype", "sklearn.tree._tree.Tree")


def _unreadable(path: Path, error: BaseException) -> BadInput:
    first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return BadInput.of(PORT, path, f"cannot be read ({first})", "the file may be cut short; write it again")


# --- ONNX ---------------------------------------------------------------------------------------------------------


def open_onnx(path: Path, features: tuple[str, ...], _trust: bool) -> Model:
    """An ONNX file as it is; names, types and dims come from its graph."""
    import onnx

    try:
        proto = onnx.load(str(path))
        onnx.checker.check_model(str(path))
        session = onnx_session(path)
    except Exception as error:  # protobuf, onnx and onnxruntime each have their own
        raise _unreadable(path, error) from error
    return Model("onnx", path, onnx_signature(proto, path), lambda: proto, _runner(session), features=features)


def onnx_session(model: Path | bytes) -> Any:
    """An onnxruntime session on one CPU thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _runner(session: Any) -> Any:
    names = [output.name for output in session.get_outputs()]
    return lambda arrays: dict(zip(names, session.run(names, dict(arrays)), strict=True))


def onnx_signature(proto: Any, path: Path) -> Signature:
    """Inputs and outputs of an ONNX graph. It is batched when the first dimension of every tensor is free.

    Raises:
        BadInput: for a tensor that Triton has no type for (a sequence, a map), all of them at once.
    """
    weights = {w.name for w in proto.graph.initializer}
    inputs = [v for v in proto.graph.input if v.name not in weights]
    bad = [f"{v.name!r} is a {v.type.WhichOneof('value')}" for v in [*inputs, *proto.graph.output] if _dtype(v) is None]
    if bad:
        todo = "export tensors only; for a scikit-learn classifier use zipmap=False"
        raise BadInput.of(PORT, path, f"has values that Triton cannot pass: {', '.join(bad)}", todo)
    shapes = {id(v): _dims(v) for v in [*inputs, *proto.graph.output]}
    # An output without a known shape goes along with the inputs; one with a fixed first dimension rules batches out.
    known = [s for s in shapes.values() if s is not None]
    batched = bool(inputs) and all(shapes[id(v)] for v in inputs) and all(s and s[0] == -1 for s in known)

    def tensor(value: Any) -> Tensor:
        dims = shapes[id(value)] or (-1,)
        return Tensor(value.name, _dtype(value) or "", dims[1:] if batched else dims)

    return Signature(tuple(map(tensor, inputs)), tuple(map(tensor, proto.graph.output)), batched)


def _dtype(value: Any) -> str | None:
    number = value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else 0
    return next((row.triton for row in TYPES.values() if row.onnx == number), None)


def _dims(value: Any) -> tuple[int, ...] | None:
    shape = value.type.tensor_type
    if not shape.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in shape.shape.dim)


# --- XGBoost ------------------------------------------------------------------------------------------------------


def open_xgboost(path: Path, features: tuple[str, ...], _trust: bool) -> Model:
    """A Booster in .ubj or .json; its trees go to FIL, or through ONNX where it is a classifier."""
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(str(path))
    except Exception as error:  # XGBoostError and ValueError; their first line says enough
        raise _unreadable(path, error) from error
    count = booster.num_features()
    names = _agreed_names(path, features, tuple(booster.feature_names or ()), count)
    booster.feature_names = None  # onnxmltools understands no other names than f0, f1, ...; ours stay in `names`
    classes = _xgboost_classes(booster)
    width = _width(lambda a: _xgboost_predict(booster, a, classes), count)
    signature, labels = _table_signature(count, width, classes)
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


def _agreed_names(path: Path, said: tuple[str, ...], own: tuple[str, ...], count: int) -> tuple[str, ...]:
    names = said or own
    if names and len(names) != count:
        wrong = f"takes {count} features, features.json names {len(names)}"
        raise BadInput.of(PORT, path, wrong, "the two must be of the same training run")
    if own and said and own != said:
        wrong = "was trained on other feature names, or in another order, than features.json says"
        raise BadInput.of(PORT, path, wrong, f"the model has: {', '.join(own)}")
    return names


def _xgboost_classes(booster: Any) -> tuple[str, ...]:
    import json

    learner = json.loads(booster.save_config())["learner"]
    if not learner["objective"]["name"].startswith(("binary:", "multi:")):
        return ()
    count = int(learner["learner_model_param"]["num_class"])
    return tuple(str(i) for i in range(max(2, count)))


def _width(predict: Any, count: int) -> int:
    """How many numbers the model gives for one row; asked of the model, as each kind hides it elsewhere."""
    import numpy as np

    first = next(iter(predict({TABLE_INPUT: np.zeros((1, count), np.float32)}).values()))
    return int(first.size)


def _table_signature(
    count: int, width: int, classes: tuple[str, ...], label: str = "INT64"
) -> tuple[Signature, dict[str, tuple[str, ...]]]:
    """A table model: (rows, features) float32 in; numbers of each row out, or a label and probabilities."""
    inputs = (Tensor(TABLE_INPUT, "FP32", (count,)),)
    if not classes:
        return Signature(inputs, (Tensor(TABLE_OUTPUT, "FP32", (width,)),), True), {}
    outputs = (Tensor(LABEL, label, ()), Tensor(PROBABILITIES, "FP32", (len(classes),)))
    return Signature(inputs, outputs, True), {PROBABILITIES: classes}


def _xgboost_onnx(booster: Any, classes: tuple[str, ...]) -> Any:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    shape = [(TABLE_INPUT, FloatTensorType([None, booster.num_features()]))]
    return _named(convert_xgboost(booster, initial_types=shape, target_opset=MLTOOLS_OPSET), classes)


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


def _named(proto: Any, classes: tuple[str, ...]) -> Any:
    """The graph with our names for its outputs, which the converters choose freely; checked."""
    import onnx

    wanted = [LABEL, PROBABILITIES] if classes else [TABLE_OUTPUT]
    new = dict(zip([o.name for o in proto.graph.output], wanted, strict=True))
    for node in proto.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for output in proto.graph.output:
        output.name = new[output.name]
    onnx.checker.check_model(proto)
    return proto


# --- scikit-learn -------------------------------------------------------------------------------------------------


def open_sklearn(path: Path, features: tuple[str, ...], trust: bool) -> Model:
    """An estimator or Pipeline in .skops (or a pickle that the user trusts); a bare forest also goes to FIL."""
    estimator = _load_pickle(path) if path.suffix in PICKLES else _load_skops(path, trust)
    count = getattr(estimator, "n_features_in_", None)
    if count is None or not hasattr(estimator, "predict"):
        raise BadInput.of(
            PORT, path, f"holds a {type(estimator).__name__}, not a fitted estimator", "save a fitted model"
        )
    own = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    names = _agreed_names(path, features, own, int(count))
    classes = tuple(str(c) for c in getattr(estimator, "classes_", ()))
    width = _width(lambda a: _sklearn_predict(estimator, a), int(count))
    numbers = not classes or estimator.classes_.dtype.kind in "iub"
    signature, labels = _table_signature(int(count), width, classes, "INT64" if numbers else "BYTES")
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
        raise _unreadable(path, error) from error
    todo = "use known scikit-learn types, or say trust_pickle=true if you made the file"
    raise BadInput.of(PORT, path, f"holds types that are not known to be safe: {', '.join(unsafe)}", todo)


def _load_pickle(path: Path) -> Any:
    import joblib  # type: ignore[import-untyped]

    try:
        return joblib.load(path)
    except Exception as error:  # a pickle can raise anything
        raise _unreadable(path, error) from error


def _sklearn_onnx(estimator: Any, path: Path, classes: tuple[str, ...]) -> Any:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    options = {"zipmap": False} if classes else None
    shape = [(TABLE_INPUT, FloatTensorType([None, estimator.n_features_in_]))]
    try:
        return _named(to_onnx(estimator, initial_types=shape, target_opset=OPSET, options=options), classes)
    except Exception as error:  # skl2onnx raises many kinds for an estimator that it does not know
        first = str(error).strip().splitlines()[0][:200]
        raise BadInput.of(
            PORT, path, f"cannot be written as ONNX ({first})", "use an estimator that skl2onnx supports"
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
