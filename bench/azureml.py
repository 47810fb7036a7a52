"""Publishing the whole repository, and again unchanged: ngcrun against a loop of the SDK on a stand-in.

`python bench/azureml.py [--rounds N]`, with NGCRUN_AZURE_PYTHON (`nox -s bench` sets it). Each request is answered
after 50 ms, as over a long line. Also: the cold start of `ngcrun azureml --help`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.fakes.azure import REGISTRIES, Azure  # noqa: E402 - after the path is set

LATENCY_S = 0.05
REGISTRY = REGISTRIES[0]


def timed(azure: Azure, argv: list[str]) -> tuple[float, int]:
    """Seconds and requests of one process."""
    asked, began = len(azure.requests), time.monotonic()
    env = azure.environment(PYTHONPATH=str(ROOT), NGCRUN_CACHE=str(ROOT / ".cache"))
    subprocess.run(
        argv, env=env, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=900
    )
    return time.monotonic() - began, len(azure.requests) - asked


def publishings(python: str, rounds: int) -> list[list[object]]:
    ways = {
        "ngcrun azureml publish": [python, "-m", "runtime", "azureml", "publish", "--to", f"registry:{REGISTRY}"],
        "a loop of azure-ai-ml": [python, "bench/azureml_loop.py", REGISTRY, str(ROOT)],
    }
    found: dict[str, list[tuple[float, int, float, int]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, argv in ways.items():
            with tempfile.TemporaryDirectory() as folder, Azure(Path(folder)) as azure:
                azure.options.latency_s = LATENCY_S
                found[name].append((*timed(azure, argv), *timed(azure, argv)))
                print(f"{name}: {found[name][-1]}", file=sys.stderr)
    return [[name, *(statistics.median(column) for column in zip(*rows, strict=True))] for name, rows in found.items()]


def cold_start(python: str, rounds: int) -> float:
    """Milliseconds of `ngcrun azureml --help` as a process; the median."""
    took = []
    for _ in range(rounds):
        began = time.monotonic()
        subprocess.run(
            [str(Path(python).with_name("ngcrun")), "azureml", "--help"], check=True, stdout=subprocess.DEVNULL
        )
        took.append(1000 * (time.monotonic() - began))
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    python = os.environ.get("NGCRUN_AZURE_PYTHON", sys.executable)
    rows = publishings(python, rounds)
    print("| | first time: s | requests | again, unchanged: s | requests |\n|---|---|---|---|---|")
    for name, first, asked, again, asked_again in rows:
        print(f"| {name} | {first:.1f} | {asked:.0f} | {again:.1f} | {asked_again:.0f} |")
    ours, theirs = rows
    print(f"\nratio: {theirs[1] / ours[1]:.1f} times as fast, and {theirs[3] / ours[3]:.1f} times when nothing changed")
    print(f"`ngcrun azureml --help`: {cold_start(python, 9):.0f} ms")


if __name__ == "__main__":
    main()
