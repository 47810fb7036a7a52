"""GPUs shared out: different ones to steps side by side, across processes, and a clear word when there are too few."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import BadInput
from runtime.local import graph, lease
from runtime.local.lease import Lease
from runtime.local.pipeline import Options, run_file
from tests.fakes import nvml
from tests.fakes.pipelines import write_component, write_pipeline

NEVER = threading.Event()


def test_two_leases_never_give_the_same_device(tmp_path: Path) -> None:
    one, two = Lease(["GPU-a", "GPU-b", "GPU-c"], tmp_path), Lease(["GPU-a", "GPU-b", "GPU-c"], tmp_path)
    with one.take(2, NEVER) as first, two.take(1, NEVER) as second:
        assert (first, second) == (["GPU-a", "GPU-b"], ["GPU-c"])
        stopping = threading.Event()
        threading.Timer(0.3, stopping.set).start()
        with one.take(1, stopping) as none:  # waits until it is told to stop
            assert none == []
    with two.take(3, NEVER) as all_of_them:
        assert len(all_of_them) == 3
    with one.take(0, NEVER) as nothing:
        assert nothing == []


def test_a_device_is_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    code = (
        "import threading, sys; from pathlib import Path; from runtime.local.lease import Lease\n"
        f"with Lease(['GPU-a'], Path({str(tmp_path)!r})).take(1, threading.Event()):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        stopping = threading.Event()
        threading.Timer(0.3, stopping.set).start()
        with Lease(["GPU-a"], tmp_path).take(1, stopping) as taken:
            assert taken == []
        holder.kill()
        holder.wait()
        with Lease(["GPU-a"], tmp_path).take(1, NEVER) as taken:
            assert taken == ["GPU-a"]


@pytest.mark.parametrize(
    ("gpus", "environ", "found"),
    [
        ([], {}, []),
        (["GPU-0", "GPU-1"], {}, ["GPU-0", "GPU-1"]),
        (["GPU-0", ["MIG-a", "MIG-b"]], {}, ["GPU-0", "MIG-a", "MIG-b"]),
        (["GPU-0", "GPU-1"], {"CUDA_VISIBLE_DEVICES": "1"}, ["GPU-1"]),
        (["GPU-0", "GPU-1"], {"CUDA_VISIBLE_DEVICES": "GPU-1, GPU-0"}, ["GPU-1", "GPU-0"]),
        (["GPU-0"], {"CUDA_VISIBLE_DEVICES": ""}, []),
        (["GPU-0"], {"CUDA_VISIBLE_DEVICES": "GPU-9"}, []),
    ],
)
def test_the_inventory_is_what_nvml_says(
    gpus: list[Any], environ: dict[str, str], found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.install(monkeypatch, gpus)
    assert lease.inventory(environ) == found


def test_steps_side_by_side_get_different_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.install(monkeypatch, ["GPU-0", "GPU-1"])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    command = "echo $CUDA_VISIBLE_DEVICES > ${{outputs.out}}/gpu; touch ${{inputs.at}}/$CUDA_VISIBLE_DEVICES; sleep 0.3"
    write_component(
        tmp_path, command=command, inputs={"at": {"type": "string"}, "device": {"type": "string", "default": "gpu"}}
    )
    (tmp_path / "seen").mkdir()
    jobs = {n: {"inputs": {"at": str(tmp_path / "seen")}} for n in "abc"}
    jobs["d"] = {"inputs": {"at": str(tmp_path / "seen"), "device": "cpu"}}
    path = write_pipeline(tmp_path, jobs)
    assert run_file(path, {}, Options(runs=tmp_path / "runs", jobs=4, mlflow=False)) == 0
    given = {p.parts[-4]: p.read_text().strip() for p in tmp_path.glob("runs/*/steps/*/outputs/out/gpu")}
    assert {given["a"], given["b"], given["c"]} == {"GPU-0", "GPU-1"}  # the third waited for one of the two
    assert given["d"] == ""


def test_a_step_that_asks_for_more_than_there_is_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.install(monkeypatch, ["GPU-0"])
    write_component(tmp_path, distribution={"type": "pytorch", "process_count_per_instance": 4})
    path = write_pipeline(tmp_path, {"a": {}})
    with pytest.raises(BadInput, match="a=4: asks for 4 GPUs, and this machine has 1; ask for fewer"):
        run_file(path, {}, Options(runs=tmp_path / "runs", mlflow=False))
    with pytest.raises(BadInput, match="a=3: asks for 3 GPUs"):
        run_file(path, {}, Options(runs=tmp_path / "runs", mlflow=False, gpus="3"))
    with pytest.raises(BadInput, match="--gpus='many': is neither all nor none nor a number"):
        run_file(path, {}, Options(runs=tmp_path / "runs", mlflow=False, gpus="many"))
    step = graph.read(path).steps["a"]
    assert [lease.wanted(step, None, 0), lease.wanted(step, None, 4), lease.wanted(step, 0, 4)] == [0, 4, 0]


def test_all_gives_each_step_every_device_and_one_step_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.install(monkeypatch, ["GPU-0", "GPU-1"])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    command = "echo $CUDA_VISIBLE_DEVICES > ${{outputs.out}}/gpu; mkdir ${{inputs.at}}/busy; sleep 0.2; rmdir ${{inputs.at}}/busy"
    write_component(tmp_path, command=command, inputs={"at": {"type": "string"}})
    jobs = {n: {"inputs": {"at": str(tmp_path)}} for n in "ab"}
    options = Options(runs=tmp_path / "runs", jobs=2, mlflow=False, gpus="all")
    assert run_file(write_pipeline(tmp_path, jobs), {}, options) == 0
    given = [p.read_text().strip() for p in tmp_path.glob("runs/*/steps/*/outputs/out/gpu")]
    assert given == ["GPU-0,GPU-1", "GPU-0,GPU-1"]
