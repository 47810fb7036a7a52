"""Lets the unmodified nvidia-tao-pytorch run without a GPU: this folder goes on the PYTHONPATH of TAO's Python.

Active only with `NGCRUN_TAO_CPU=1`, and only where torch sees no CUDA device; elsewhere it changes nothing. It makes
the calls that assume a GPU do nothing, and asks Lightning for the CPU. For a rehearsal; no proof of anything on a GPU.

Source of what has to be patched: nvidia-tao-pytorch 7.3.0 with torch 2.9.1, run on a CPU (shared/facts, tao.md).
"""

import importlib.abc
import importlib.machinery
import os
import sys
import types


def _torch(torch):
    if torch.cuda.is_available():
        return

    def nothing(*_args, **_kwargs):
        return None

    for name in (
        "set_device",
        "synchronize",
        "empty_cache",
        "manual_seed",
        "manual_seed_all",
        "reset_peak_memory_stats",
    ):
        setattr(torch.cuda, name, nothing)
    torch.cuda.current_device = lambda: 0
    for kind in (torch.Tensor, torch.nn.Module):
        kind.cuda = lambda self, *_args, **_kwargs: self
        kind.to = _to_cpu(kind.to)
    load = torch.ops.load_library

    def load_if_possible(path):
        try:  # TAO's own CUDA kernels; where it matters, TAO has a fallback in plain torch
            load(path)
        except OSError as error:
            print(f"ngcrun: {os.path.basename(str(path))} needs a GPU and was not loaded: {error}", file=sys.stderr)

    torch.ops.load_library = load_if_possible
    # OCDNet takes pycuda's context before TensorRT could; without a GPU there is neither, nor a wheel of pycuda.
    pycuda, pycuda.autoinit = types.ModuleType("pycuda"), types.ModuleType("pycuda.autoinit")
    context = types.SimpleNamespace(push=nothing, pop=nothing)
    pycuda.autoinit.device = types.SimpleNamespace(retain_primary_context=lambda: context)
    sys.modules.update({"pycuda": pycuda, "pycuda.autoinit": pycuda.autoinit})


def _to_cpu(to):
    """Tensor.to or Module.to that takes `cuda` for the CPU; some of TAO's exports ask for it by name."""

    def cpu(word):
        return "cpu" if type(word).__name__ in ("str", "device") and str(word).startswith("cuda") else word

    return lambda self, *args, **kwargs: to(self, *map(cpu, args), **{key: cpu(kwargs[key]) for key in kwargs})


def _lightning(lightning):
    import torch

    if torch.cuda.is_available():
        return
    start = lightning.Trainer.__init__

    def on_cpu(self, *args, **kwargs):
        kwargs.update(accelerator="cpu", devices=1, num_nodes=1, sync_batchnorm=False, strategy="auto")
        if str(kwargs.get("precision", "")).startswith(("16", "bf16")):
            kwargs["precision"] = "32-true"
        start(self, *args, **kwargs)

    lightning.Trainer.__init__ = on_cpu


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function with a module once it has been imported."""

    def __init__(self, hooks):
        self.hooks = hooks

    def find_spec(self, name, path, target=None):
        hook = self.hooks.pop(name, None)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if hook else None
        if spec is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            hook(module)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("NGCRUN_TAO_CPU") == "1":
    sys.meta_path.insert(0, _AfterImport({"torch": _torch, "pytorch_lightning": _lightning}))
