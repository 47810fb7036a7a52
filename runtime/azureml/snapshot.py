"""The files that travel with an asset, and their fingerprint: what AzureML would upload, and nothing else.

Source of the ignore rules: azure-ai-ml 1.35.2 (`.amlignore`, else `.gitignore`, in the folder itself).
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

WHEEL_LINE = "ngcrun-*.whl"
_NEVER = (".git", "__pycache__", ".ipynb_checkpoints", "*.pyc")


def files(folder: Path) -> Iterator[Path]:
    """Each file below `folder` that is uploaded, sorted; a single file is itself."""
    if folder.is_file():
        yield folder
        return
    ignored = [*_NEVER, *_ignore_lines(folder)]
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(d for d in folders if not _matches(Path(here, d).relative_to(folder), ignored))
        for name in sorted(names):
            path = Path(here, name)
            if not _matches(path.relative_to(folder), ignored):
                yield path


def _ignore_lines(folder: Path) -> list[str]:
    for name in (".amlignore", ".gitignore"):
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
            return [line.strip().strip("/") for line in lines if line.strip() and not line.startswith("#")]
    return []


def _matches(path: Path, patterns: list[str]) -> bool:
    text = path.as_posix()
    return any(fnmatch.fnmatch(text, p) or fnmatch.fnmatch(path.name, p) for p in patterns)


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
    """Copy the files that are uploaded to `target`, which is made."""
    for path in files(folder):
        place = target / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)
