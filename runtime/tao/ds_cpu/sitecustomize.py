"""Lets the unmodified nvidia-tao-ds run outside NVIDIA's image: this folder goes on the PYTHONPATH of TAO's Python.

Active only with `NGCRUN_TAO_DS_CPU=1`. What can be imported is left alone; the rest of what nvidia-tao-ds imports,
and does not need for these services, is replaced by modules that do nothing. Without a GPU (no `nvidia-smi`), the entry
point is told of one device and DALI's pipelines are put on its CPU backend.

Source of what is missing: nvidia-tao-ds 7.3.0, run: core/logging/logging.py (torch, lightning, status_callback),
annotations/conversion/aicity_to_ovpkl.py (spatialai_data_utils), core/entrypoint/entrypoint.py (`nvidia-smi -L`),
augmentation/scripts/generate.py (mpi4py), augmentation/pipeline/sharded_pipeline.py (`device="mixed"`, `device_id=0`).
"""

import importlib.abc
import importlib.machinery
import os
import shutil
import subprocess
import sys


def _nothing(*_args, **_kwargs):
    return None


def _itself(function):
    return function


def _absent(*_args, **_kwargs):
    raise ImportError("spatialai_data_utils is in NVIDIA's image only: convert AICity there")


class _Tensor:
    """What scipy looks for in a torch that was imported."""


class _Mpi:
    """One process: there is nobody to wait for."""

    class COMM_WORLD:  # noqa: N801 - mpi4py's name
        Barrier = staticmethod(_nothing)


_CLOUD = "nvidia_tao_core.microservices.handlers.cloud_handlers"
STAND_INS = {
    "torch": {"Tensor": _Tensor},
    "torch.distributed": {"is_available": lambda: False, "is_initialized": lambda: False},
    "pytorch_lightning": {},
    "pytorch_lightning.utilities": {"rank_zero_only": _itself, "rank_zero_warn": _nothing},
    **{_CLOUD.rsplit(".", left)[0]: {} for left in range(4)},
    f"{_CLOUD}.utils": {"status_callback": _nothing},
    "spatialai_data_utils": {},
    "spatialai_data_utils.constants": {"FPS": 30},
    "spatialai_data_utils.loaders": {},
    "spatialai_data_utils.loaders.calibration": {"load_calib": _absent},
    "spatialai_data_utils.utils": {},
    "spatialai_data_utils.utils.camera_name_utils": {"get_cam_names_in_scene": _absent},
    "mpi4py": {"MPI": _Mpi},
}


def _dali(dali):
    decode, pipeline_def = dali.fn.image_decoder, dali.pipeline_def
    dali.fn.image_decoder = lambda *args, **kwargs: decode(*args, **{**kwargs, "device": "cpu"})
    dali.pipeline_def = lambda **kwargs: pipeline_def(**{**kwargs, "device_id": None})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Puts the stand-ins where the real packages are not, and DALI on the CPU once it has been imported."""

    def __init__(self, gpu):
        self.hooks, self.ours = {} if gpu else {"nvidia.dali": _dali}, set()

    def find_spec(self, name, path, target=None):
        top = name.partition(".")[0]
        if name in STAND_INS and (
            top in self.ours or (top == name and not importlib.machinery.PathFinder.find_spec(name))
        ):
            self.ours.add(top)
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        hook = self.hooks.pop(name, None)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if hook else None
        if spec is not None:
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (run(module), hook(module))
        return spec

    def exec_module(self, module):
        vars(module).update(STAND_INS[module.__name__])


def _one_device(argv, *args, _run=subprocess.check_output, **kwargs):
    return b"GPU 0: the CPU (UUID: none)" if argv == ["nvidia-smi", "-L"] else _run(argv, *args, **kwargs)


if os.environ.get("NGCRUN_TAO_DS_CPU") == "1":
    sys.meta_path.insert(0, _Finder(gpu=shutil.which("nvidia-smi")))
    if not shutil.which("nvidia-smi"):
        subprocess.check_output = _one_device
