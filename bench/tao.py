"""TAO: how long a check takes, how fast status.json is followed, and what our wrapper adds to a training.

`python bench/tao.py` measures the first two; `--rounds N` also the third, on the real TAO (device=cpu), A B A B.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runtime.metrics import Memory, Metrics
from runtime.tao import commented, env, network
from runtime.tao.program import CPU_SHIM
from runtime.tao.status import Follower

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "tests" / "data" / "digits"
LINES = 100_000


def checks(folder: Path) -> None:
    """Every network's own commented spec, through `ngcrun tao check` as a process; the first time nothing is cached."""
    for title, cache in (("first time", folder / "cache"), ("again", folder / "cache")):
        seconds = {}
        environment = {**os.environ, "NGCRUN_CACHE": str(cache), "NGCRUN_TAO_SCHEMA": str(env.make("schema"))}
        for name in network.names():
            found = network.find(name)
            if not found.schema or "train" not in found.actions:
                continue
            spec = folder / f"{name}.spec"
            spec.write_text(commented.text_of(found, found.actions["train"]))
            begin = time.perf_counter()
            words = [sys.executable, "-m", "runtime", "tao", "check", name, str(spec), "train"]
            done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode in (0, 2), done.stderr
            seconds[name] = time.perf_counter() - begin
        slowest = max(seconds, key=lambda name: seconds[name])
        middle = statistics.median(seconds.values())
        worst = f"slowest {slowest} {seconds[slowest]:.2f} s"
        print(f"| check, {title} | {len(seconds)} networks | median {middle:.2f} s, {worst} |")


def tailing(folder: Path) -> None:
    """Lines a second that the follower takes in while another process appends them."""
    path = folder / "status.json"
    memory = Memory()
    metrics = Metrics([memory])
    follower = Follower(path, metrics)
    line = {"max_epoch": LINES - 1, "status": "RUNNING", "message": "Training loop in progress"}
    text = "".join(json.dumps({"epoch": n, **line, "kpi": {"loss": n / 7}}) + "\n" for n in range(LINES))
    path.write_text(text)
    begin = time.perf_counter()
    follower.close()
    seconds = time.perf_counter() - begin
    metrics.close()
    assert len(memory.records) == LINES
    print(f"| status.json | {LINES:,} lines | {LINES / seconds:,.0f} lines a second |")


def overhead(folder: Path, rounds: int) -> None:
    """One short training bare and through us, in turn."""
    tao = env.folder_of("cpu")
    bare, ours = [], []
    for turn in range(rounds):
        bare.append(_bare(folder / f"bare{turn}", tao))
        ours.append(_ours(folder / f"ours{turn}"))
        print(f"  round {turn + 1}: bare {bare[-1]:.1f} s, through ngcrun {ours[-1]:.1f} s", file=sys.stderr)
    a, b = statistics.median(bare), statistics.median(ours)
    difference = f"{b - a:+.1f} s, {100 * (b / a - 1):+.1f} percent"
    print(f"| training, 3 epochs | bare {a:.1f} s | through ngcrun {b:.1f} s: {difference} |")


def _bare(folder: Path, tao: Path) -> float:
    folder.mkdir()
    text = (
        (DIGITS / "spec.yaml")
        .read_text()
        .replace("${dataset}", str(DIGITS / "images"))
        .replace("${results}", str(folder))
    )
    (folder / "spec.yaml").write_text(text.replace("num_epochs: 5", "num_epochs: 3"))
    environment = {
        **os.environ, "PATH": f"{tao / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(CPU_SHIM), "NGCRUN_TAO_CPU": "1",
        "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(os.cpu_count()),
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    begin = time.perf_counter()
    words = [str(tao / "bin" / "classification_pyt"), "train", "-e", str(folder / "spec.yaml")]
    subprocess.run(words, env=environment, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - begin


def _ours(folder: Path) -> float:
    folder.mkdir()
    words = [
        sys.executable, "-m", "runtime.tao.train", "network=classification_pyt", f"dataset={DIGITS / 'images'}",
        "device=cpu", f"spec={DIGITS / 'spec.yaml'}", "--spec_overrides=train.num_epochs=3",
        f"trained={folder / 'trained'}",
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    begin = time.perf_counter()
    subprocess.run(words, env=environment, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=0, help="of the real training, bare and ours (about two minutes each)"
    )
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checks(folder)
        tailing(folder)
        if rounds:
            overhead(folder, rounds)


if __name__ == "__main__":
    main()
