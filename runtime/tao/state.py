"""Checkpoints that survive: mirrored out of a running training as they appear, and put back by the next start.

TAO trains in a folder of ours that is thrown away with a failed run. Each checkpoint that is whole is linked (or
copied) to the `state` output, with status.json; a node that was preempted starts again from there. Plain files only:
an AzureML output is a mount that has no links.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from runtime.errors import BadInput
from runtime.tao.network import Network

CARD = "state.json"
SPEC = "spec"
KEPT = 2  # checkpoints: the last, and the one before in case the last turns out to be cut short
_SUFFIXES = (".pth", ".ckpt", ".hdf5", ".tlt", ".ckzip")


@contextlib.contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold `state` for this run; raises `BadInput` when another run of this machine holds it."""
    with (state / "lock").open("a+") as lock:
        if not _try_lock(lock):
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            todo = "wait for it, stop it, or name another folder"
            raise BadInput.of("state", state, f"is in use by another run (process {owner})", todo)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            (state / "lock").unlink(missing_ok=True)


def _try_lock(lock: IO[str]) -> bool:
    """Whether the lock is ours; a file system without locks gives it to everyone."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def restore(state: Path, results: Path, network: Network, action: str) -> Path | None:
    """Put the newest whole checkpoint of an earlier start into `results`; None when there is none.

    A yaml network finds it through the `*_latest.pth` link that TAO itself would have left. A checkpoint that was cut
    short falls back to the one before.

    Raises:
        BadInput: the state is of another network or action.
    """
    known = _card(state)
    if known is None:
        return None
    if (known.get("network"), known.get("action")) != (network.name, action):
        wrong = f"holds a run of {known.get('network')} {known.get('action')}"
        raise BadInput.of("state", state, wrong, f"name another folder for {network.name} {action}")
    files = [state / str(name) for name in known.get("checkpoints", ())]
    whole = [file for file in files if is_whole(file)]
    if not whole:
        return None
    kept: list[Path] = whole if network.is_tf1 else [whole[-1]]
    for file in kept:
        target = results / file.relative_to(state)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    if not network.is_tf1 and network.latest and "*" not in network.latest:
        link = results / kept[-1].relative_to(state).parent / network.latest
        link.unlink(missing_ok=True)
        link.symlink_to(kept[-1].name)
    for status in state.rglob("status.json"):
        target = results / status.relative_to(state)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(status, target)
    return kept[-1]


def spec_changed(state: Path, spec: str) -> bool:
    """Whether the kept checkpoints come from another spec than this text, which has `${results}` for the folder."""
    kept = state / SPEC
    return kept.is_file() and kept.read_text(encoding="utf-8") != spec


def _card(state: Path) -> dict[str, Any] | None:
    """What the state is of; None when nothing was kept, or its card was cut short (the training begins anew)."""
    try:
        known = json.loads((state / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) else None


def is_whole(file: Path) -> bool:
    """Whether a checkpoint was written to its end: a torch file is a zip whose directory stands at its end."""
    try:
        if not file.is_file() or file.stat().st_size == 0:
            return False
        return file.suffix not in (".pth", ".ckpt") or zipfile.is_zipfile(file)
    except OSError:
        return False


class Mirror:
    """Copies what a training has finished to `state`; call it now and then."""

    def __init__(self, results: Path, state: Path, network: Network, action: str, spec: str) -> None:
        self.results, self.state, self.network, self.action, self.spec = results, state, network, action, spec
        self._sizes: dict[Path, int] = {}

    def __call__(self, *, final: bool = False) -> None:
        """Mirror each checkpoint that did not grow since the last call (`final`: any that is whole)."""
        done = []
        found = [p for p in self.results.rglob("*") if p.suffix in _SUFFIXES and not p.is_symlink() and p.is_file()]
        found.sort(key=lambda p: (p.stat().st_mtime_ns, p.name))
        for file in found[-KEPT:]:
            size = file.stat().st_size
            if (final or self._sizes.get(file) == size) and is_whole(file):
                done.append(file)
            self._sizes[file] = size
        if done or final:
            self._keep(done)

    def _keep(self, files: list[Path]) -> None:
        names = [str(file.relative_to(self.results)) for file in files]
        for file, name in zip(files, names, strict=True):
            target = self.state / name
            if not target.is_file() or target.stat().st_size != file.stat().st_size:
                _place(file, target)
        for status in self.results.rglob("status.json"):
            _place(status, self.state / status.relative_to(self.results), link=False)
        if not names:
            return
        (self.state / SPEC).write_text(self.spec, encoding="utf-8")
        known = {"network": self.network.name, "action": self.action, "checkpoints": names}
        partial = self.state / f".{CARD}"
        partial.write_text(json.dumps(known) + "\n", encoding="utf-8")
        partial.replace(self.state / CARD)
        for old in [p for p in self.state.rglob("*") if p.suffix in _SUFFIXES]:
            if str(old.relative_to(self.state)) not in names:
                old.unlink(missing_ok=True)


def _place(file: Path, target: Path, *, link: bool = True) -> None:
    """A hard link where that can be (TAO replaces checkpoints, it does not rewrite them), else a copy; whole or not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    if not (link and _linked(file, partial)):
        shutil.copy2(file, partial)
    partial.replace(target)


def _linked(file: Path, target: Path) -> bool:
    try:
        os.link(file, target)
    except OSError:
        return False
    return True
