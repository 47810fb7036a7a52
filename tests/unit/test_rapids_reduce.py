"""Groups and components of rows that are known, kept as a model that needs nothing of ours."""

import importlib.util
import json

import numpy as np
import polars as pl
import pytest
import skops.io

from runtime.execute import main
from runtime.rapids.features import write_features
from runtime.rapids.learners import Neighbours, Task, fit
from runtime.rapids.reduce import reduce

NAMES = ["a", "b", "c"]


@pytest.fixture
def blobs(tmp_path):
    """Three groups far from each other, in two files; some cells are missing."""
    random = np.random.default_rng(0)
    centres = np.array([[0, 0, 0], [20, 0, 5], [0, 20, -5]])
    group = random.integers(0, 3, 600)
    rows = (centres[group] + random.normal(size=(600, 3))).astype(np.float32)
    rows[::50, 2] = np.nan
    folder = tmp_path / "features"
    folder.mkdir()
    table = (
        pl.DataFrame(rows, schema=NAMES)
        .with_columns(pl.all().fill_nan(None))
        .insert_column(0, pl.Series("row_id", range(600)))
    )
    table[:200].write_parquet(folder / "part-00000.parquet")
    table[200:].write_parquet(folder / "part-00001.parquet")
    write_features(folder, NAMES, id="row_id")
    return folder, rows, group


def reduced(tmp_path, folder, *words):
    targets = [f"features={folder}", f"reduced={tmp_path / 'reduced'}", f"model={tmp_path / 'model'}"]
    return main(reduce, [*targets, *words])


def test_groups_are_found_and_the_model_says_the_same_again(blobs, tmp_path):
    folder, rows, group = blobs
    assert reduced(tmp_path, folder, "method=kmeans", "method.clusters=3", "max_rows=100", "engine=cpu") == 0
    table = pl.read_parquet(tmp_path / "reduced" / "part-00000.parquet")
    assert table["row_id"].to_list() == list(range(600))
    pairs = set(zip(group.tolist(), table["cluster"].to_list(), strict=True))
    assert len(pairs) == 3  # each group is one cluster
    model = skops.io.load(tmp_path / "model" / "model.skops", trusted=["numpy.dtype"])
    assert model.predict(rows).tolist() == table["cluster"].to_list()
    about = json.loads((tmp_path / "model" / "reduce.json").read_text())
    assert (about["method"], about["columns"], about["rows_fitted"]) == ("kmeans", ["cluster"], 100)
    assert (tmp_path / "model" / "reduced.png").stat().st_size > 1000


def test_components_are_the_directions_of_most_variance(blobs, tmp_path):
    folder, rows, _ = blobs
    assert reduced(tmp_path, folder, "method=pca", "engine=cpu") == 0
    table = pl.read_parquet(tmp_path / "reduced" / "part-00000.parquet")
    filled = np.where(np.isnan(rows), np.nanmedian(rows, axis=0), rows).astype(np.float64)
    scaled = (filled - filled.mean(axis=0)) / filled.std(axis=0)
    _, sizes, directions = np.linalg.svd(scaled, full_matrices=False)
    for i, name in enumerate(("pca_1", "pca_2")):
        mine, theirs = table[name].to_numpy(), scaled @ directions[i]
        assert np.allclose(mine, theirs * np.sign(mine @ theirs), atol=1e-3)
    figures = json.loads((tmp_path / "model" / "reduce.json").read_text())["figures"]
    assert figures["variance_share"] == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum(), abs=1e-5)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["method=pca", "method.components=4"], "method.components=4: is out of range; give at least 1 and at most 3"),
        (
            ["method=kmeans", "method.clusters=1"],
            "method.clusters=1: is out of range; give at least 2 and at most 10000",
        ),
        (["method=kmeans", "method.clusters=50", "max_rows=20"], "has 20 rows to fit on; give 50 or more"),
    ],
)
def test_what_cannot_be_fitted_is_told(blobs, tmp_path, capsys, words, wrong):
    assert reduced(tmp_path, blobs[0], *words, "engine=cpu") == 2
    assert wrong in capsys.readouterr().err
    assert not (tmp_path / "reduced").exists()


@pytest.mark.skipif(importlib.util.find_spec("umap") is not None, reason="umap-learn is installed")
def test_umap_needs_a_library_and_says_which(blobs, tmp_path, capsys):
    assert reduced(tmp_path, blobs[0], "method=umap", "engine=cpu") == 2
    assert "method='umap': needs a GPU with cuML, or umap-learn; pip install umap-learn" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed: nox -s umap")
@pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning")  # umap-learn's own; Python shows none
def test_a_map_keeps_groups_together_and_is_the_same_again(blobs, tmp_path):
    folder, _, group = blobs
    tables = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert reduced(tmp_path / name, folder, "method=umap", "max_rows=300", "engine=cpu") == 0
        tables.append(pl.read_parquet(tmp_path / name / "reduced" / "part-00000.parquet"))
    assert tables[0].equals(tables[1])
    assert tables[0].columns == ["row_id", "umap_1", "umap_2"]
    places = tables[0].select("umap_1", "umap_2").to_numpy()
    centres = np.stack([places[group == number].mean(axis=0) for number in range(3)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == group).all()
    kept = tmp_path / "one" / "model"
    assert sorted(path.name for path in kept.iterdir()) == ["reduce.json", "reduced.png"]
    assert "a pickle would run code" in json.loads((kept / "reduce.json").read_text())["model"]


def test_neighbours_predict_from_some_of_the_rows_and_know_what_matters():
    random = np.random.default_rng(0)
    x = random.normal(size=(2000, 3)).astype(np.float32)
    y = (3 * x[:, 1]).astype(np.float32)
    task = Task(NAMES, lambda: iter([(x, y)]), None, 0, "cpu", lambda values, step: None)
    found = fit(Neighbours(neighbours=5, max_rows=500), task)
    assert found.model.named_steps["model"].n_samples_fit_ == 500
    assert max(found.importances, key=found.importances.get) == "b"
    assert found.importances["b"] > 0.8
    assert np.corrcoef(found.model.predict(x), y)[0, 1] > 0.95
