"""Tests on the real TAO on a CPU: `nox -s tao` makes its environments first. Nothing here skips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "tests" / "data" / "digits" / "images"
SPEC = ROOT / "tests" / "data" / "digits" / "spec.yaml"


class Step:
    """Starts a TAO step as a user does, and reads the metrics that it logged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = folder / "metrics.jsonl"
        self.key = ""

    def start(self, action: str, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "NGCRUN_METRICS_FILE": str(self.metrics)}
        environment.pop("MLFLOW_TRACKING_URI", None)
        environment |= {"NGCRUN_TAO_KEY": self.key} if self.key else {}
        argv = [sys.executable, "-m", f"runtime.tao.{action}", *words, "device=cpu"]
        return subprocess.Popen(
            argv, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, action: str, *words: str) -> str:
        process = self.start(action, *words)
        out, _ = process.communicate(timeout=900)
        assert process.returncode == 0, out[-3000:]
        return out

    def logged(self, key: str) -> list[tuple[int, float]]:
        if not self.metrics.is_file():
            return []
        records = [json.loads(line) for line in self.metrics.read_text().splitlines()]
        return [(r["step"], r["value"]) for r in records if r["kind"] == "metric" and r["key"] == key]

    def wait_for(self, key: str, step: int, process: subprocess.Popen[str]) -> None:
        """Until a figure of an epoch was logged."""
        until = time.monotonic() + 600
        while step not in [s for s, _ in self.logged(key)]:
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            assert time.monotonic() < until
            time.sleep(0.2)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)
