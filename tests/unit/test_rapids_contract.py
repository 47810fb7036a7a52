"""A contract as it is read, and what it makes of cells."""

import math

import polars as pl
import pytest

from runtime.errors import BadInput
from runtime.rapids import contract
from runtime.rapids.profiling import compare, places


def read(tmp_path, text):
    path = tmp_path / "contract.yaml"
    path.write_text(text)
    return contract.read(path)


def rejected(found, table):
    """The reason of each row, or None, and the typed table."""
    query = contract.opened(found, table.lazy(), table.schema)
    reason = pl.lit(None, dtype=pl.String)
    for name, test in reversed(contract.tests(found).items()):
        reason = pl.when(test).then(pl.lit(name)).otherwise(reason)
    made = query.with_columns(reason.alias("reason")).collect()
    return made["reason"].to_list(), made


def test_each_rule_of_a_column(tmp_path):
    found = read(
        tmp_path,
        """
missing: ["", NA]
columns:
  n: {type: number, minimum: 0, maximum: 10}
  w: {type: whole, nullable: false, values: [1, 2]}
  s: {type: text, pattern: "^[a-z]+$", source: "Some text"}
  t: {type: time, format: "%d.%m.%Y"}
  f: {type: flag}
rules: {n_below_w: "n <= w"}
""",
    )
    rows = {
        None: (" 1 ", "1", "ab", "31.12.2013", "Yes"),
        "n_unreadable": ("one", "1", "ab", "31.12.2013", "no"),
        "n_below_minimum": ("-0.5", "1", "ab", "31.12.2013", "0"),
        "n_above_maximum": ("11", "1", "ab", "31.12.2013", "f"),
        "w_missing": ("1", "NA", "ab", "31.12.2013", "f"),
        "w_unreadable": ("1", "1.5", "ab", "31.12.2013", "f"),
        "w_not_in_values": ("1", "3", "ab", "31.12.2013", "f"),
        "s_not_in_pattern": ("1", "1", "AB", "31.12.2013", "f"),
        "t_unreadable": ("1", "1", "ab", "2013-12-31", "f"),
        "f_unreadable": ("1", "1", "ab", "31.12.2013", "perhaps"),
        "rule_n_below_w": ("2", "1", "ab", "31.12.2013", "f"),
    }
    names = ("n", "w", "Some text", "t", "f")
    table = pl.DataFrame([dict(zip(names, row, strict=True)) for row in rows.values()])
    reasons, made = rejected(found, table)
    assert reasons == list(rows)
    assert made.select("n", "w", "s", "f").row(0) == (1.0, 1, "ab", True)
    assert made["t"].dtype == pl.Datetime("us")


def test_missing_cells_break_no_rule_but_that_they_must_be_there(tmp_path):
    found = read(tmp_path, "columns: {n: {type: number, minimum: 0}}\nmissing: [NA]\nrules:\n  even: MOD(n, 2) = 0\n")
    assert rejected(found, pl.DataFrame({"n": ["NA", "2", "3"]}))[0] == [None, None, "rule_even"]


def test_typed_columns_are_taken_as_they_are_and_nan_is_missing(tmp_path):
    found = read(tmp_path, "columns: {n: {type: number}, w: {type: whole}}\n")
    table = pl.DataFrame({"n": [1, 2, None], "w": [1.0, math.nan, 1.5]})
    reasons, made = rejected(found, table)
    assert reasons == [None, None, "w_unreadable"]
    assert made["w"].to_list() == [1, None, None]
    large = pl.DataFrame({"n": [0], "w": [2**53 + 1]})  # no float64 holds it
    assert rejected(found, large)[1]["w"].to_list() == [2**53 + 1]


def test_all_mistakes_are_told_with_their_lines(tmp_path):
    text = """\
colums: {}
columns:
  a: {type: numbr}
  b: {type: text, minimum: 3}
  c: {type: number, minimum: low, patern: x}
  d: {type: text, pattern: "("}
  row_id: {type: whole}
"""
    with pytest.raises(BadInput) as error:
        read(tmp_path, text)
    told = str(error.value).splitlines()
    wanted = [
        (1, "is no part of a contract; did you mean 'columns'?"),
        (3, "is no type of a column; write {type: number|whole|text|time|flag}"),
        (4, "says nothing of a column of the type text; it is for number, whole"),
        (5, "is no float"),
        (5, "is no rule for a column; did you mean 'pattern'?"),
        (6, "is no regular expression"),
        (7, "is the number that each row gets"),
    ]
    assert len(told) == len(wanted)
    for line, (number, text) in zip(told, wanted, strict=True):
        assert f"contract.yaml:{number}: " in line
        assert text in line


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("columns: {a: {type: number}}\nrules: {r: a + 1}\n", "contract.yaml:2: rules.r='a + 1': gives Float64, not yes or no"),
        ("columns: {a: {type: number}}\nrules: {r: b > 1}\n", 'unable to find column "b"; the columns are a'),
        ("columns: {a: {type: number}}\nunique: [b]\n", "is no column of the contract"),
        ("columns: {a: {type: number}}\nunique: a\n", "is no list"),
        ("rules: {}\n", "names no column"),
    ],
)  # fmt: skip
def test_a_rule_that_is_none_is_told(tmp_path, text, wrong):
    with pytest.raises(BadInput) as error:
        read(tmp_path, text)
    assert wrong in str(error.value)


def test_how_far_two_histograms_lie_apart():
    same = compare([10, 20, 30, 5], [20, 40, 60, 10], ordered=True)
    assert (same.psi, same.ks, same.missing) == pytest.approx((0, 0, 0))
    moved = compare([50, 50, 0], [20, 60, 20], ordered=True)
    a, b = (0.5, 0.5, 1e-4), (0.2, 0.6, 0.2)
    assert moved.psi == pytest.approx(sum((y - x) * math.log(y / x) for x, y in zip(a, b, strict=True)))
    assert (moved.ks, moved.missing) == pytest.approx((0.25, 0.2))  # 50 of 100 against 20 of 80 below the edge
    assert math.isnan(compare([1, 0], [1, 0], ordered=False).ks)


def test_places_are_found_by_their_names():
    names = ["pickup_lon", "pickup_lat", "dropoffLongitude", "dropoffLatitude", "lon", "lat", "colon", "x"]
    assert places(names) == {
        "pickup": ("pickup_lon", "pickup_lat"), "dropoff": ("dropoffLongitude", "dropoffLatitude"),
        "places": ("lon", "lat"),
    }  # fmt: skip
