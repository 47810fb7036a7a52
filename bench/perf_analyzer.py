"""NVIDIA's perf_analyzer and our load generator on one server, in turn; part `load` of bench/triton.py.

No package of its own carries perf_analyzer, the wheels of tritonclient did up to 2.47; what that one is linked to comes
from PyPI and Debian: `python bench/perf_analyzer.py FOLDER` puts all of it into FOLDER/bin.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

CLIENT = "tritonclient==2.47.0"
LINKED = "nvidia-cuda-runtime-cu12"
CASES = ((1, 1), (1, 16), (1024, 4))  # rows a request, requests at once


def rate(address: str, made: Path, batch: int, level: int) -> float:
    """Rows a second as perf_analyzer says, over gRPC, with the golden rows."""
    from runtime.triton.repository import read_golden

    data = made / "perf.json"
    if not data.exists():
        rows = read_golden(made / "golden").inputs["input__0"]
        data.write_text(json.dumps({"data": [{"input__0": row.tolist()} for row in rows]}))
    argv = ["perf_analyzer", "-m", "taxi", "-u", address, "-i", "grpc", "-b", str(batch)]
    argv += ["--concurrency-range", str(level), "--input-data", str(data), "--measurement-interval", "2000"]
    argv += ["--max-trials", "6", "--stability-percentage", "50"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = re.search(r"throughput: ([\d.]+) infer/sec", done.stdout, re.IGNORECASE)
    if found is None:
        sys.exit((done.stdout + done.stderr)[-2000:])
    return float(found[1])


def side_by_side(folder: Path, rounds: int) -> None:
    """The table; nothing is compared where perf_analyzer is not on PATH."""
    from runtime.triton.load import sendable
    from runtime.triton.load_generator import Load, measure
    from runtime.triton.repository import read_golden
    from runtime.triton.serve import serving
    from runtime.triton.serve_env import find_server

    if shutil.which("perf_analyzer") is None:
        print("not run: perf_analyzer is not on PATH", flush=True)
        return
    made = folder / "taxi-package"
    inputs = read_golden(made / "golden").inputs
    print("| rows a request | requests at once | perf_analyzer, rows/s | our load generator, rows/s | ratio |")
    print("|---|---|---|---|---|")
    with serving(find_server(), made / "repo", ["taxi"]) as running:
        for batch, level in CASES:
            requests = sendable(inputs, batch, batched=True)

            def ours(batch: int = batch, level: int = level, requests: Any = requests) -> float:
                types, load = {"input__0": "FP32"}, Load(level)
                found = measure(running.grpc, "taxi", requests, types, load, rows=batch, most_s=4.0)
                return float(found.rows_per_s)

            theirs_all, ours_all = [], []
            for _ in range(rounds):
                theirs_all.append(rate(running.grpc, made, batch, level))
                ours_all.append(ours())
            theirs, own = statistics.median(theirs_all), statistics.median(ours_all)
            print(f"| {batch} | {level} | {theirs:,.0f} | {own:,.0f} | {own / theirs:.2f} |", flush=True)


def install(folder: Path) -> None:
    """`FOLDER/bin/perf_analyzer`; as root on Debian it also installs libb64, which the binary is linked to."""
    venv.create(folder / "venv", with_pip=True)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "-qq", "--no-deps"]
    subprocess.run([*pip, CLIENT, LINKED], check=True)
    subprocess.run(["apt-get", "-qq", "update"], check=True)
    subprocess.run(["apt-get", "-qq", "install", "-y", "libb64-0d"], check=True, stdout=subprocess.DEVNULL)
    (library,) = (folder / "venv").rglob("libcudart.so.12")
    script = folder / "bin" / "perf_analyzer"
    script.parent.mkdir(parents=True, exist_ok=True)
    binary = (folder / "venv" / "bin" / "perf_analyzer").absolute()
    script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{library.parent.absolute()}" exec "{binary}" "$@"\n')
    script.chmod(0o755)


if __name__ == "__main__":
    install(Path(sys.argv[1]))
