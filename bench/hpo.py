"""A search over XGBoost's settings, the way of the code that this replaces against rapids_tune, on the same rows.

Usage: python bench/hpo.py [--rows 1_000_000] [--rounds 2] [--folder FOLDER]
Both start from the parts that rapids_transform made (as CSV for the old way) and end with one trained model; each is a
whole process, in turn, medians. The old way is restated here and not copied: a 5 x 5 grid of depth and rounds, then ten
Optuna trials. Each of the 35 reads the CSV through pandas, builds a DMatrix, trains all its rounds, predicts both parts
and is chosen by the held-out part. The last training drops what was found, because XGBoost knows no setting of those
names. The ranges are ours. rapids_tune gets ten trials that learn from a part of the rows, and its last training has
all of them: once within the ranges of the old way's trials, once within those of its grid.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DEPTHS, ROUNDS, TRIALS = (2, 4, 6, 8, 10), (1, 10, 25, 50, 100), 10
DEPTH_RANGE, ROUND_RANGE = (2, 12), (10, 200)
COMMON = "trials=10 pruner=hyperband model.learning_rate=0.3 space=depth_and_rate space.learning_rate.low=0.1"
OURS = {
    "rapids_tune, depth to 12, 200 rounds, a fifth of the rows": (
        "model.rounds=200 space.max_depth.high=12 search_share=0.2 validation_share=0.02"
    ),
    "rapids_tune, depth to 10, 100 rounds, a twentieth": "model.rounds=100 space.max_depth.high=10 search_share=0.05",
}


def old_trial(folder: Path, depth: int, rounds: int, **settings: Any) -> float:
    """Read, build, train, predict both parts; the RMSE on the held-out part."""
    import numpy as np
    import pandas as pd
    import xgboost

    frames = [pd.read_csv(folder / f"{part}.csv") for part in ("train", "test")]
    data = [xgboost.DMatrix(frame.drop(columns="fare_usd"), label=frame["fare_usd"]) for frame in frames]
    known = {"max_depth": depth} if depth else {}
    warnings.simplefilter("ignore")  # XGBoost's, of settings that it does not know
    booster = xgboost.train({"tree_method": "hist", "verbosity": 0, **known, **settings}, data[0], rounds)
    rmse = [float(np.sqrt(np.mean((booster.predict(d) - d.get_label()) ** 2))) for d in data]
    return rmse[1]


def old_way(folder: Path) -> dict[str, float]:
    """The grid, the trials, and the last training with its dropped settings."""
    import optuna

    began = time.monotonic()
    for depth in DEPTHS:
        for rounds in ROUNDS:
            old_trial(folder, depth, rounds)
    grid_s = time.monotonic() - began
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(
        lambda trial: old_trial(
            folder, trial.suggest_int("gpuMaxDepth", *DEPTH_RANGE), trial.suggest_int("gpuNTrees", *ROUND_RANGE)
        ),
        n_trials=TRIALS,
    )
    best = study.best_params
    last = old_trial(folder, 0, best["gpuNTrees"], **best)
    return {"grid_s": grid_s, "best_trial_rmse": study.best_value, "last_rmse": last, **best}


def prepare(folder: Path, rows: int) -> None:
    """Generated trips as the parts of rapids_transform, and the same rows as CSV."""
    import polars as pl

    words = [str(folder / "trips.parquet"), "--rows", str(rows), "--format", "parquet", "--schema", "coordinates"]
    subprocess.run([sys.executable, "bench/generate_trips.py", *words], cwd=ROOT, check=True)
    for argv in (
        ["prepare", f"trips={folder / 'trips.parquet'}", f"prepared={folder / 'prepared'}"],
        ["transform", f"prepared={folder / 'prepared'}", f"train={folder / 'train'}", f"test={folder / 'test'}"],
    ):
        subprocess.run([sys.executable, "-m", f"runtime.rapids.{argv[0]}", *argv[1:]], cwd=ROOT, check=True, stdout=2)
    for part in ("train", "test"):
        pl.read_parquet(folder / part / "*.parquet").drop("trip_id").write_csv(folder / f"{part}.csv")


def timed(argv: list[str]) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds and output of a process with its children."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True, env=os.environ)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def ours(folder: Path, words: str) -> dict[str, float]:
    """One search and its last training."""
    with tempfile.TemporaryDirectory() as made:
        parts = [f"train={folder / 'train'}", f"test={folder / 'test'}", f"trained={made}/m", f"study={made}/s"]
        argv = [sys.executable, "-m", "runtime.rapids.tune", *parts, *COMMON.split(), *words.split()]
        wall, cpu, _ = timed(argv)
        best = json.loads(Path(made, "s", "best.json").read_text())
    return {"s": wall, "cpu_s": cpu, "rmse": best["held_out"]["rmse"], **best["searched"]}


def theirs(folder: Path) -> dict[str, float]:
    """The old way, in a process of its own."""
    wall, cpu, text = timed([sys.executable, __file__, "--old", str(folder)])
    found = json.loads(text.splitlines()[-1])
    return {"s": wall, "cpu_s": cpu, "rmse": found["last_rmse"], **found}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--old", type=Path, help="run the old way on this folder, and print its figures")
    given = parser.parse_args()
    if given.old:
        print(json.dumps(old_way(given.old)))
        return
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = given.folder or Path(made)
        if not (folder / "test.csv").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            prepare(folder, given.rows)
        for _ in range(given.rounds):
            for name, words in [*OURS.items(), ("the old way", "")]:
                runs.setdefault(name, []).append(ours(folder, words) if words else theirs(folder))
                print(name, json.dumps(runs[name][-1]), flush=True)
    middle = {name: {k: statistics.median(r[k] for r in found) for k in found[0]} for name, found in runs.items()}
    old = middle["the old way"]
    print("| way | wall, s | CPU, s | times faster | held-out RMSE of the last model, USD |\n|---|---|---|---|---|")
    for name, row in middle.items():
        print(f"| {name} | {row['s']:.1f} | {row['cpu_s']:.0f} | {old['s'] / row['s']:.1f} | {row['rmse']:.4f} |")
    print(f"best trial of the old way: {old['best_trial_rmse']:.4f}")


if __name__ == "__main__":
    main()
