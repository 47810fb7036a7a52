"""What a file or a folder holds, as one SHA-256: names and bytes, not times, owners or modes.

A manifest remembers each file's stat beside its hash, so that what has not been touched is not read again. The stat is
size, mtime, ctime and inode: the ctime no program can set. Where that proves nothing, because a file was changed so
shortly before it was read that the clock may not have ticked since, the file is read again (git calls it racy).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_TICK_NS = 50_000_000  # several times the coarsest clock of a Linux file system, 10 ms (CONFIG_HZ=100)
_CHUNK = 1 << 20
_Stat = tuple[int, int, int, int]
_Known = dict[str, tuple[_Stat, str]]


@dataclass(frozen=True)
class Content:
    """The hash of a file or folder, how many bytes in how many files, and how many of them had to be read."""

    digest: str
    size: int
    files: int
    read: int = 0


def of(path: Path, manifests: Path | None = None, files: Iterable[Path] | None = None) -> Content:
    """What `path` holds now. With a folder of `manifests`, files whose stat has not changed are not read again.

    `files`: those below it that count, where not all do.
    Links are followed, as an upload does; one that leads nowhere counts by its target. Empty folders do not count, as
    blob storage has none. Raises OSError where something cannot be read.
    """
    place = manifests / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json" if manifests else None
    at_rest = (
        _file_clock(place) - _TICK_NS if place else 0
    )  # before the walk: what changes from now on has a later stat
    known = _load(place)
    found = sorted(_walk(str(path), "") if files is None else _listed(path, files))
    wanted = [(name, file) for name, file, stat in found if known.get(name, (None,))[0] != stat]
    digests = {name: held[1] for name, held in known.items()} | _read(wanted)
    whole = hashlib.sha256()
    for name, _, _ in found:
        whole.update(f"{name}\0{digests[name]}\n".encode("utf-8", "surrogateescape"))
    if place is not None and (wanted or len(known) != len(found)):
        _save(place, [row for row in found if max(row[2][1], row[2][2]) < at_rest], digests)
    return Content(whole.hexdigest(), sum(stat[0] for _, _, stat in found), len(found), len(wanted))


def digest_of(text: str) -> str:
    """SHA-256 of text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _walk(path: str, name: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[tuple[str, str, _Stat]]:
    """Each file below `path`: its name in it, where it is, its stat."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - pathlib doubles the time of a walk
    except OSError:
        stat = os.lstat(path)
    here = (stat.st_dev, stat.st_ino)
    if not os.path.isdir(path):  # noqa: PTH112 - as above
        yield name, path, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    elif here not in above:  # a link to a folder above itself ends here
        for entry in os.listdir(path):  # noqa: PTH208 - as above
            yield from _walk(f"{path}/{entry}", f"{name}/{entry}" if name else entry, (*above, here))


def _listed(path: Path, files: Iterable[Path]) -> Iterator[tuple[str, str, _Stat]]:
    for file in files:
        yield from _walk(str(file), file.relative_to(path).as_posix())


def _read(wanted: list[tuple[str, str]]) -> dict[str, str]:
    if len(wanted) < 2:
        return {name: _digest(file) for name, file in wanted}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashlib lets go of the interpreter
        return dict(zip((n for n, _ in wanted), pool.map(_digest, (f for _, f in wanted)), strict=True))


def _digest(file: str) -> str:
    if os.path.islink(file) and not os.path.exists(file):  # noqa: PTH110, PTH114 - as above
        return "link:" + hashlib.sha256(os.fsencode(os.readlink(file))).hexdigest()  # noqa: PTH115 - as above
    digest = hashlib.sha256()
    with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - as above
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _load(place: Path | None) -> _Known:
    if place is None:
        return {}
    try:
        rows = json.loads(place.read_text(encoding="utf-8", errors="surrogateescape"))
        return {name: ((size, mtime, ctime, inode), digest) for name, size, mtime, ctime, inode, digest in rows}
    except (OSError, ValueError, TypeError):  # absent, or not one of ours: everything is read
        return {}


def _save(place: Path, found: list[tuple[str, str, _Stat]], digests: dict[str, str]) -> None:
    """A store that cannot be written costs time, not the run."""
    rows = [[name, *stat, digests[name]] for name, _, stat in found]
    partial = place.with_suffix(f".{os.getpid()}.partial")
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8", errors="surrogateescape")
        partial.replace(place)


def _file_clock(place: Path) -> int:
    """The time as this file system writes it: a network file system has a clock of its own."""
    probe = place.with_suffix(f".{os.getpid()}.clock")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        now = probe.stat().st_mtime_ns
        probe.unlink()
    except OSError:
        return 0
    return now
