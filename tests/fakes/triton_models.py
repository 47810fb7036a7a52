"""Small real models in the folder layout that rapids_train writes; trained in milliseconds, the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FEATURES = ("distance", "hour", "passengers", "km to JFK")


def rows(count: int = 64, seed: int = 0) -> np.ndarray:
    """Feature rows, (count, 4) float32."""
    return np.random.default_rng(seed).normal(size=(count, len(FEATURES))).astype(np.float32)


def _target(x: np.ndarray) -> np.ndarray:
    return (10 + x @ np.arange(1, x.shape[1] + 1)).astype(np.float32)


def xgboost_model(
    folder: Path, *, name: str = "model.ubj", objective: str = "reg:squarederror", classes: int = 0
) -> None:
    import xgboost

    x = rows(400)
    y = _target(x) if not classes else (np.arange(len(x)) % classes)
    params = {"objective": objective, "max_depth": 3, "seed": 0, "nthread": 1} | (
        {"num_class": classes} if classes > 2 else {}
    )
    booster = xgboost.train(params, xgboost.DMatrix(x, y, feature_names=list(FEATURES)), 8)
    booster.save_model(folder / name)


def sklearn_model(folder: Path, learner: str, *, name: str = "model.skops") -> None:
    import joblib
    import skops.io
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline

    x = rows(400)
    y = np.array(["short", "long"])[(x[:, 0] > 0).astype(int)] if learner == "classifier" else _target(x)
    model = {
        "random_forest": RandomForestRegressor(4, max_depth=5, random_state=0),
        "linear": make_pipeline(SimpleImputer(), LinearRegression()),
        "plain_linear": LinearRegression(),
        "classifier": make_pipeline(SimpleImputer(), LogisticRegression()),
    }[learner].fit(x, y)
    joblib.dump(model, folder / name) if name.endswith((".pkl", ".joblib")) else skops.io.dump(model, folder / name)


def onnx_model(folder: Path, *, batch: int | None = None, width: int = 4, name: str = "model.onnx") -> Path:
    """A graph that sums each row: `x` (batch or any, width) to `total` (batch or any,)."""
    import onnx
    from onnx import TensorProto, helper

    first = "rows" if batch is None else batch
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=0)],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [first, width])],
        [helper.make_tensor_value_info("total", TensorProto.FLOAT, [first])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / name)
    return folder / name


def add_sample(folder: Path, count: int = 64, features: tuple[str, ...] = FEATURES) -> None:
    """features.json and sample.parquet beside the model."""
    import polars as pl

    names = [{"name": name, "dtype": "float32"} for name in features]
    document = {"features": names, "target": {"name": "fare_amount", "unit": "USD"}, "kind": "regression"}
    (folder / "features.json").write_text(json.dumps(document))
    pl.DataFrame(rows(count, seed=1), schema=list(features)).write_parquet(folder / "sample.parquet")


def model_folder(folder: Path, learner: str) -> Path:
    """A whole folder as rapids_train writes it, for `xgboost`, `random_forest`, `linear` or `classifier`."""
    folder.mkdir(parents=True)
    if learner == "xgboost":
        xgboost_model(folder)
    else:
        sklearn_model(folder, learner)
    add_sample(folder)
    return folder
