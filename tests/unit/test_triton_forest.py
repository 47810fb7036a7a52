"""Forests of LightGBM and Treelite checkpoints become packages for FIL; MLflow folders are opened by what they name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runtime.execute import main
from runtime.triton import model_config, source
from runtime.triton.check import check_repository
from runtime.triton.package import package
from runtime.triton.repository import read_golden
from tests.fakes import triton_models as models


def run(tmp_path: Path, model: Path, *words: str) -> int:
    targets = [f"repository={tmp_path / 'repo'}", f"golden={tmp_path / 'golden'}"]
    return main(package, [f"model={model}", *targets, *words])


def lightgbm_model(folder: Path, objective: str = "regression", name: str = "model.txt"):
    """A real Booster, saved as LightGBM saves it."""
    try:
        import lightgbm
    except OSError as error:  # its wheel carries no OpenMP, unlike those of XGBoost and scikit-learn
        pytest.skip(f"LightGBM needs a library of the system: {error}; apt-get install libgomp1")
    folder.mkdir(exist_ok=True)
    x = models.rows(400)
    y = (10 + x @ np.arange(1, 5)) if objective == "regression" else (x[:, 0] > 0).astype(int)
    names = [n.replace(" ", "_") for n in models.FEATURES]
    settings = {"objective": objective, "num_leaves": 7, "verbose": -1, "num_threads": 1, "seed": 0}
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y, feature_name=names), 10)
    booster.save_model(folder / name)
    return booster


def checkpoint(folder: Path) -> None:
    import treelite
    from sklearn.ensemble import RandomForestRegressor

    folder.mkdir()
    x = models.rows(400)
    forest = RandomForestRegressor(4, max_depth=5, random_state=0).fit(x, x @ np.arange(1, 5))
    treelite.sklearn.import_model(forest).serialize(str(folder / "forest.tl"))


@pytest.mark.parametrize("name", ["model.txt", "model.lgb"])
def test_a_lightgbm_model_answers_as_the_booster_does(tmp_path, name):
    booster = lightgbm_model(tmp_path / "m", name=name)
    models.add_sample(tmp_path / "m", features=tuple(n.replace(" ", "_") for n in models.FEATURES))
    assert run(tmp_path, tmp_path / "m") == 0
    served = check_repository(tmp_path / "repo")
    assert (served.config.backend, [p.name for p in (served.folder / "1").iterdir() if p.suffix == ".tl"]) == (
        "fil", ["checkpoint.tl"],
    )  # fmt: skip
    golden = read_golden(tmp_path / "golden")
    assert golden.source == "sample"
    assert np.allclose(golden.outputs["output__0"][:, 0], booster.predict(golden.inputs["input__0"]), atol=1e-5)
    assert json.loads(model_config.parameter(served.config, "feature_names"))[3] == "km_to_JFK"


def test_a_treelite_checkpoint_goes_to_fil_whatever_the_server_here_has(tmp_path, capsys):
    checkpoint(tmp_path / "m")
    assert run(tmp_path, tmp_path / "m") == 0
    assert "backend: fil" in capsys.readouterr().out
    assert check_repository(tmp_path / "repo").config.backend == "fil"


def test_a_forest_is_not_served_by_the_python_backend(tmp_path, capsys):
    checkpoint(tmp_path / "m")
    assert run(tmp_path, tmp_path / "m", "backend=python") == 2
    assert (
        "backend='python': runs ONNX, which nothing makes from forest.tl; use backend=native" in capsys.readouterr().err
    )


def test_a_forest_that_classifies_is_refused(tmp_path, capsys):
    lightgbm_model(tmp_path / "m", "binary")
    assert run(tmp_path, tmp_path / "m", "target=ngc") == 2
    assert "is a forest that ranks or classifies" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "content"), [("a.tl", b"no forest"), ("a.txt", b"tree\nversion=v4\nnum_class=")])
def test_a_damaged_forest_is_one_line(tmp_path, capsys, name, content):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / name).write_bytes(content)
    assert run(tmp_path, tmp_path / "m", "target=ngc") == 2
    assert f"{name}' cannot be read" in capsys.readouterr().err.replace(": cannot", " cannot")


def test_any_other_text_is_no_model(tmp_path):
    (tmp_path / "requirements.txt").write_text("treelite\n")
    assert source.kind_of(tmp_path / "requirements.txt") is None


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)  # MLflow's own
@pytest.mark.parametrize(("flavor", "kind"), [("xgboost", "xgboost"), ("sklearn", "sklearn"), ("onnx", "onnx")])
def test_an_mlflow_model_folder_is_opened_by_its_flavour(tmp_path, flavor, kind):
    import mlflow

    made = tmp_path / "made"
    made.mkdir()
    if flavor == "xgboost":
        import xgboost

        x = models.rows(50)
        booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(x, x[:, 0]), 2)
        mlflow.xgboost.save_model(booster, tmp_path / "m")
    elif flavor == "onnx":
        import onnx

        mlflow.onnx.save_model(onnx.load(models.onnx_model(made)), tmp_path / "m", save_as_external_data=False)
    else:
        from sklearn.linear_model import LinearRegression

        x = models.rows(50)
        mlflow.sklearn.save_model(LinearRegression().fit(x, x[:, 0]), tmp_path / "m", serialization_format="pickle")
    path, found = source.find_file(tmp_path / "m")
    assert found == kind, path
    assert source.open_model(tmp_path / "m", trust_pickle=True).kind == kind


def test_a_flavour_that_is_not_packaged_is_named(tmp_path, capsys):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "MLmodel").write_text("flavors:\n  prophet: {data: model.pr}\n  python_function: {}\n")
    assert run(tmp_path, tmp_path / "m", "target=ngc") == 2
    assert "holds a model of the flavour prophet, which is not packaged; known: xgboost" in capsys.readouterr().err
    (tmp_path / "m" / "MLmodel").write_text("flavors: [")
    assert run(tmp_path, tmp_path / "m", "target=ngc") == 2
    assert "is not MLflow's description of a model" in capsys.readouterr().err
