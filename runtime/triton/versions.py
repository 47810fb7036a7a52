"""Versions in a model repository that is in use: one is added, or another one served, and nothing else is touched.

Everything is staged beside the repository and appears by a rename; a lock lets one change happen at a time. Nothing of
this lies in the repository itself, where a server that polls would take any folder for a model.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import BadInput
from runtime.triton import model_config
from runtime.triton.check import check_repository
from runtime.triton.check_files import version_folders
from runtime.triton.config_text import Editor
from runtime.triton.model_config import FILE

PORT = "repository"
LATEST = "latest"


@dataclass(frozen=True)
class Added:
    """What `add` did: the model, its new version, whether the policy serves it, and the settings not taken over."""

    model: str
    version: int
    served: bool
    kept: tuple[str, ...]


@contextlib.contextmanager
def locked(repository: Path) -> Iterator[Path]:
    """Hold the repository for one change; gives a fresh staging folder beside it, which is gone afterwards."""
    parent = repository.resolve().parent
    mark = f".{repository.resolve().name}.ngcrun"
    with (parent / f"{mark}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in parent.glob(f"{mark}-*"):  # of one that was killed
            shutil.rmtree(left, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=f"{mark}-", dir=parent))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def add(repository: Path, package: Path, *, model: str | None = None, version: int | None = None) -> Added:
    """Add the newest version of a packaged model; `version`: under this number, absent: its own if free, else the next.

    The config.pbtxt of a model that is there is kept; the model must take and give the same tensors.
    Raises `BadInput` with the repository as it was.
    """
    source = check_repository(package, model)
    newest = source.folder / str(max(source.versions))
    repository.mkdir(parents=True, exist_ok=True)
    with locked(repository) as staging:
        folder = repository / source.name
        there = version_folders(folder) if folder.is_dir() else []
        number = _number(folder, there, version, int(newest.name))
        kept = _same_model(folder, source) if there else ()
        if there:
            _copy(newest, staging / str(number))
            (staging / str(number)).rename(folder / str(number))
        else:
            _copy(source.folder, staging / source.name, without=set(map(str, source.versions)))
            _copy(newest, staging / source.name / str(number))
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
            (staging / source.name).rename(folder)
        served = number in served_versions(model_config.read(folder / FILE), version_folders(folder))
    return Added(source.name, number, served, kept)


def _number(folder: Path, there: list[int], wanted: int | None, own: int) -> int:
    if wanted is not None and wanted in there:
        wrong = f"is there already, in {folder}"
        raise BadInput.of("version", wanted, wrong, f"leave it out for {max(there) + 1}, or name a free one")
    return wanted or (own if own not in there and own > max(there, default=0) else max(there) + 1)


def _same_model(folder: Path, source: Any) -> tuple[str, ...]:
    """Raises `BadInput` for another model; returns the settings in which the two configs differ."""
    ours = model_config.read(folder / FILE)
    a, b = model_config.signature_of(ours), source.signature
    if (a.inputs, a.outputs) != (b.inputs, b.outputs):
        now = ", ".join(f"{t.name} {t.text()}" for t in (*a.inputs, *a.outputs))
        new = ", ".join(f"{t.name} {t.text()}" for t in (*b.inputs, *b.outputs))
        wrong = f"takes and gives {now}, the package {new}"
        raise BadInput.of(PORT, folder, wrong, "add it under another name: model_name of triton_package")
    if ours.backend != source.config.backend:
        wrong = f"runs on {ours.backend}, the package on {source.config.backend}"
        raise BadInput.of(PORT, folder, wrong, f"package it for that: backend={ours.backend} or target")
    names = [f.name for f in ours.DESCRIPTOR.fields if getattr(ours, f.name) != getattr(source.config, f.name)]
    return tuple(name for name in names if name not in ("name", "version_policy"))


def _copy(source: Path, target: Path, without: set[str] | None = None) -> None:
    """The folder, its files shared with the source where the file system can (both are ngcrun's, and never edited)."""
    shutil.copytree(
        source, target, copy_function=link, ignore=lambda at, _: (without or set()) if Path(at) == source else set()
    )


def link(source: str, target: str) -> None:
    """The file under another name, or a copy of it where that cannot be; for files that nobody edits."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def served_versions(config: Any, there: list[int]) -> list[int]:
    """Which versions a server loads. Source: model_config.proto, ModelVersionPolicy; without one the newest alone."""
    policy = config.version_policy.WhichOneof("policy_choice")
    if policy == "all":
        return there
    if policy == "specific":
        return [number for number in there if number in config.version_policy.specific.versions]
    return there[-(config.version_policy.latest.num_versions or 1) :] if there else []


def serve(repository: Path, model: str, version: int | str | None = None) -> list[int]:
    """Make a server load one version: a number, `latest`, or None for the one before the newest that is served now.

    Only `version_policy` in config.pbtxt changes, whole or not at all; no version is touched. Returns what is served.
    """
    folder = repository / model
    if not (folder / FILE).is_file():
        raise BadInput.of(PORT, folder, "is no model of this repository", "ngcrun triton list REPOSITORY shows them")
    with locked(repository) as staging:
        there, path = version_folders(folder), folder / FILE
        now = served_versions(model_config.read(path), there)
        wanted = _wanted(folder, there, now, version)
        editor = Editor(path.read_text(encoding="utf-8"))
        for entry in editor.tree.named("version_policy"):
            editor.remove(entry)
        if wanted != LATEST:
            editor.add(editor.tree, f"version_policy {{ specific {{ versions: [{wanted}] }} }}")
        text = editor.done()
        config = model_config.parse(text)
        (staging / FILE).write_text(text, encoding="utf-8")
        (staging / FILE).replace(path)
    return served_versions(config, there)


def _wanted(folder: Path, there: list[int], now: list[int], version: int | str | None) -> int | str:
    if version is not None and (version == LATEST or version in there):
        return version
    if version is not None:
        names = ", ".join(map(str, there)) or "none"
        raise BadInput.of("to", version, f"is no version of {folder}", f"it has {names}; or say latest")
    older = [number for number in there if number < max(now, default=0)]
    if not older:
        raise BadInput.of(PORT, folder, "has no version before the one that is served", "name another: --to N")
    return max(older)
