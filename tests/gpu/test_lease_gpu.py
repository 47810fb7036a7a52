"""The lease on a real GPU: what NVML and CUDA say of the device that a step was given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runtime.local import lease
from runtime.local.pipeline import Options, run_file
from tests.fakes.pipelines import write_component, write_pipeline

pytestmark = pytest.mark.gpu


def test_the_inventory_is_what_nvidia_smi_lists() -> None:
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    found = lease.inventory({})
    assert found
    assert all(f"UUID: {uuid})" in listed for uuid in found)


def test_a_step_sees_the_device_that_it_was_given_and_no_other(tmp_path: Path) -> None:
    command = "nvidia-smi -L; echo $CUDA_VISIBLE_DEVICES > ${{outputs.out}}/gpu"
    write_component(tmp_path, command=command)
    assert run_file(write_pipeline(tmp_path, {"a": {}}), {}, Options(runs=tmp_path / "runs", mlflow=False)) == 0
    (given,) = tmp_path.glob("runs/*/steps/a/outputs/out/gpu")
    assert given.read_text().strip() in lease.inventory({})
