"""What bad input gets from the RAPIDS steps: one line a problem, the right exit status, nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from rapids_support import CSV, TAXI, assert_refused, run, truncated

from runtime.rapids.engine import gpu_problem
from runtime.rapids.prepare import prepare

ROOT = Path(__file__).parents[2]


def edited(path: Path, change: Callable[[str], str]) -> Path:
    path.write_text(change((CSV / "yellow_2016.csv").read_text()), encoding="utf-8")
    return path


def column(name: str, value: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        header, *lines = text.splitlines()
        at = header.split(",").index(name)
        rows = [line.split(",") for line in lines]
        return "\n".join([header, *(",".join([*row[:at], value, *row[at + 1 :]]) for row in rows)]) + "\n"

    return change


def bad_csv(path: Path) -> Path:
    path.write_bytes((CSV / "yellow_2016.csv").read_bytes() + b'2,"never closed\n')
    return path


# name -> (makes the raw trips, further words, what stands on stderr)
PREPARE = {
    "missing_file": (lambda at: at / "none.csv", [], "trips='{}/none.csv': does not exist; name an existing folder"),
    "empty_folder": (lambda at: make(at / "empty"), [], "trips='{}/empty': is an empty folder; name a folder"),
    "folder_without_tables": (
        lambda at: make(at / "notes", "notes.txt"),
        [],
        "trips='{}/notes': holds no .csv or .parquet file; name the file or folder with the data",
    ),
    "empty_file": (
        lambda at: make(at / "one", "a.csv") / "a.csv",
        [],
        "trips='{}/one/a.csv': is an empty file (0 bytes); remove it or write it again",
    ),
    "header_alone": (
        lambda at: edited(at / "a.csv", lambda text: text.splitlines()[0] + "\n"),
        [],
        "trips='{}/a.csv': holds no rows; name files with data",
    ),
    "truncated_parquet": (
        lambda at: truncated(at / "cut.parquet", TAXI / "green_2016.parquet"),
        [],
        "trips='{}/cut.parquet': is not a readable Parquet file: parquet: File out of specification",
    ),
    "unclosed_quote": (
        lambda at: bad_csv(at / "a.csv"),
        [],
        "trips='{}/a.csv': is not a readable CSV file: a quoted cell",
    ),
    "wrong_delimiter": (
        lambda at: edited(at / "a.csv", lambda text: text.replace(",", ";")),
        [],
        "its cells are not separated by a comma; set separator=semicolon",
    ),
    "missing_column": (
        lambda at: edited(at / "a.csv", lambda text: text.replace("fareAmount", "price")),
        [],
        "trips='{}/a.csv': is in no known schema: found vendorID, tpepPickupDateTime, tpepDropoffDateTime, ",
    ),
    "missing_named_column": (
        lambda at: CSV / "yellow_2016.csv",
        ["columns.fare=price"],
        "not found price of schema yellow_2016; ",
    ),
    "wrong_type": (
        lambda at: edited(at / "a.csv", column("fareAmount", "much")),
        [],
        "trips='{}/a.csv': has 500 unreadable of 500 rows (dropped_bad_fare_usd 500); check columns, ",
    ),
    "wrong_time_format": (
        lambda at: edited(at / "a.csv", column("tpepPickupDateTime", "01/02/2016 10:00")),
        [],
        "has 500 unreadable of 500 rows (dropped_bad_pickup_at 500); check columns, separator and datetime_format",
    ),
    "wrong_type_in_parquet": (
        lambda at: wrong_type_parquet(at / "a.parquet"),
        [],
        "trips='{}/a.parquet': column fareAmount is Datetime(time_unit='us', time_zone=None), not a number; cast it",
    ),
    "unknown_override": (
        lambda at: CSV,
        ["columns.price=x"],
        "columns.price='x': is not a field of columns=auto; ",
    ),
    "unknown_schema_name": (
        lambda at: CSV,
        ["columns=grene_2016"],
        "did you mean 'green_2016'? known: auto, green_2016",
    ),
    "wrong_type_override": (
        lambda at: CSV,
        ["max_unreadable=few"],
        "max_unreadable='few': is not a number; write a number, such as max_unreadable=0.1",
    ),
    "misspelled_port": (lambda at: CSV, ["separater=tab"], "separater='tab': is not a port; did you mean 'separator'?"),
    "engine_without_gpu": (
        lambda at: CSV,
        ["engine=gpu"],
        "; set engine=cpu or engine=auto, or run it in the rapids image on a GPU",
    ),
}


def make(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


def wrong_type_parquet(path: Path) -> Path:
    raw = pl.read_parquet(TAXI / "yellow_2016.parquet")
    raw.with_columns(fareAmount=pl.col("tpepPickupDateTime")).write_parquet(path)
    return path


@pytest.mark.parametrize("case", PREPARE)
def test_prepare_refuses(case, tmp_path, capsys):
    makes, words, text = PREPARE[case]
    if case == "engine_without_gpu" and gpu_problem("cudf_polars") is None:
        pytest.skip("this machine has a GPU that cudf-polars can use")
    out = tmp_path / "out" / "prepared"
    status = run(prepare, *words, trips=makes(tmp_path), prepared=out)
    out.parent.mkdir(exist_ok=True)
    assert_refused(capsys, [out], text.replace("{}", str(tmp_path)), status)


def test_an_unbound_required_port_is_named_with_what_it_means(tmp_path, capsys):
    assert_refused(
        capsys,
        [tmp_path / "out"],
        "rapids_prepare: trips=None: is required and not bound; add trips=VALUE: A CSV or Parquet file",
        run(prepare, prepared=tmp_path / "out"),
    )


def test_all_files_in_no_known_schema_are_told_at_once(tmp_path, capsys):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x,y\n1,2\n")
    assert run(prepare, trips=tmp_path, prepared=tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert ["a.csv" in lines[0], "b.csv" in lines[1], len(lines)] == [True, True, 2]
    assert "found x, y; " in lines[0]
    assert "tpep_pickup_datetime, tpep_dropoff_datetime, fare_amount, trip_distance of schema tlc_yellow" in lines[0]


def test_an_output_that_holds_data_is_left_alone(tmp_path, capsys):
    out = make(tmp_path / "out", "mine.txt")
    assert run(prepare, trips=CSV, prepared=out) == 2
    assert "already holds data; remove it or name another place" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def in_namespace(tmp_path: Path, mount: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run prepare with `disk` mounted as said, in a mount namespace of its own; skips where that is not allowed."""
    (tmp_path / "disk").mkdir()
    shell = f'{mount} "$0" && exec "$@"'
    begin = ["unshare", "--map-root-user", "--mount", "sh", "-c", shell, str(tmp_path / "disk")]
    if shutil.which("unshare") is None or subprocess.run([*begin, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounting in a namespace of one's own (unshare --mount)")
    # What is left on the disk is listed before it goes away with the namespace.
    listing = ["sh", "-c", '"$@"; status=$?; ls -A "$0"; exit $status', str(tmp_path / "disk")]
    step = [sys.executable, "-m", "runtime.rapids.prepare", *words, f"prepared={tmp_path / 'disk' / 'out'}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*begin, *listing, *step], capture_output=True, text=True, env=env, check=False)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    trips = TAXI / "yellow_2018_2020.parquet"
    done = in_namespace(tmp_path, "mount -t tmpfs -o size=256k tmpfs", f"trips={trips}")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "No space left on device; free some space or point the output elsewhere" in done.stderr
    assert done.stdout == ""  # neither figures of a step that failed, nor a file on the disk


def test_a_read_only_output_folder_is_one_line_and_leaves_nothing(tmp_path):
    done = in_namespace(tmp_path, "mount -t tmpfs -o ro tmpfs", f"trips={CSV}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written (read-only file system); name a place that you may write to" in done.stderr
    assert done.stdout == ""


def test_python_dash_m_runs_a_step_and_its_failure_reaches_the_shell(tmp_path):
    step = [sys.executable, "-m", "runtime.rapids.prepare"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [f"trips={CSV}", f"prepared={tmp_path / 'out'}"]
    assert subprocess.run([*step, *words], env=env, check=False, capture_output=True).returncode == 0
    again = subprocess.run([*step, *words], env=env, check=False, capture_output=True, text=True)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
