"""Data larger than memory: the peak of a step does not follow the size of its input."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from rapids_support import TAXI, chain

ROOT = Path(__file__).parents[2]
SMALL, LARGE = 2_000_000, 8_000_000
ALLOWED_SHARE = 0.5  # of what the further rows take when decoded
# The canonical table as prepare has it in memory: 17 columns of 4 or 8 bytes and the trip_id.
ROW_BYTES = 2 * 8 + 9 * 8 + 6 * 4 + 8


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("large")
    made = {"model": chain(folder / "model", TAXI / "yellow_2018_2020.parquet", "linear")["trained"]}
    made |= {str(rows): folder / f"{rows}.parquet" for rows in (SMALL, LARGE)}
    words = [str(ROOT / "bench" / "generate_trips.py"), str(made[str(LARGE)]), "--rows", str(LARGE)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    first = pl.scan_parquet(made[str(LARGE)]).head(SMALL)
    first.sink_parquet(made[str(SMALL)], row_group_size=250_000, engine="streaming")
    return made


def peak_mib(verb: str, **ports: Path) -> float:
    """The most anonymous memory (what no file backs) that a step held, sampled every 5 ms."""
    words = [f"{name}={value}" for name, value in ports.items()]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "2", "POLARS_ROW_GROUP_PREFETCH_SIZE": "1"}
    step = subprocess.Popen(
        [sys.executable, "-m", f"runtime.rapids.{verb}", *words], env=env, stdout=subprocess.DEVNULL
    )
    peak = 0
    while step.poll() is None:
        status = Path(f"/proc/{step.pid}/status").read_text()
        peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))])
        time.sleep(0.005)
    assert step.returncode == 0
    return peak / 1024


@pytest.mark.heavy
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_step_but_train_needs_more_memory_for_more_rows(inputs, tmp_path):
    allowed_mib = ALLOWED_SHARE * (LARGE - SMALL) * ROW_BYTES / 2**20
    peaks: dict[str, dict[int, float]] = {}
    for rows in (SMALL, LARGE):
        at = {n: tmp_path / f"{rows}_{n}" for n in ("prepared", "train", "test", "predictions", "report")}
        found = {
            "prepare": peak_mib("prepare", trips=inputs[str(rows)], prepared=at["prepared"]),
            "transform": peak_mib("transform", prepared=at["prepared"], train=at["train"], test=at["test"]),
            "predict": peak_mib("predict", model=inputs["model"], features=at["train"], predictions=at["predictions"]),
            "score": peak_mib("score", predictions=at["predictions"], truth=at["train"], report=at["report"]),
        }
        for step, peak in found.items():
            peaks.setdefault(step, {})[rows] = peak
        kept = pl.scan_parquet(at["train"] / "*.parquet").select(pl.len()).collect().item()
        assert kept > 0.75 * rows
    growth = {step: at[LARGE] - at[SMALL] for step, at in peaks.items()}
    assert max(growth.values()) < allowed_mib, peaks
