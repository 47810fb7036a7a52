"""engine=duckdb-check: what Polars wrote, computed again in SQL; and that a wrong query does not get past it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from runtime.errors import ToolFailed
from runtime.metrics import Memory, Metrics
from runtime.rapids import csv_files, duckdb_check, tables
from runtime.rapids.features import NO_LIMITS, Limits
from runtime.rapids.prepare import prepare
from runtime.rapids.schemas import Columns, Recognised, recognise
from runtime.rapids.transform import transform

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from rapids_support import CSV, TAXI, logged, run, table

AT = "%Y-%m-%d %H:%M:%S"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("checked") / "prepared"
    assert run(prepare, trips=TAXI / "yellow_2016.parquet", prepared=out) == 0
    return out


@pytest.fixture(scope="module")
def transformed(prepared, tmp_path_factory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("transformed")
    assert run(transform, prepared=prepared, train=folder / "train", test=folder / "test", seed=3) == 0
    features = json.loads((folder / "train" / "features.json").read_text())["features"]
    return folder, [feature["name"] for feature in features]


def recognised(path: Path, separator: str = ",") -> tuple[tables.RawTable, Recognised]:
    (raw,) = tables.open_raw("trips", path, separator)
    schema = recognise(list(raw.header), Columns())
    assert isinstance(schema, Recognised)
    return raw, schema


def compared(sql: str, written: Path) -> dict[str, float]:
    memory = Memory()
    metrics = Metrics([memory])
    duckdb_check.compare(sql, written, metrics)
    metrics.close()
    return memory.latest()


def test_both_steps_pass_on_real_trips_of_both_kinds_of_file(tmp_path, monkeypatch):
    trips = tmp_path / "trips"
    trips.mkdir()
    for name in ("green_2016.csv", "tlc_snake_2019.csv", "tlc_yellow_2022.csv"):
        (trips / name).write_bytes((CSV / name).read_bytes())
    (trips / "yellow.parquet").write_bytes((TAXI / "yellow_2016.parquet").read_bytes())
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "prepare.jsonl"))
    at = {name: tmp_path / name for name in ("prepared", "train", "test")}
    assert run(prepare, trips=trips, prepared=at["prepared"], engine="duckdb-check") == 0
    found = logged(tmp_path / "prepare.jsonl")
    assert found["duckdb_rows_compared"] == found["rows_kept"] == table(at["prepared"]).height > 5_000
    assert logged(tmp_path / "prepare.jsonl", "tag")["engine"] == "cpu"
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "transform.jsonl"))
    assert run(transform, prepared=at["prepared"], train=at["train"], test=at["test"], engine="duckdb-check") == 0
    found = logged(tmp_path / "transform.jsonl")
    assert found["duckdb_rows_compared"] == found["rows_kept"] == sum(table(at[n]).height for n in ("train", "test"))


ODD = [
    "ten",
    " 7.5",
    "7.5 ",
    "\t8",
    "  ",
    "1.0",
    "2147483648",
    "1_0",
    "1e1",
    "inf",
    "nan",
    "",
    "-3",
    "+4",
    "1.5.2",
    "0x10",
    '"8.5"',
]
NO_COUNT = {" 7.5", "7.5 ", "2147483648"}
LATE = ["2016-13-01 00:00:00", " 2016-01-05 15:44:31", "2016-01-05 15:44:31 ", "16-01-05 15:44:31", ""]


@pytest.mark.parametrize("quotes", [False, True])
def test_both_engines_take_the_same_cells_for_unreadable(quotes, tmp_path):
    lines = (CSV / "yellow_2016.csv").read_text().splitlines()
    places = {name: lines[0].split(",").index(name) for name in ("fareAmount", "passengerCount", "tpepPickupDateTime")}
    odd = [(name, cell) for name in ("fareAmount", "passengerCount") for cell in ODD if quotes or '"' not in cell]
    odd += [("tpepPickupDateTime", cell) for cell in LATE]
    for line, (name, cell) in enumerate(odd, start=5):
        cells = lines[line].split(",")
        cells[places[name]] = cell
        lines[line] = ",".join(cells)
    if not quotes:
        lines[2:2] = ["", "1,2", lines[3] + ",9"]
    path = tmp_path / "trips.csv"
    path.write_text("\r\n".join(lines) + "\r\n")
    out = tmp_path / "prepared"
    assert run(prepare, trips=path, prepared=out, engine="duckdb-check", max_unreadable="1") == 0
    assert len(lines) - 1 - 40 < table(out).height < len(lines) - 1


def test_a_cell_is_worth_the_same_whether_it_is_parsed_by_the_reader_or_taken_as_text(tmp_path):
    good = (CSV / "yellow_2016.csv").read_text().splitlines()[:40]
    late = good[5].replace(good[5].split(",")[1], "never")  # a bad time takes the whole file to be text
    odd = [(c, cell) for c in ("fareAmount", "passengerCount", "totalAmount") for cell in ODD if '"' not in cell]
    for number, (column, cell) in enumerate(odd):
        cells = good[30].split(",")
        cells[good[0].split(",").index(column)] = cell
        for name, last in (("parsed", []), ("text", [late])):
            path = tmp_path / name / f"{number:03d}.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join([*good[:30], ",".join(cells), *good[31:], *last]) + "\n")
    rows = {}
    for name in ("parsed", "text"):
        out = tmp_path / f"{name}-prepared"
        assert run(prepare, trips=tmp_path / name, prepared=out, engine="cpu", max_unreadable="1") == 0
        rows[name] = table(out)
    never = {"ten", "1_0", "1.5.2", "0x10"}  # a number of whatever kind
    bad = [cell for column, cell in odd if cell in never | (NO_COUNT if column == "passengerCount" else set())]
    assert rows["parsed"].height == 39 * len(odd) - len(bad)
    assert rows["parsed"].equals(rows["text"])


def test_ragged_rows_are_dropped_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "FIRST_BYTES", 2500)  # so that line 39 comes as a surprise
    good = (CSV / "yellow_2016.csv").read_text().splitlines()[:41]
    uneven = "{cut}\n{},9"  # as many cells too few as too many
    rows = ["", "1,2", "1.5,late", "{},9", "{cut}", uneven, f"late{{}}\n{uneven}"]
    for place in (10, 39):
        for number, row in enumerate(rows):
            bad = row.replace("{cut}", good[place].rpartition(",")[0]).replace("{}", good[place])
            path = tmp_path / "trips" / f"{place}-{number}.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join([*good[:place], bad, *good[place:]]) + "\n")
    out = tmp_path / "prepared"
    assert run(prepare, trips=tmp_path / "trips", prepared=out, engine="duckdb-check", max_unreadable="1") == 0
    assert table(out).height == 40 * 2 * len(rows)


def test_quotes_and_ragged_rows_in_one_file_are_too_much_for_the_check(tmp_path, capsys):
    text = (CSV / "yellow_2016.csv").read_text()
    path = tmp_path / "trips.csv"
    path.write_text(text.replace(",10.5,", ',"10.5",') + "1,2\n")
    assert run(prepare, trips=path, prepared=tmp_path / "prepared", engine="duckdb-check") == 2
    assert (
        "it has quotes, and rows with more or fewer cells than its header; repair the file, or"
        in capsys.readouterr().err
    )


def test_a_value_that_the_query_got_wrong_is_named_with_its_row_and_column(prepared, tmp_path):
    good = table(prepared)
    row = good.height - 7
    wrong = good.with_columns(
        fare_usd=pl.when(pl.col("trip_id") == good["trip_id"][row]).then(99.25).otherwise("fare_usd")
    )
    path = tmp_path / "part-00000.parquet"
    wrong.write_parquet(path, row_group_size=1000)
    sql = duckdb_check.prepared_sql(0, *recognised(TAXI / "yellow_2016.parquet"), AT)
    assert compared(sql, prepared / path.name)["duckdb_rows_compared"] == good.height
    with pytest.raises(ToolFailed) as caught:
        compared(sql, path)
    assert caught.value.lines("rapids_prepare") == [
        f"rapids_prepare: engine='duckdb-check': part-00000.parquet, row {row} (trip_id {good['trip_id'][row]}), column fare_usd: "
        f"99.25 was written, DuckDB computes {good['fare_usd'][row]!r}; do not use this output; report it, with the row of the input"
    ]


@pytest.mark.parametrize(
    ("alters", "text"),
    [
        (lambda t: t.with_columns(haversine_km=pl.col("haversine_km") * 1.0001), r", column haversine_km: "),
        (lambda t: t.with_columns(weekday=pl.col("weekday") - 1), r"row 0 \(trip_id \d+\), column weekday: "),
        (lambda t: t[1:], r"row 0 \(trip_id \d+\), column trip_id: \d+ was written, DuckDB computes 0;"),
        (lambda t: t[:-1], r"row (\d+): DuckDB has one more row than the \1 that were written;"),
        (lambda t: pl.concat([t, t[-1:]]), r"row (\d+): it was written, and DuckDB has only \1 rows;"),
        (
            lambda t: t.with_columns(pl.col("fare_usd").cast(pl.Float64)),
            "column fare_usd is Float64, DuckDB computes Float32;",
        ),
        (
            lambda t: t.with_columns(hour=pl.when(pl.col("hour") > 22).then(None).otherwise("hour")),
            "column hour: None was",
        ),
    ],
)
def test_a_wrong_query_of_transform_is_caught(alters, text, transformed, prepared, tmp_path):
    folder, names = transformed
    sql = duckdb_check.transformed_sql(sorted(prepared.glob("*.parquet")), Limits(), names, (0.2, 3), held=False)
    good = table(folder / "train")
    assert compared(sql, folder / "train" / "part-00000.parquet")["duckdb_rows_compared"] == good.height
    alters(good).write_parquet(tmp_path / "part-00000.parquet")
    with pytest.raises(ToolFailed, match=text):
        compared(sql, tmp_path / "part-00000.parquet")


@pytest.mark.parametrize(
    "change", [{"limits": NO_LIMITS}, {"limits": Limits(max_duration_min=20.0)}, {"share": 0.25}, {"seed": 4}]
)
def test_each_setting_of_transform_reaches_the_sql(change, transformed, prepared):
    folder, names = transformed
    settings = {"limits": Limits(), "share": 0.2, "seed": 3} | change
    files, split = sorted(prepared.glob("*.parquet")), (settings["share"], settings["seed"])
    sql = duckdb_check.transformed_sql(files, settings["limits"], names, split, held=True)
    with pytest.raises(ToolFailed, match=r"part-00000.parquet, row \d+"):
        compared(sql, folder / "test" / "part-00000.parquet")


def test_limits_none_keeps_the_same_trips_in_both(prepared, tmp_path):
    at = {name: tmp_path / name for name in ("train", "test")}
    assert run(transform, "limits=none", prepared=prepared, engine="duckdb-check", **at) == 0


def test_what_duckdb_cannot_read_is_one_line(prepared):
    with pytest.raises(ToolFailed, match=r"DuckDB failed: .*; set engine=cpu"):
        compared("SELECT * FROM read_parquet('/tmp/absent.parquet')", prepared / "part-00000.parquet")
