"""A file that is being downloaded: what is there already, and what the server said it belongs to."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

CHUNK = 1 << 20


@dataclass
class State:
    """What a later start needs to know.

    Attributes:
        validator: strong ETag, or date of the last change, that the bytes belong to; empty when the server gave none.
        total: bytes of the whole file; None when unknown.
    """

    validator: str = ""
    total: int | None = None


class Part:
    """The bytes of one download in a folder that outlives the run; `hash` is that of all bytes so far."""

    def __init__(self, folder: Path, key: str) -> None:
        name = hashlib.sha256(key.encode()).hexdigest()[:24]  # no name from outside, and no secret, becomes a path
        self.path, self._state_path = folder / f"{name}.part", folder / f"{name}.json"
        self.state = self._read_state()
        self.hash = hashlib.sha256()
        self.size = 0
        if self.path.is_file():
            for chunk in chunks(self.path):
                self.hash.update(chunk)
                self.size += len(chunk)

    def _read_state(self) -> State:
        try:
            return State(**json.loads(self._state_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return State()

    def remember(self, state: State) -> None:
        """Write down what the bytes belong to, before the first of them."""
        self.state = state
        self._state_path.write_text(json.dumps(asdict(state)) + "\n", encoding="utf-8")

    def restart(self) -> None:
        """Throw the bytes away."""
        self.path.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)
        self.state, self.hash, self.size = State(), hashlib.sha256(), 0

    @contextlib.contextmanager
    def appending(self) -> Iterator[IO[bytes]]:
        """The file, unbuffered: what was received is there whatever happens next."""
        with self.path.open("ab", buffering=0) as file:
            yield file

    def add(self, file: IO[bytes], data: bytes) -> None:
        """Append bytes that were received."""
        view = memoryview(data)
        while view:  # an unbuffered write may take a part of it
            view = view[file.write(view) :]
        self.hash.update(data)
        self.size += len(data)

    def take(self, target: Path) -> None:
        """Move the finished file to its place: by rename, or by copying to another disk."""
        import shutil

        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self.path, target)
        self.forget()

    def forget(self) -> None:
        """Remove what is left of it."""
        self.path.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)


def chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a MiB at a time."""
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            yield data


def validator_of(headers: Any) -> str:
    """What `If-Range` can carry: a strong ETag, else the date of the last change. Source: RFC 9110, 13.1.5."""
    etag = headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return str(etag)
    return str(headers.get("Last-Modified", ""))
