"""What the layouts share: listing files, and saying many equal mistakes as one line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error

SHOWN = 3  # names in a line


def several(names: Sequence[str], noun: str, which: str) -> str:
    """`3 images without a label (a.png, b.png, c.png)`; the first few names, sorted as given."""
    rest = len(names) - SHOWN
    shown = ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
    return f"{plural(len(names), noun)} {which} ({shown})"


def plural(number: int, noun: str) -> str:
    """`1 image`, `2 images`, `2 classes`, `2 boxes`, `2 categories`."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith(('s', 'x', 'ch')) else 's'}"


def folder_missing(place: Place, todo: str) -> Finding | None:
    """An error when the place is no folder, else None."""
    if not place.path.exists():
        return error(place.key, place.value, "does not exist", todo)
    return None if place.path.is_dir() else error(place.key, place.value, "is no folder", todo)


def file_missing(place: Place, todo: str) -> Finding | None:
    """An error when the place is no file with something in it, else None."""
    if not place.path.exists():
        return error(place.key, place.value, "does not exist", todo)
    if place.path.is_dir():
        return error(place.key, place.value, "is a folder", todo)
    return None if place.path.stat().st_size else error(place.key, place.value, "is empty", todo)


def files(folder: Path, suffixes: Iterable[str] = ()) -> list[Path]:
    """The files of a folder, sorted by name; only those with one of `suffixes` (compared without case) when given."""
    wanted = tuple(suffix.lower() for suffix in suffixes)
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_file() and (not wanted or e.name.lower().endswith(wanted))]
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted(folder / e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def too_few(parts: Parts, split: str, count: int) -> list[Finding]:
    """An error when a split does not fill one batch on every GPU: TAO refuses that after it has loaded the model.

    Source: nvidia-tao-pytorch 7.3.0, core/lightning/tao_lightning_module.py, `_dataloader_batch_check`, read.
    """
    batch = parts.batch(split)
    if batch is None or not isinstance(batch.value, int) or batch.value < 1 or not count:
        return []
    if count >= batch.value * parts.gpus:
        return []
    wrong = f"{split} has {plural(count, 'sample')}, less than one batch on {plural(parts.gpus, 'GPU')}"
    most = count // parts.gpus
    todo = f"set it to {most} or less, or add samples" if most else "add samples, or use fewer GPUs"
    return [error(batch.key, batch.value, wrong, todo)]
