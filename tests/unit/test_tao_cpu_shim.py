"""The shim for TAO without a GPU, on a stand-in of torch's and Lightning's surface; on the real ones: tests/tao."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.tao.program import CPU_SHIM

TORCH = """
import os, types
cuda = types.SimpleNamespace(is_available=lambda: os.environ["GPU"] == "1", current_device=lambda: 7)
for name in ("set_device", "synchronize", "empty_cache", "manual_seed", "manual_seed_all", "reset_peak_memory_stats"):
    setattr(cuda, name, lambda *_: "touched the GPU")
class Tensor:
    def cuda(self): return "touched the GPU"
    def to(self, *args, **kwargs): return [*args, kwargs]
class Module(Tensor): pass
nn = types.SimpleNamespace(Module=Module)
def load_library(path): raise OSError("libcudart.so.12: cannot open shared object file")
ops = types.SimpleNamespace(load_library=load_library)
"""
LIGHTNING = """
class Trainer:
    def __init__(self, **kwargs): self.kwargs = kwargs
"""
ASK = """
import json, torch, pytorch_lightning as lightning
asked = dict(accelerator="gpu", devices=[0, 1], num_nodes=2, precision="16-mixed", strategy="ddp", max_epochs=3)
try:
    torch.ops.load_library("/x/MultiScaleDeformableAttention.so")
    library = "passed over"
except OSError:
    library = "refused"
moved = [torch.Tensor().to("cuda:1", 2), torch.nn.Module().to("float16", device="cuda"), torch.Tensor().to(None, device="cpu")]
try:
    import pycuda
    import pycuda.autoinit
    context = pycuda.autoinit.device.retain_primary_context()
    context.push(), context.pop()
    moved.append("pycuda")
except ModuleNotFoundError:
    moved.append("no pycuda")
print(json.dumps([moved, torch.cuda.set_device(0), torch.cuda.current_device(), library, lightning.Trainer(**asked).kwargs]))
"""


def ask(folder: Path, *, active: bool, gpu: bool) -> list[object]:
    (folder / "torch.py").write_text(TORCH)
    (folder / "pytorch_lightning.py").write_text(LIGHTNING)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{CPU_SHIM}{os.pathsep}{folder}",
        "GPU": str(int(gpu)),
        "NGCRUN_TAO_CPU": "1" if active else "",
    }
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    answer: list[object] = json.loads(done.stdout)
    return answer


def test_without_a_gpu_the_calls_do_nothing_and_lightning_gets_the_cpu(tmp_path: Path) -> None:
    moved, touched, device, library, trainer = ask(tmp_path, active=True, gpu=False)
    assert moved == [["cpu", 2, {}], ["float16", {"device": "cpu"}], [None, {"device": "cpu"}], "pycuda"]
    assert (touched, device, library) == (None, 0, "passed over")
    assert trainer == {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "sync_batchnorm": False, "precision": "32-true", "strategy": "auto", "max_epochs": 3}  # fmt: skip


@pytest.mark.parametrize(("active", "gpu"), [(True, True), (False, False), (False, True)])
def test_it_changes_nothing_where_a_gpu_is_or_when_it_was_not_asked_for(
    tmp_path: Path, active: bool, gpu: bool
) -> None:
    moved, touched, device, library, trainer = ask(tmp_path, active=active, gpu=gpu)
    assert moved == [["cuda:1", 2, {}], ["float16", {"device": "cuda"}], [None, {"device": "cpu"}], "no pycuda"]
    assert (touched, device, library) == ("touched the GPU", 7, "refused")
    assert trainer == {
        "accelerator": "gpu",
        "devices": [0, 1],
        "num_nodes": 2,
        "precision": "16-mixed",
        "strategy": "ddp",
        "max_epochs": 3,
    }


def test_it_stays_small() -> None:
    assert len((CPU_SHIM / "sitecustomize.py").read_text().splitlines()) < 100
