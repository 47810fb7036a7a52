"""The model folder: an MLflow model with `features.json` and `sample.parquet`, the same bytes for the same model."""

from __future__ import annotations

import io
import json
import re
import uuid
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import lean_import
from runtime.errors import BadInput
from runtime.rapids.features import read_features, write_features
from runtime.rapids.learners import NAMES

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    Array = np.ndarray[Any, Any]
    Predict = Callable[[Array], Array]  # (N, features) float32 to (N,) float32

SAMPLE_ROWS = 256
RECIPE = ("expressions", "categories", "category_columns", "column_types")  # how rapids_recipe made the features
# Types that skops does not load unasked; both are in every forest or imputer that scikit-learn makes. A forest's nodes
# are indices that scikit-learn follows without a check, so load only model folders that you trust.
TRUSTED = ["numpy.dtype", "sklearn.tree._tree.Tree"]
NATIVE = {name: "model.ubj" if name == "xgboost" else "model.skops" for name in NAMES}


def save(folder: Path, model: Any, content: dict[str, Any], sample: pl.DataFrame) -> None:
    """Write the MLflow model, `features.json` and `sample.parquet` (real rows, float32, the features in order).

    Args:
        folder: where to; exists and is empty.
        model: a Booster or a scikit-learn Pipeline.
        content: `features` and `target` as in `features.json`, `learner`, and the `settings` that it was trained with.
        sample: rows of the held-out part.
    """
    features, learner = [feature["name"] for feature in content["features"]], content["learner"]
    with warnings.catch_warnings():
        # mlflow 3.15.0 warns about type hints of its own agents when its pyfunc module is first imported.
        warnings.simplefilter("ignore")
        _save_mlflow(folder, model, learner, features, content["target"]["name"])
    if learner != "xgboost":
        settle_skops(folder / NATIVE[learner])
    _settle_mlmodel(folder, folder / NATIVE[learner])
    made_by: dict[str, Any] = {key: content[key] for key in ("id", *RECIPE) if key in content}
    about: dict[str, Any] = {"learner": learner, "kind": "regression", "settings": content["settings"]} | made_by
    write_features(folder, features, target=content["target"], **about)
    sample.select(features).head(SAMPLE_ROWS).write_parquet(folder / "sample.parquet")


def _save_mlflow(folder: Path, model: Any, learner: str, features: list[str], target: str) -> None:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = Schema([ColSpec("float", name) for name in features])
    # Given, not inferred: inferring the requirements starts a process and takes seconds.
    how: dict[str, Any] = {"signature": ModelSignature(inputs, Schema([ColSpec("float", target)]))}
    if learner == "xgboost":
        import mlflow.xgboost
        import xgboost

        requirements = [f"mlflow-skinny=={mlflow.__version__}", f"xgboost=={xgboost.__version__}"]
        mlflow.xgboost.save_model(model, str(folder), model_format="ubj", pip_requirements=requirements, **how)
        return
    import mlflow.sklearn
    import sklearn
    import skops

    requirements = [f"{name}=={module.__version__}" for name, module in (("scikit-learn", sklearn), ("skops", skops))]
    requirements.insert(0, f"mlflow-skinny=={mlflow.__version__}")
    mlflow.sklearn.save_model(
        model,
        str(folder),
        serialization_format="skops",  # no pickle: loading a pickle runs what it says
        skops_trusted_types=TRUSTED,
        pip_requirements=requirements,
        **how,
    )


def settle_skops(path: Path) -> None:
    """Take out of a skops file what differs from run to run: times, and memory addresses, which name its members."""
    with zipfile.ZipFile(path) as before:
        members = {info.filename: before.read(info) for info in before.infolist()}
    schema = members["schema.json"].decode()
    addresses = dict.fromkeys(re.findall(r'"__id__": (\d+)', schema))
    numbers = {address: str(number) for number, address in enumerate(addresses, start=1)}
    schema = re.sub(r'("__id__": )(\d+)', lambda m: m[1] + numbers[m[2]], schema)
    schema = re.sub(r'("file": ")(\d+)', lambda m: m[1] + numbers[m[2]], schema)
    named = {re.sub(r"^\d+", lambda m: numbers[m[0]], name): data for name, data in members.items()}
    named["schema.json"] = schema.encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after:
        for name in sorted(named):
            after.writestr(zipfile.ZipInfo(name), named[name], zipfile.ZIP_DEFLATED)
    path.write_bytes(out.getvalue())


def _settle_mlmodel(folder: Path, native: Path) -> None:
    """Take the time out of `MLmodel` and make its id follow from the model, so that equal models are equal files."""
    import yaml

    path = folder / "MLmodel"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["utc_time_created"] = "1970-01-01 00:00:00.000000"
    content["model_uuid"] = uuid.uuid5(uuid.NAMESPACE_OID, native.read_bytes().hex()).hex
    content["model_size_bytes"] = native.stat().st_size
    path.write_text(yaml.safe_dump(content, sort_keys=True), encoding="utf-8")


def load(port: str, folder: Path) -> tuple[Predict, dict[str, Any]]:
    """The model as a function of (N, features) float32, NaN for missing, and its `features.json`.

    Raises:
        BadInput: not a folder that rapids_train wrote, or its model file is broken.
    """
    content = read_features(port, folder, "rapids_train")
    learner = content.get("learner")
    if learner not in NATIVE:
        raise BadInput.of(port, folder, f"holds a model of unknown kind {learner!r}", f"known: {', '.join(NATIVE)}")
    path = folder / NATIVE[learner]
    if not path.is_file():
        raise BadInput.of(port, folder, f"holds no {path.name}", "give the output of rapids_train")
    model = _load_booster(port, path) if learner == "xgboost" else _load_pipeline(port, path)
    return model, content


def _load_booster(port: str, path: Path) -> Predict:
    import numpy as np

    xgboost = lean_import.xgboost()

    try:
        booster = xgboost.Booster(model_file=str(path))
    except xgboost.core.XGBoostError as error:
        raise BadInput.of(port, path, "is not a readable XGBoost model", "train it again") from error
    return lambda x: np.asarray(booster.inplace_predict(x, validate_features=False), dtype=np.float32)


def _load_pipeline(port: str, path: Path) -> Predict:
    import numpy as np
    import skops.io

    try:
        pipeline = skops.io.load(path, trusted=TRUSTED)
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
        raise BadInput.of(port, path, "is not a readable scikit-learn model", "train it again") from error
    return lambda x: np.asarray(pipeline.predict(x), dtype=np.float32)
