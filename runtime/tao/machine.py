"""What a run needs of this machine: the GPUs that the spec names, and room for its checkpoints."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.tao import finding
from runtime.tao.finding import Finding

# One checkpoint with its optimizer. Measured: classification_pyt resnet_18 134 MB; larger networks write more.
CHECKPOINT_MIB = 134
FULL_MIB = 200  # below this a run cannot even begin


def gpu_count() -> int | None:
    """How many NVIDIA GPUs the driver shows; None where there is no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return None
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        with contextlib.suppress(Exception):
            pynvml.nvmlShutdown()


def check(values: Mapping[str, Any], section: str, device: str, results: Path | None) -> Iterator[Finding]:
    """GPUs and disk; `section` is the action's part of the spec."""
    if device == "gpu":
        yield from _gpus(values, section)
    if results is not None:
        yield from _disk(values, section, results)


def _gpus(values: Mapping[str, Any], section: str) -> Iterator[Finding]:
    count = gpu_count()
    if not count:
        todo = "add device=cpu to rehearse without one, or run on a GPU node (`ngcrun doctor` says what is here)"
        yield finding.error("device", "gpu", "this machine has no NVIDIA GPU", todo)
        return
    part = values.get(section if section != "distill" else "train") or {}
    wanted = part.get("num_gpus") if isinstance(part, Mapping) else None
    ids = part.get("gpu_ids") if isinstance(part, Mapping) else None
    if isinstance(wanted, int) and wanted > count:
        yield finding.error(f"{section}.num_gpus", wanted, f"this machine has {count} GPUs", f"give {count} or less")
    if isinstance(ids, list) and any(isinstance(i, int) and i >= count for i in ids):
        yield finding.error(f"{section}.gpu_ids", ids, f"this machine has GPUs 0 to {count - 1}", "name those")


def _disk(values: Mapping[str, Any], section: str, results: Path) -> Iterator[Finding]:
    """TAO keeps every checkpoint; so the room that it takes grows with the epochs."""
    folder = results
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**20
    train = values.get("train") or {}
    count = 1
    if section in ("train", "distill") and isinstance(train.get("num_epochs"), int):
        interval = train.get("checkpoint_interval")
        count = max(1, train["num_epochs"] // max(1, interval if isinstance(interval, int) else 1))
    wanted = count * CHECKPOINT_MIB
    if free < FULL_MIB:
        todo = "free some space or name another disk"
        yield finding.error("results", folder, f"has only {free:.0f} MiB free", todo)
    elif free < wanted:
        wrong = f"has {free / 1024:.1f} GiB free; {count} checkpoints take {wanted / 1024:.1f} GiB or more"
        yield finding.warning("results", folder, wrong, "raise train.checkpoint_interval, or free some space")
