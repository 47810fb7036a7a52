"""What folders named column=value say of the files in them."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from runtime.rapids.partitions import NO_VALUE, Files, by_folders


def _said(*folders: str) -> dict[str, tuple[str, list[object]]]:
    """The type and the values of each column, for a file in each of these folders."""
    root = Path("table")
    files = [root / folder / "part.parquet" for folder in folders]
    found = by_folders(root, files)
    return {name: (str(kind), [found.values[file][name] for file in files]) for name, kind in found.kinds.items()}


def test_plain_folders_say_nothing() -> None:
    assert _said("", "2016", "a/b", "=x") == {}


def test_numbers_dates_and_texts() -> None:
    assert _said("year=2016/month=01", "year=2017/month=12") == {
        "year": ("Int64", [2016, 2017]),
        "month": ("Int64", [1, 12]),
    }
    assert _said("day=2016-01-31", "day=2016-02-01") == {"day": ("Date", [dt.date(2016, 1, 31), dt.date(2016, 2, 1)])}
    assert _said("zone=1", "zone=JFK") == {"zone": ("String", ["1", "JFK"])}
    assert _said("day=2016-01-31", "day=2016-02-31") == {"day": ("String", ["2016-01-31", "2016-02-31"])}


@pytest.mark.parametrize("text", ["1.5", "1e3", "9" * 19, "+1", " 1"])
def test_what_is_not_plainly_a_whole_number_is_text(text: str) -> None:
    assert _said(f"n={text}", "n=2")["n"][0] == "String"


def test_a_missing_value_an_empty_one_and_an_escaped_one() -> None:
    assert _said(f"n={NO_VALUE}", "n=-3") == {"n": ("Int64", [None, -3])}
    assert _said("zone=New%20York%2FJFK", "zone=", "zone=a=b") == {
        "zone": ("String", ["New York/JFK", "", "a=b"]),
    }
    assert _said(f"n={NO_VALUE}") == {"n": ("String", [None])}


def test_a_file_outside_the_folders_of_the_others_has_none() -> None:
    assert _said("year=2016", "") == {"year": ("Int64", [2016, None])}


def test_the_root_itself_says_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run=3"
    folder.mkdir()
    pl.DataFrame({"a": [1]}).write_parquet(folder / "t.parquet")
    assert not by_folders(folder, [folder / "t.parquet"]).kinds
    assert not by_folders(folder / "t.parquet", [folder / "t.parquet"]).kinds


def test_the_files_are_scanned_in_order_with_their_columns_and_their_numbers(tmp_path: Path) -> None:
    values = {}
    for number, year in enumerate((2016, 2016, 2017, 2016)):
        file = tmp_path / f"{number}.parquet"
        pl.DataFrame({"a": [number * 10, number * 10 + 1], "year": [0, 0]}).write_parquet(file)
        values[file] = {"year": year}
    found = Files(list(values), {"year": pl.Int32}, values)
    table = found.scan("row").collect()
    assert table.schema["year"] == pl.Int32
    assert table["year"].to_list() == [2016] * 4 + [2017] * 2 + [2016] * 2
    assert table["a"].to_list() == [0, 1, 10, 11, 20, 21, 30, 31]
    assert table["row"].to_list() == list(range(8))
    assert found.scan().filter(pl.col("year") == 2017).select("a").collect()["a"].to_list() == [20, 21]


def test_rows_that_are_marked_as_deleted_do_not_count(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.parquet" for number in range(3)]
    for number, file in enumerate(files):
        pl.DataFrame({"a": [number * 10, number * 10 + 1, number * 10 + 2]}).write_parquet(file)
    found = Files(files, deleted={files[1]: pl.Series([0, 2], dtype=pl.UInt32)})
    table = found.scan("row").collect()
    assert table.columns == ["row", "a"]
    assert table["a"].to_list() == [0, 1, 2, 11, 20, 21, 22]
    assert table["row"].to_list() == list(range(7))
    alone = found.beside(files[1]).scan(files[1], "place").collect()
    assert alone.rows() == [(1, 11)]
