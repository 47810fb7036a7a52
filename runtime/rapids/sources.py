"""What a step read, told to MLflow as dataset inputs: where it was, and a checksum of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from runtime.metrics import Metrics
from runtime.redact import redacted
from runtime.remote_path import as_remote

DIGEST_CHARS = 36  # Source: mlflow 3.15.0, MAX_DATASET_DIGEST_SIZE


def log(metrics: Metrics, port: str, root: Path, files: Sequence[Path]) -> None:
    """Record the files below `root` that `port` reads; the work goes on meanwhile.

    The digest is over each file's name with the SHA-256 of its content, or in storage the tag that the store gives it.
    """
    source = redacted(str(root)) if as_remote(root) else str(root.resolve())
    metrics.later(lambda: metrics.dataset(port, source, digest(root, files), len(files)))


def digest(root: Path, files: Sequence[Path]) -> str:
    """The same for the same files with the same bytes, wherever they lie."""
    total = hashlib.sha256()
    for file in files:
        name = file.relative_to(root).as_posix() if file != root and file.is_relative_to(root) else file.name
        total.update(f"{name}\0{_of(file)}\0".encode())
    return total.hexdigest()[:DIGEST_CHARS]


def _of(file: Path) -> str:
    remote = as_remote(file)
    if remote is not None:
        there = remote.stat()
        return f"{there.st_size} {there.tag}"
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
