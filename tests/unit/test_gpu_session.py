"""What `nox -s gpu` promises: without a GPU its tests fail, and say why; everywhere else they skip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HAS_GPU = Path("/dev/nvidiactl").exists()


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU: the tests themselves run")
@pytest.mark.parametrize(("required", "status"), [("1", 1), ("", 0)])
def test_a_missing_gpu_is_a_failure_only_where_one_is_required(required: str, status: int) -> None:
    argv = [sys.executable, "-m", "pytest", "tests/gpu/test_triton_gpu.py", "-m", "gpu"]
    env = os.environ | {"NGCRUN_REQUIRE_GPU": required, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert ("this run requires a GPU, and the test was skipped" in done.stdout) == bool(required)
