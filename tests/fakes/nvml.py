"""A stand-in for NVML on a machine without an NVIDIA driver: the device queries that runtime/local/lease.py asks.

Names and shapes are those of nvidia-ml-py 13.615.71; a GPU that is a list is one cut into MIG slices. It proves how
devices are shared out, and nothing about a GPU.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest


class NVMLError(Exception):
    """As pynvml has it."""


def install(monkeypatch: pytest.MonkeyPatch, gpus: list[Any]) -> None:
    """Put a `pynvml` with these GPUs in place of the real one; without any, NVML has no driver, as here."""

    def init() -> None:
        if not gpus:
            raise NVMLError("Driver Not Loaded")

    def mig_mode(index: int) -> list[int]:
        if isinstance(gpus[index], list):
            return [1, 1]
        raise NVMLError("Not Supported")

    def mig_handle(index: int, number: int) -> str:
        if number < len(gpus[index]):
            return str(gpus[index][number])
        raise NVMLError("Not Found")

    module = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_DEVICE_MIG_ENABLE=1,
        nvmlInit=init,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(gpus),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMigMode=mig_mode,
        nvmlDeviceGetMaxMigDeviceCount=lambda index: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=mig_handle,
        nvmlDeviceGetCudaComputeCapability=lambda handle: (9, 0),
        nvmlDeviceGetName=lambda handle: "NVIDIA H200",
        nvmlSystemGetDriverVersion=lambda: "580.159.04",
        nvmlDeviceGetUUID=lambda handle: handle if isinstance(handle, str) else gpus[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
