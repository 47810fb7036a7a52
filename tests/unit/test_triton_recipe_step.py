"""The ready-made step `features` of a model of rapids_recipe, without a server: what goes over the wire and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runtime.errors import BadInput
from runtime.execute import main
from runtime.rapids.recipe import recipe
from runtime.triton import model_config, ready_features
from runtime.triton.ensemble_golden import made_up_rows
from runtime.triton.model_config import Plan, Signature, Tensor
from runtime.triton.ready_files import modules_of
from runtime.triton.step_recipe import NO_TIME, column_of, on_the_wire, open_step, type_of

FRAME = pl.DataFrame(
    {
        "at": pl.Series([datetime(2013, 1, 2, 3, 4, 5, 6000), None, datetime(1969, 12, 31)], dtype=pl.Datetime("ms")),
        "km": [1.1, float("inf"), None],
        "short": pl.Series([0.1, None, -3.0], dtype=pl.Float32),
        "whole": pl.Series([2**53 - 1, None, -5], dtype=pl.Int64),
        "byte": pl.Series([255, 0, None], dtype=pl.UInt8),
        "town": ["Åbo", "", "x\0"],
        "paid": [True, False, True],
    }
)
RECIPE = """\
target: {name: km}
features:
  hour: EXTRACT(HOUR FROM at)
  much: CASE WHEN byte IS NULL THEN short ELSE short * byte END
  paid: paid AND town <> ''
  one: "1"
  town: {categories: town}
"""


def settings(folder: Path, frame: pl.DataFrame = FRAME, text: str = RECIPE) -> dict:
    """What features.json says after rapids_recipe, of many of the rows."""
    (folder / "data").mkdir()
    pl.concat([frame] * 20).write_parquet(folder / "data" / "rows.parquet")
    (folder / "recipe.yaml").write_text(text)
    ports = [f"{part}={folder / part}" for part in ("train", "test")]
    assert main(recipe, [f"data={folder / 'data'}", f"recipe={folder / 'recipe.yaml'}", *ports]) == 0
    return json.loads((folder / "train" / "features.json").read_text())


def config_of(features: Path) -> object:
    plan = Plan("m", "onnxruntime", Signature((Tensor("x", "FP32", (5,)),), (), True), 8, "KIND_CPU")
    config = model_config.build(plan)
    for key, value in ready_features.parameters_of(features).items():
        config.parameters[key].string_value = value
    return config


def test_columns_come_back_from_the_wire_as_the_table_has_them():
    for column in FRAME:
        kind = type_of(str(column.dtype))
        assert kind == column.dtype
        sent = on_the_wire(column)
        assert sent.shape == (3, 1)
        assert column_of(column.name, kind, sent.ravel()).equals(column, check_dtypes=True, null_equal=True)
    assert on_the_wire(FRAME["at"])[1, 0] == NO_TIME == np.datetime64("NaT").astype(int)


def test_the_step_makes_what_the_recipe_made(tmp_path):
    content = settings(tmp_path)
    names = [feature["name"] for feature in content["features"]]
    assert sorted(content["column_types"]) == ["at", "byte", "paid", "short", "town"]
    step = open_step({**content, "features": names, "tensor": "x"})
    found = step({name: on_the_wire(FRAME[name]) for name in content["column_types"]})["x"]
    made = [pl.read_parquet(tmp_path / part / "*.parquet") for part in ("train", "test")]
    want = pl.concat(made).sort("row_id").select(names).to_numpy(order="c")
    assert (found.dtype, found.flags.c_contiguous) == (np.float32, True)
    of_two = pl.concat([FRAME] * 20).with_row_index()["index"].filter(pl.concat([FRAME] * 20)["km"].is_finite())
    assert np.array_equal(found[of_two.to_numpy() % 3], want, equal_nan=True)  # no target, no row
    assert found[:, names.index("one")].tolist() == [1, 1, 1]
    unknown = step({name: on_the_wire(FRAME[name].replace("Åbo", "Oslo") if name == "town" else FRAME[name]) for name in content["column_types"]})  # fmt: skip
    assert np.isnan(unknown["x"][0, names.index("town")])


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        (pl.Int64, [1.5], "a holds what is no whole number below"),
        (pl.Int64, [2.0**53], "a holds what is no whole number below"),
        (pl.Int64, [float("inf")], "a holds what is no whole number below"),
        (pl.UInt8, [256.0], "a holds what is no whole number of the type UInt8"),
        (pl.String, [b"\xff"], "a holds what is no text in UTF-8"),
    ],
)
def test_what_a_column_cannot_hold_is_the_clients_mistake(kind, values, told):
    with pytest.raises(ValueError, match=told):
        column_of("a", kind(), np.array(values, dtype=object if kind == pl.String else float))


@pytest.mark.parametrize("values", [["a", None], [True, None]])
def test_a_text_or_a_flag_that_is_missing_does_not_go_over_the_wire(values):
    with pytest.raises(ValueError, match="misses values in a, which B"):
        on_the_wire(pl.Series("a", values))


def test_a_column_that_no_request_carries_is_refused(tmp_path):
    frame = FRAME.with_columns(day=pl.col("at").dt.date().fill_null(date(2013, 1, 1)))
    settings(tmp_path, frame, "target: {name: km}\nfeatures: {day: EXTRACT(DAY FROM day)}\n")
    with pytest.raises(
        BadInput, match="for='day': is a column of the type Date, which no request carries exactly; make"
    ):
        ready_features.features_of(config_of(tmp_path / "train/features.json"), ["day"])


def test_a_feature_that_the_recipe_does_not_make_and_a_recipe_of_no_column_are_refused(tmp_path):
    settings(tmp_path, FRAME, 'target: {name: km}\nfeatures: {one: "1"}\n')
    with pytest.raises(BadInput) as error:
        ready_features.features_of(config_of(tmp_path / "train/features.json"), ["ones"])
    assert "for='ones': is a feature of the model that its recipe does not make; did you mean 'one'?" in str(
        error.value
    )
    assert "for='m': has features of no column" in str(error.value)


def test_a_models_config_says_how_its_features_are_made_where_a_recipe_made_them(tmp_path):
    content = settings(tmp_path)
    made = ready_features.features_of(config_of(tmp_path / "train/features.json"), ["much", "town"])
    assert made.columns == {"at": "INT64", "byte": "FP64", "paid": "BOOL", "short": "FP64", "town": "BYTES"}
    assert made.settings["categories"] == content["categories"]
    (tmp_path / "features.json").write_text('{"features": [{"name": "hour"}]}')
    assert ready_features.parameters_of(tmp_path / "features.json") == {}
    assert ready_features.parameters_of(tmp_path / "none.json") == {}


def test_made_up_rows_hold_each_text_and_are_the_same_each_time(tmp_path):
    content = settings(tmp_path)
    first, second = made_up_rows(content), made_up_rows(content)
    assert {name: array.shape for name, array in first.items()} == dict.fromkeys(content["column_types"], (64, 1))
    assert all(first[name].tolist() == second[name].tolist() or name in {"byte", "short"} for name in first)
    assert set(first["town"].ravel()) == {text.encode() for text in (*content["categories"]["town"], "made up")}
    found = open_step({**content, "features": ["hour", "much", "paid", "one", "town"], "tensor": "x"})(first)["x"]
    assert found.shape == (64, 5)


def test_the_step_takes_no_reader_of_yaml_along():
    assert modules_of("runtime.triton.step_recipe") == [
        "runtime", "runtime.errors", "runtime.rapids", "runtime.rapids.expressions", "runtime.redact", "runtime.triton",
        "runtime.triton.step_recipe",
    ]  # fmt: skip
    code = "import sys, runtime.triton.step_recipe; print('yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
