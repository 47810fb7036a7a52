"""The files that travel with an asset, and their fingerprint: what AzureML would upload, and nothing else.

Source of the ignore rules: azure-ai-ml 1.35.2, `_utils/_asset_utils.py` (`.amlignore`, else `.gitignore`, of the folder
itself and of none below or above it).
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pathspec

WHEEL_LINE = "ngcrun-*.whl"
_NEVER = (".git", "__pycache__", ".ipynb_checkpoints", "*.pyc")


def files(folder: Path, without: Path | None = None) -> Iterator[Path]:
    """Each file below `folder` that is uploaded, sorted; a single file is itself. `without`: a folder left out."""
    if folder.is_file():
        yield folder
        return
    excluded = _excluded(folder)
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(d for d in folders if not _matches(d) and Path(here, d) != without)
        for name in sorted(names):
            path = Path(here, name)
            if not _matches(name) and not excluded.match_file(path.relative_to(folder).as_posix()):
                yield path


def _excluded(folder: Path) -> pathspec.PathSpec[Any]:
    """The rules of the folder's own ignore file, with git's patterns, the last that matches a file decides."""
    for name in (".amlignore", ".gitignore"):
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
            return pathspec.PathSpec.from_lines("gitignore", lines)
    return pathspec.PathSpec([])


def _matches(name: str) -> bool:
    return any(fnmatch.fnmatch(name, p) for p in _NEVER)


def fingerprint(folder: Path) -> str:
    """SHA-256 of names and contents; not of times or modes, which a clone does not keep."""
    digest = hashlib.sha256()
    for path in files(folder):
        name = path.name if folder.is_file() else path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def holds_package(context: Path) -> bool:
    """Whether a build context installs this package: its Dockerfile copies the wheel."""
    dockerfile = context / "Dockerfile"
    return dockerfile.is_file() and WHEEL_LINE in dockerfile.read_text(encoding="utf-8")


def package_fingerprint(root: Path) -> str:
    """SHA-256 of what goes into the wheel of this package: its sources and its metadata."""
    digest = hashlib.sha256((root / "pyproject.toml").read_bytes())
    digest.update(fingerprint(root / "runtime").encode())
    return digest.hexdigest()


def copy(folder: Path, target: Path) -> None:
    """Copy the files that are uploaded to `target`, which is made; a single file becomes `target`."""
    for path in files(folder):
        place = target / path.relative_to(folder)  # of a file itself that is `.`
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)
