"""Where ngcrun keeps what it makes once (environments, schemas), and how two processes make it only once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

STAMP = "ngcrun-complete.json"


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """`NGCRUN_CACHE`; else `.cache` of the checkout that this package is in; else `~/.cache/ngcrun`."""
    if environ.get("NGCRUN_CACHE"):
        return Path(environ["NGCRUN_CACHE"]).absolute()
    checkout = Path(__file__).resolve().parents[1]
    return checkout / ".cache" if (checkout / "noxfile.py").is_file() else Path.home() / ".cache" / "ngcrun"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock beside `folder`: others that want to make it wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_complete(folder: Path, wanted: Sequence[str]) -> bool:
    """Whether `folder` was finished with exactly `wanted` in it."""
    try:
        return bool(json.loads((folder / STAMP).read_text(encoding="utf-8")) == list(wanted))
    except (OSError, ValueError):
        return False


def complete(folder: Path, wanted: Sequence[str]) -> None:
    """Write the stamp that says so; the last act of making it."""
    (folder / STAMP).write_text(json.dumps(list(wanted)) + "\n", encoding="utf-8")
