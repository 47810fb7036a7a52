"""The lease on a real GPU: what NVML and CUDA say of the device that a step was given."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from runtime.local import lease
from runtime.local.pipeline import Options, run_file
from tests.fakes.pipelines import ngcrun, write_component, write_pipeline

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not lease.inventory({}), reason="NVML lists no GPU")]


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


def test_steps_that_need_every_device_take_turns(tmp_path: Path) -> None:
    command = "date +%s.%N > ${{outputs.out}}/from; sleep 1; date +%s.%N > ${{outputs.out}}/to"
    write_component(tmp_path, command=command)
    jobs: dict[str, Any] = {"a": {}, "b": {}}
    options = Options(runs=tmp_path / "runs", mlflow=False, gpus="all")
    assert run_file(write_pipeline(tmp_path, jobs), {}, options) == 0
    held = sorted(
        (float((o / "from").read_text()), float((o / "to").read_text()))
        for o in tmp_path.glob("runs/*/steps/*/outputs/out")
    )
    assert len(held) == 2
    assert held[0][1] <= held[1][0]


def test_more_devices_than_there_are_is_refused_before_the_start(tmp_path: Path) -> None:
    write_component(tmp_path)
    count = len(lease.inventory({})) + 1
    done = ngcrun(tmp_path, "pipeline", str(write_pipeline(tmp_path, {"a": {}})), "--gpus", str(count))
    assert done.returncode == 2
    assert "ask for fewer" in done.stderr
    assert not list(tmp_path.glob("runs/*/steps/a/outputs"))
