"""The RAPIDS steps on this machine's GPU against its CPU: whole processes, same rows, A B A B, medians.

Usage: python bench/gpu.py [--rows 10_000_000] [--rounds 3] [--steps prepare,transform,train,tune] [--trips FILE]
Needs an NVIDIA GPU and the extra `rapids-gpu`. Each time includes the start of Python and of CUDA, as a job's does.
Prints the device, and for each step the seconds of both engines, their ratio and the held-out figures of both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEARCH = "trials=8 model.rounds=100"  # the rest as rapids_tune has it
OUTPUTS = {"prepare": ["prepared"], "transform": ["train", "test"], "train": ["trained"], "tune": ["tuned", "study"]}
FIGURES = ("rmse", "r2", "engine_gpu", "engine_fallbacks", "rows_in", "rows_kept", "rows_train", "trials")


def words(step: str, folder: Path, engine: str, trips: Path) -> list[str]:
    """What is run; the first three read what the engine itself wrote, `tune` what the CPU wrote."""
    mine = folder / engine
    parts = [f"train={mine / 'train'}", f"test={mine / 'test'}"]
    ports = {
        "prepare": [f"trips={trips}", f"prepared={mine / 'prepared'}"],
        "transform": [f"prepared={mine / 'prepared'}", *parts],
        "train": [*parts, f"trained={mine / 'trained'}"],
        "tune": [*parts, f"trained={mine / 'tuned'}", f"study={mine / 'study'}", *SEARCH.split()],
    }
    return [f"engine={engine}", *ports[step]]


def seconds(step: str, folder: Path, engine: str, trips: Path) -> tuple[float, dict[str, float]]:
    """Wall time of one whole step, and the figures it logged."""
    log = folder / f"{step}-{engine}.jsonl"
    log.unlink(missing_ok=True)
    for output in OUTPUTS[step]:
        shutil.rmtree(folder / engine / output, ignore_errors=True)
    argv = [sys.executable, "-m", f"runtime.rapids.{step}", *words(step, folder, engine, trips)]
    environment = {
        **os.environ,
        "NGCRUN_METRICS_FILE": str(log),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    began = time.monotonic()
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{step} engine={engine} ended with {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return took, {r["key"]: r["value"] for r in records if r["kind"] == "metric" and r["key"] in FIGURES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", default="prepare,transform,train,tune")
    parser.add_argument("--trips", type=Path)
    given = parser.parse_args()
    print(subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout.split("(")[0].strip())
    print(f"{os.cpu_count()} cores, {given.rows:,} rows, {given.rounds} rounds", flush=True)
    with tempfile.TemporaryDirectory(prefix="ngcrun-bench-") as name:
        folder = Path(name)
        trips = given.trips or folder / "trips.parquet"
        if not trips.exists():
            made = [sys.executable, str(ROOT / "bench" / "generate_trips.py"), str(trips), "--rows", str(given.rows)]
            subprocess.run([*made, "--format", "parquet"], check=True)
        for step in given.steps.split(","):
            times: dict[str, list[float]] = {"cpu": [], "gpu": []}
            figures: dict[str, dict[str, float]] = {}
            for _ in range(given.rounds):
                for engine, taken in times.items():
                    took, figures[engine] = seconds(step, folder, engine, trips)
                    taken.append(took)
            cpu, gpu = (statistics.median(taken) for taken in times.values())
            print(
                f"{step:10} cpu {cpu:7.2f} s  gpu {gpu:7.2f} s  ratio {cpu / gpu:5.2f}  {json.dumps(figures)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
