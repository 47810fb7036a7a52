"""GPU utilisation while TAO runs, from NVML, as metrics; nothing where there is no driver."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from runtime.metrics import Metrics

EVERY_S = 5.0


@contextlib.contextmanager
def sampled(metrics: Metrics, device: str) -> Iterator[None]:
    """Log utilisation (percent) and memory (MiB) of every GPU each `EVERY_S` seconds; the step is the second."""
    end = threading.Event()
    thread = threading.Thread(target=_sample, args=(metrics, end), name="nvml", daemon=True)
    if device == "gpu":
        thread.start()
    try:
        yield
    finally:
        end.set()
        if thread.is_alive():
            thread.join(EVERY_S)


def _sample(metrics: Metrics, end: threading.Event) -> None:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return  # no driver: the check before the start has said so
    began = time.monotonic()
    with contextlib.suppress(Exception):  # a GPU that falls off the bus ends TAO, and that is told
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        while not end.wait(EVERY_S):
            figures = {}
            for index, handle in enumerate(handles):
                figures[f"system/gpu_{index}_utilization_percent"] = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
                figures[f"system/gpu_{index}_memory_mib"] = pynvml.nvmlDeviceGetMemoryInfo(handle).used / 2**20
            metrics.log(figures, int(time.monotonic() - began))
    pynvml.nvmlShutdown()
