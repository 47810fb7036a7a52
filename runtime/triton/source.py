"""Reading a model folder: which kind it is, what it takes and gives, and how it answers in this process."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.tao.checkpoint import CARD
from runtime.triton.model_config import TYPES, Signature, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.triton.engine_card import Built

PORT = "model"
FEATURES, SAMPLE = "features.json", "sample.parquet"

Arrays = Mapping[str, "NDArray[Any]"]


@dataclass(frozen=True)
class Model:
    """A model that can be packaged.

    Attributes:
        kind: a key of `KINDS`, or what its module says more closely.
        path: the file it was read from.
        signature: what it takes and gives.
        onnx: makes it an ONNX `ModelProto`; None where nothing writes one from it.
        treelite: makes it a Treelite model; None where FIL cannot serve it with the same result.
        predict: answers in this process: input arrays by name to output arrays by name, rows first.
        labels: class names of an output, in order.
        refuse: values that the model itself refuses: `nan`, `inf`.
        features: column names, in order; empty where nobody said.
        backend: the one backend that serves it; empty where there is a choice.
        engine: where a TensorRT engine was built.
        native: the backend of an NGC container that takes the file; empty for onnxruntime, or fil where it can.
    """

    kind: str
    path: Path
    signature: Signature
    onnx: Callable[[], Any] | None
    predict: Callable[[Arrays], dict[str, NDArray[Any]]]
    treelite: Callable[[], Any] | None = None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refuse: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    backend: str = ""
    engine: Built | None = None
    native: str = ""


@dataclass(frozen=True)
class Kind:
    """One kind of model file: how it is recognised, and the module whose `open_file` opens it."""

    suffixes: tuple[str, ...]
    module: str


KINDS = {
    "onnx": Kind((".onnx",), "runtime.triton.kind_onnx"),
    "xgboost": Kind((".ubj", ".json"), "runtime.triton.kind_xgboost"),
    "engine": Kind((".engine", ".plan"), "runtime.triton.kind_engine"),
    "forest": Kind((".tl", ".lgb", ".txt"), "runtime.triton.kind_forest"),
    "torch": Kind((".pt", ".pth", ".ts"), "runtime.triton.kind_torch"),
    "function": Kind((".py",), "runtime.triton.kind_function"),
    "sklearn": Kind((".skops", ".pkl", ".joblib"), "runtime.triton.kind_sklearn"),
}
PICKLES = (".pkl", ".joblib")


def open_model(folder: Path, file: str | None = None, trust_pickle: bool = False, *, loaded: bool = True) -> Model:
    """The model in `folder`; raises `BadInput` when there is none, more than one, or one that cannot be read.

    `loaded`: with False only the graph of an ONNX file is read; the model is loaded when it is first asked something.
    """
    path, kind = find_file(folder, file)
    if path.suffix in PICKLES and not trust_pickle:
        wrong = "is a pickle, which runs whatever code it holds when it is opened"
        raise BadInput.of(PORT, path, wrong, "save the model as .skops, or say trust_pickle=true if you made it")
    if not loaded and kind != "onnx":
        wrong = f"is for ONNX files, and {path.name} is of the kind {kind}"
        raise BadInput.of("proof", "none", wrong, "leave it out")
    module = importlib.import_module(KINDS[kind].module)  # here: each imports its own heavy libraries
    if not loaded:
        graph: Model = module.open_graph(path, feature_names(path.parent))
        return graph
    opener: Callable[[Path, tuple[str, ...], bool], Model] = module.open_file
    return opener(path, feature_names(path.parent), trust_pickle)


def find_file(folder: Path, file: str | None = None) -> tuple[Path, str]:
    """The one model file of a folder and its kind."""
    folder = _named_by_mlflow(_named_by_card(folder)) if file is None else folder
    if folder.is_file():
        folder, file = folder.parent, folder.name
    found = sorted(p for p in folder.iterdir() if p.is_file())
    if file is not None:
        found = [p for p in found if p.name == file]
    models = {path: kind for path in found if (kind := kind_of(path))}
    engines = {path: kind for path, kind in models.items() if kind == "engine"}
    if len(engines) == 1 and set(models.values()) == {"engine", "onnx"}:
        models = engines  # and the ONNX model that it was built from
    if len(models) == 1:
        return next(iter(models.items()))
    if models:
        names = ", ".join(p.name for p in models)
        raise BadInput.of(PORT, folder, f"holds several models: {names}", f"name one: file={next(iter(models)).name}")
    listed = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
    known = "; ".join(f"{name} ({' '.join(kind.suffixes)})" for name, kind in KINDS.items())
    wrong = (
        f"holds no model that is known; found {listed}"
        if file is None
        else f"has no model file {file!r}; found {listed}"
    )
    raise BadInput.of(PORT, folder, wrong, f"known: {known}")


def _named_by_card(folder: Path) -> Path:
    """The model that the card of a TAO step names (runtime/tao/results.py); the folder itself without one."""
    card = folder / CARD
    try:
        named = json.loads(card.read_text(encoding="utf-8")).get("checkpoint")
    except (OSError, ValueError, AttributeError):
        return folder
    return folder / named if named and (folder / named).is_file() else folder


# Which file of a flavour holds the model. Source: mlflow 3.15.0, `save_model` of each flavour.
FLAVORS = {"xgboost": "data", "lightgbm": "data", "sklearn": "pickled_model", "onnx": "data"}


def _named_by_mlflow(folder: Path) -> Path:
    """The file that an `MLmodel` names; the folder itself without one, or where it is there but not ours to open."""
    card = folder / "MLmodel"
    if not folder.is_dir() or not card.is_file():
        return folder
    import yaml

    try:
        flavors = yaml.safe_load(card.read_text(encoding="utf-8"))["flavors"]
        known = {name: flavors[name].get(key) for name, key in FLAVORS.items() if name in flavors}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise BadInput.of(
            PORT, card, f"is not MLflow's description of a model ({error})", "save the model again"
        ) from error
    if not known:
        others = ", ".join(sorted(set(flavors) - {"python_function"})) or "python_function"
        wrong = f"holds a model of the flavour {others}, which is not packaged"
        raise BadInput.of(
            PORT, card, wrong, f"known: {', '.join(FLAVORS)}; or give a folder with the model file itself"
        )
    named = next((folder / value for value in known.values() if value), folder)
    return named if named.is_file() else folder


def kind_of(path: Path) -> str | None:
    """The kind of a file, or None: of some suffixes only what the content says is a model."""
    looks = {".json": _is_xgboost_json, ".txt": _is_lightgbm, ".py": _is_function}.get(path.suffix)
    if looks is not None and not looks(path):
        return None
    return next((name for name, kind in KINDS.items() if path.suffix in kind.suffixes), None)


def _is_xgboost_json(path: Path) -> bool:
    with path.open("rb") as file:
        return re.search(rb'"learner"\s*:\s*\{', file.read(65536)) is not None


def _is_lightgbm(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).startswith((b"tree\n", b"tree\r\n"))


def _is_function(path: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    return re.search(r"^INPUTS\b", text, re.MULTILINE) is not None


def imported(path: Path) -> Any:
    """A user's Python file as a module: it is run, so only where the user trusts it."""
    spec = importlib.util.spec_from_file_location(f"ngcrun_{path.stem}", path)
    assert spec is not None  # noqa: S101 - the path ends in .py
    assert spec.loader is not None  # noqa: S101 - likewise
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declared(path: Path, table: str, rows: object, example: str) -> tuple[Tensor, ...]:
    """Tensors as a user wrote them down: name to Triton's type and dims without the rows (-1: any length).

    Raises:
        BadInput: about `table` of the file `path`, with `example` as what to write.
    """
    if not isinstance(rows, dict) or not rows:
        raise BadInput.of(PORT, path, f"has no table {table}", f"write it as {example}")
    made = []
    for name, row in rows.items():
        try:
            dtype, dims = row
            made.append(Tensor(str(name), TYPES[dtype].triton, tuple(int(d) for d in dims)))
        except (TypeError, ValueError, KeyError) as error:
            wrong = f"says of {name!r} in {table} what is no type and dims: {row!r}"
            raise BadInput.of(PORT, path, wrong, f"write it as {example}; types: {', '.join(TYPES)}") from error
    return tuple(made)


def feature_names(folder: Path) -> tuple[str, ...]:
    """The column names of features.json, in order; empty without the file."""
    path = folder / FEATURES
    if not path.is_file():
        return ()
    try:
        return tuple(str(row["name"]) for row in json.loads(path.read_text(encoding="utf-8"))["features"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput.of(
            PORT, path, f"is not a features file ({error})", 'write {"features": [{"name": ...}]}'
        ) from error


def sample_rows(folder: Path, model: Model) -> dict[str, NDArray[Any]]:
    """Real rows of sample.parquet as the model's input; empty where there is no sample or no table input."""
    path = (folder if folder.is_dir() else folder.parent) / SAMPLE
    if not path.is_file() or len(model.signature.inputs) != 1:
        return {}
    import numpy as np
    import polars as pl

    tensor = model.signature.inputs[0]
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput.of(PORT, path, f"cannot be read ({str(error).splitlines()[0]})", "write it again") from error
    missing = [name for name in model.features if name not in table.columns]
    if missing:
        raise BadInput.of(PORT, path, f"lacks the feature columns {missing}", f"found: {', '.join(table.columns)}")
    rows = table.select(model.features or table.columns).to_numpy().astype(np.float32)
    if tensor.dims and tensor.dims[-1] not in (-1, rows.shape[1]):
        wrong = f"has {rows.shape[1]} columns, the model takes {tensor.dims[-1]}"
        raise BadInput.of(PORT, path, wrong, "the sample must hold the features that the model was trained on")
    return {tensor.name: rows}
