"""GPUs shared out among steps, also those of other ngcrun processes on this machine, so that no two use the same one.

A device is held by a lock on a file; the kernel lets go of it when the process that holds it ends, however that is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.errors import Problem, ToolFailed
from runtime.local.distribute import processes
from runtime.local.graph import Step, Value

LOOK_S = 0.1
CPU = "cpu"


def inventory(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The UUIDs of this machine's GPUs, and of the MIG slices in place of a GPU that is cut up; empty without a driver.

    CUDA_VISIBLE_DEVICES, when set, says which of them are ours. Source: NVML API reference, device queries, MIG.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver, or one that does not answer: there is no GPU to share out
        return []
    try:
        found = [uuid for i in range(pynvml.nvmlDeviceGetCount()) for uuid in _uuids(pynvml, i)]
    finally:
        pynvml.nvmlShutdown()
    asked = environ.get("CUDA_VISIBLE_DEVICES")
    if asked is None:
        return found
    names = [name.strip() for name in asked.split(",") if name.strip()]
    return [found[int(n)] if n.isdigit() and int(n) < len(found) else n for n in names if n.isdigit() or n in found]


def _uuids(nvml: Any, index: int) -> list[str]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    slices = []
    with contextlib.suppress(nvml.NVMLError):  # most GPUs know no MIG
        if nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE:
            for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                with contextlib.suppress(nvml.NVMLError):  # the places that are not taken
                    piece = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
                    slices.append(_text(nvml.nvmlDeviceGetUUID(piece)))
    return slices or [_text(nvml.nvmlDeviceGetUUID(handle))]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class Lease:
    """The devices of this machine; `folder` holds their lock files, the same for every user and process."""

    def __init__(self, devices: Sequence[str], folder: Path | None = None) -> None:
        self.devices = list(devices)
        self.folder = folder or Path(tempfile.gettempdir()) / "ngcrun-gpus"

    @contextlib.contextmanager
    def take(self, count: int, stopping: threading.Event) -> Iterator[list[str]]:
        """Hold `count` devices while the block runs; waits for them until `stopping` is set, then gives none.

        All or none: two steps that each hold half of what they need would wait for ever.
        """
        with contextlib.ExitStack() as held:
            while count:
                attempt = contextlib.ExitStack()
                taken = self._some(count, attempt)
                if len(taken) == count:
                    held.push(attempt)
                    yield taken
                    return
                attempt.close()
                if stopping.wait(LOOK_S):
                    break
            yield []

    def _some(self, count: int, held: contextlib.ExitStack) -> list[str]:
        taken: list[str] = []
        for device in self.devices:
            if len(taken) < count and self._lock(device, held):
                taken.append(device)
        return taken

    def _lock(self, device: str, held: contextlib.ExitStack) -> bool:
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                self.folder.chmod(0o1777)
            number = os.open(self.folder / f"{device}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ToolFailed(f"{self.folder}: no GPU can be leased there ({error.strerror})") from error
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(number)
            return False
        held.callback(os.close, number)
        return True


def wanted(step: Step, per_step: int | None, devices: int) -> int:
    """How many GPUs a step gets: what `--gpus` says, one a process that is to be started, else one where there are any.

    A step of ours that is told to use the CPU (`device: cpu`, `engine: cpu`) gets none.
    """
    literals = [s.value for name, s in step.inputs.items() if name in ("device", "engine") and isinstance(s, Value)]
    if CPU in literals:
        return 0
    if per_step is not None:
        return per_step
    if step.spec.get("distribution"):
        nodes, each = processes(step.spec)
        return nodes * each if devices else 0
    return min(1, devices)


def problems(steps: Mapping[str, Step], per_step: int | None, devices: Sequence[str]) -> list[Problem]:
    """Steps that ask for more than there is, and so would wait for ever."""
    found = []
    for step in steps.values():
        count = wanted(step, per_step, len(devices))
        if count > len(devices):
            there = f"asks for {count} GPUs, and this machine has {len(devices)}"
            found.append(Problem(step.id, count, there, "ask for fewer (--gpus N, process_count_per_instance)"))
    return found
