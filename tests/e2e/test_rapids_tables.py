"""Any table: a contract, a recipe and a profile, on real flights and on small tables that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from runtime.execute import main
from runtime.rapids.profile import profile
from runtime.rapids.recipe import recipe
from runtime.rapids.validate import validate
from tests.e2e.test_local_engine import ROOT, ngcrun

FLIGHTS = ROOT / "tests" / "data" / "flights"
CONTRACT = """\
missing: ["", NA]
columns:
  id: {type: whole, nullable: false}
  km: {type: number, minimum: 0}
  town: {type: text}
unique: [id]
"""
RECIPE = """\
target: {name: km}
features: {twice: id * 2, town: {categories: town}}
filters: {far: km > 1}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flights")
    done = ngcrun(folder, "pipeline", str(ROOT / "component_specs" / "pipelines" / "flights.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("runs/flights-*")
    return found


def read(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted(folder.glob("*.parquet")))


def test_flights_become_a_verified_model_without_new_python(run: Path) -> None:
    outputs = run / "outputs"
    score = json.loads((outputs / "score" / "score.json").read_text())
    assert (score["target"], score["unit"]) == ("arr_delay_min", "min")
    assert score["r2"] > 0.75
    about = json.loads((outputs / "model" / "features.json").read_text())
    assert about["target"] == {"name": "arr_delay_min", "unit": "min"}
    assert about["categories"]["origin"] == ["EWR", "JFK", "LGA"]
    assert about["expressions"]["weekday"] == "EXTRACT(DOW FROM time_hour)"
    report = json.loads((outputs / "verification" / "report.json").read_text())
    assert max(answer["max_abs"] for answer in report["answers"]) < 1e-3
    page = (outputs / "profile" / "profile.html").read_text()
    assert "dep_delay" in page
    assert "http" not in page.replace("http-equiv", "")  # it is whole by itself


def test_flights_without_a_tail_number_are_in_quarantine_as_they_were(tmp_path: Path) -> None:
    folder = ROOT / "component_specs" / "pipelines" / "flights"
    words = [f"{name}={tmp_path / name}" for name in ("accepted", "quarantine", "report")]
    assert main(validate, [f"data={FLIGHTS}", f"contract={folder / 'contract.yaml'}", *words]) == 0
    raw = pl.read_csv(FLIGHTS / "flights_2013.csv", infer_schema=False)
    apart = raw.with_row_index("row_id").filter(pl.col("tailnum") == "NA")
    kept, rejected = read(tmp_path / "accepted"), read(tmp_path / "quarantine")
    assert rejected["row_id"].to_list() == apart["row_id"].to_list()
    assert rejected["reason"].unique().to_list() == ["tailnum_missing"]
    assert rejected["dest"].to_list() == apart["dest"].to_list()
    assert kept.height + rejected.height == raw.height == 16839
    told = json.loads((tmp_path / "report" / "validation.json").read_text())
    assert told["rejected"] == {"tailnum_missing": rejected.height}


def small(tmp_path: Path, text: str, **documents: str) -> list[str]:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text(text)
    for name, document in documents.items():
        (tmp_path / f"{name}.yaml").write_text(document)
    return [f"data={tmp_path / 'data'}", *[f"{name}={tmp_path / name}.yaml" for name in documents]]


def validated(tmp_path: Path, text: str, *words: str, contract: str = CONTRACT) -> int:
    outputs = [f"{name}={tmp_path / name}" for name in ("accepted", "quarantine", "report")]
    return main(validate, [*small(tmp_path, text, contract=contract), *outputs, *words])


def test_ragged_and_repeated_rows_are_set_aside(tmp_path: Path) -> None:
    text = "id,km,town\n1,2,Rome\n2,3\n3,4,Bonn\n1,5,Rome\n4,NA,\n"
    assert validated(tmp_path, text, "max_rejected=0.5") == 0
    assert read(tmp_path / "accepted")["id"].to_list() == [1, 3, 4]
    rejected = read(tmp_path / "quarantine")
    assert rejected.select("row_id", "file", "reason").rows() == [(1, "a.csv", "ragged"), (3, "a.csv", "duplicate")]


def test_too_many_rejected_rows_fail_with_an_example(tmp_path: Path, capsys: Any) -> None:
    assert validated(tmp_path, "id,km,town\n1,far,Rome\n2,-1,Bonn\n3,1,\n") == 2
    error = capsys.readouterr().err
    assert (
        "has 2 of 3 rows that break the contract (km_unreadable 1, such as 'far', km_below_minimum 1, such as '-1')"
        in error
    )
    assert not (tmp_path / "accepted").exists()


def test_a_file_without_a_column_is_told(tmp_path: Path, capsys: Any) -> None:
    assert validated(tmp_path, "id,km,twon\n1,2,x\n") == 2
    assert "a.csv': has no column 'town', which the contract names; did you mean 'twon'?" in capsys.readouterr().err


def made(tmp_path: Path, text: str) -> int:
    pl.DataFrame(
        {"id": range(40), "km": [0.5 * n for n in range(40)], "town": ["Rome", "Bonn", None, "Oslo"] * 10}
    ).write_parquet(tmp_path / "table.parquet")
    (tmp_path / "recipe.yaml").write_text(text)
    words = [f"data={tmp_path / 'table.parquet'}", f"recipe={tmp_path / 'recipe.yaml'}"]
    return main(recipe, [*words, "test_share=0.3", f"train={tmp_path / 'train'}", f"test={tmp_path / 'test'}"])


def test_texts_are_numbered_by_the_training_part_and_filtered_rows_are_left_out(tmp_path: Path) -> None:
    assert made(tmp_path, RECIPE) == 0
    both = pl.concat([read(tmp_path / "train"), read(tmp_path / "test")]).sort("row_id")
    assert both.columns == ["row_id", "twice", "town", "km"]
    assert both["row_id"].to_list() == list(range(3, 40))  # 1.5 km and more
    assert both.dtypes[1:] == [pl.Float32] * 3
    towns = json.loads((tmp_path / "train" / "features.json").read_text())["categories"]["town"]
    assert towns == ["Bonn", "Oslo", "Rome"]
    assert both["town"].to_list()[:5] == [1, 2, 0, None, 1]
    assert both["twice"].to_list() == [2 * n for n in both["row_id"]]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("features: {a: id}\n", "target=None: is no target"),
        ("target: {name: km}\n", "features=None: names no feature"),
        ("target: {name: town}\nfeatures: {a: id}\n", "gives String and no number; write {categories: COLUMN}"),
        ("target: {name: km}\nfeatures: {km: id}\n", "is the target; give it another name"),
        ("target: {name: km}\nfeatures: {a: town}\n", "gives String and no number"),
        ("target: {name: km}\nfeatures: {a: {categories: twn}}\n", "is no column of the table; did you mean 'town'?"),
        ("target: {name: km}\nfeatures: {a: {categories: id}}\n", "is Int64 and no text"),
        ("target: {name: km}\nfeatures: {a: id}\nfilters: {f: id + 1}\n", "gives Int64, not yes or no"),
        ("target: {name: km}\nfeatures: {a: id}\nfilters: {f: id < 0}\n", "leaves none of 40 rows (f 40)"),
        ("target: {name: km}\nfeatures: {a: SUM(id)}\n", "recipe.yaml:2: features.a='SUM(id)': is not of each row by itself"),
    ],
)  # fmt: skip
def test_a_recipe_that_is_none_is_told(tmp_path: Path, capsys: Any, text: str, wrong: str) -> None:
    assert made(tmp_path, text) == 2
    assert wrong in capsys.readouterr().err
    assert not (tmp_path / "train").exists()


def test_a_profile_says_what_is_there_and_how_far_it_moved(tmp_path: Path, capsys: Any) -> None:
    taxi = ROOT / "tests" / "data" / "taxi"
    words = [f"data={taxi / 'green_2016.parquet'}", f"reference={taxi / 'yellow_2016.parquet'}"]
    assert main(profile, [*words, f"profile={tmp_path / 'profile'}"]) == 0
    document = json.loads((tmp_path / "profile" / "profile.json").read_text())
    truth = pl.read_parquet(taxi / "green_2016.parquet")
    assert document["rows"] == truth.height
    columns = {column["name"]: column for column in document["columns"]}
    fare = columns["fareAmount"]
    assert fare["figures"]["mean"] == pytest.approx(truth["fareAmount"].mean())
    assert fare["figures"]["p50"] == pytest.approx(truth["fareAmount"].quantile(0.5))
    assert sum(fare["counts"]) == truth.height
    assert columns["puLocationId"]["missing"] == truth["puLocationId"].null_count()
    assert (
        columns["storeAndFwdFlag"]["values"]
        == truth["storeAndFwdFlag"].value_counts(sort=True)["storeAndFwdFlag"].to_list()
    )
    assert set(document["drifted"]) == {"vendorID", "tipAmount"}
    assert (tmp_path / "profile" / "map_pickup.png").stat().st_size > 5000
    page = (tmp_path / "profile" / "profile.html").read_text()
    assert page.count("<svg") > 20
    assert 'alt="rows by place: dropoff"' in page
    assert main(profile, [*words, "on_drift=fail", f"profile={tmp_path / 'again'}"]) == 3
    assert (
        "2 columns have drifted from the reference: tipAmount (PSI 0.23), vendorID (PSI 0.26)"
        in capsys.readouterr().err
    )


def test_a_table_has_not_moved_from_itself(tmp_path: Path) -> None:
    words = [f"data={FLIGHTS}", f"reference={FLIGHTS}", f"profile={tmp_path / 'profile'}"]
    assert main(profile, words) == 0
    drift = json.loads((tmp_path / "profile" / "profile.json").read_text())["drift"]
    assert len(drift) == 19
    assert max(apart["psi"] for apart in drift.values()) == 0
