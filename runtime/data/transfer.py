"""One file from its source to the disk: resumed where that is safe, tried again where that helps, verified at the end.

Source: RFC 9110, sections 13.1.5 (If-Range), 14.2 (Range), 14.4 (Content-Range), 15.3.7 (206), 15.5.17 (416).
"""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runtime.data import address, web
from runtime.data.part import CHUNK, Part, State, chunks, validator_of
from runtime.data.web import Access, Again, Status
from runtime.errors import BadInput, ToolFailed
from runtime.redact import redacted

LONGEST_PAUSE_S = 30.0
PROGRESS_BYTES = 1 << 20  # so many new bytes make a failure the first one again
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Stopped(Exception):
    """Another download failed, or the run is being stopped."""


@dataclass(frozen=True)
class Wanted:
    """One file to fetch.

    Attributes:
        url: http, https or file address, or a path.
        place: where it goes, relative to the output; for one that is unpacked, the folder for its members.
        port: what an error is told of, such as `manifest[2].url`.
        sha256: 64 lower case digits; None when nothing is known.
        base: what a relative path is relative to.
    """

    url: str
    place: str
    port: str = "urls"
    sha256: str | None = None
    size_bytes: int | None = None
    unpack: bool = False
    base: Path = field(default_factory=Path)

    @property
    def shown(self) -> str:
        """The address without its secrets."""
        return redacted(self.url)


@dataclass(frozen=True)
class Policy:
    """How much is tried. `retries` follow the first try; progress in between gives them all back."""

    access: Access = field(default_factory=Access)
    retries: int = 5
    pause_s: float = 0.5
    secret: str = "NGCRUN_DOWNLOAD_TOKEN"  # noqa: S105 - the name of the variable that holds it

    def pause(self, tries: int, failure: Again, what: str) -> float:
        """Seconds until the next try: what the server asked for, else twice as long as before, spread a little."""
        if failure.wait_s is None:
            return min(LONGEST_PAUSE_S, self.pause_s * 2.0 ** (tries - 1)) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        if failure.wait_s > web.LONGEST_WAIT_S:
            raise ToolFailed(f"{what}: {failure}, to be asked again in {failure.wait_s:.0f} s; do so")
        return failure.wait_s


@dataclass(frozen=True)
class Fetched:
    """A file that is whole and verified, still in its part."""

    wanted: Wanted
    part: Part
    sha256: str
    seconds: float
    resumed_from: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.part.size


def fetch(wanted: Wanted, folder: Path, policy: Policy, stop: threading.Event, tick: Callable[[int], None]) -> Fetched:
    """Download one file into `folder`; `tick` gets the bytes as they come (negative when some are thrown away).

    Raises:
        BadInput: the source cannot be had as it was given.
        ToolFailed: the network or the server failed for good, or the checksum is wrong.
        Stopped: `stop` was set.
    """
    if stop.is_set():
        raise Stopped
    return _Transfer(wanted, folder, policy, stop, tick).run()


class _Transfer:
    """The state of one download."""

    def __init__(
        self, wanted: Wanted, folder: Path, policy: Policy, stop: threading.Event, tick: Callable[[int], None]
    ) -> None:
        self.wanted, self.policy, self.stop, self.tick = wanted, policy, stop, tick
        self.part = Part(folder, f"{wanted.place}\n{wanted.shown}\n{wanted.sha256}")
        self.resumed_from, self.joined = self.part.size, bool(self.part.size)
        tick(self.part.size)

    def run(self) -> Fetched:
        began = time.monotonic()
        self._complete()
        if self.wanted.sha256 not in (None, self.part.hash.hexdigest()) and self.joined:
            self._restart()  # its pieces may belong to different files: once more, in one piece if it can be
            self._complete()
        self._verify()
        seconds = time.monotonic() - began
        return Fetched(self.wanted, self.part, self.part.hash.hexdigest(), seconds, self.resumed_from)

    def _complete(self) -> None:
        """Try until the file is whole."""
        tries, at = 0, self.part.size
        once = self._download if address.is_remote(self.wanted.url) else self._copy
        while True:
            try:
                return once()
            except Status as answer:
                raise web.refused(self.wanted.port, self.wanted.url, answer, self.policy.secret) from None
            except Again as failure:
                if self.part.size >= at + PROGRESS_BYTES:
                    tries, at = 0, self.part.size
                tries += 1
                if tries > self.policy.retries:
                    raise ToolFailed(f"{self.wanted.shown}: {failure}; tried {tries} times, {self._kept()}") from None
                self._pause(tries, failure)

    def _kept(self) -> str:
        if not self.part.size:
            return "try again later"
        return f"start it again and it goes on after the {self.part.size:,} bytes that are here"

    def _pause(self, tries: int, failure: Again) -> None:
        if self.stop.wait(self.policy.pause(tries, failure, self.wanted.shown)):
            raise Stopped

    # --- over HTTP ------------------------------------------------------------------------------------------------

    def _download(self) -> None:
        """One request, and one more when the server would not go on from where we are."""
        if self._whole(self.part.state.total or self.wanted.size_bytes):
            return
        headers = self._range() if self.part.size else {}
        try:
            answer = web.get(self.wanted.url, self.policy.access, headers)
        except Status as status:
            if status.status != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not headers:
                raise
            self._restart()  # what is here is longer than what is there
            answer = web.get(self.wanted.url, self.policy.access)
        if answer.status == http.client.PARTIAL_CONTENT and not self._goes_on(answer):
            answer.close()
            self._restart()
            answer = web.get(self.wanted.url, self.policy.access)
        with contextlib.closing(answer):
            if answer.status == http.client.PARTIAL_CONTENT:
                self.joined = True
            else:
                self._begin(answer)
            self._receive(answer)

    def _range(self) -> dict[str, str]:
        """Ask for the rest; without a validator only a checksum can tell that it is the rest of the same file."""
        validator = self.part.state.validator
        if not validator and not self.wanted.sha256:
            self._restart()
            return {}
        return {"Range": f"bytes={self.part.size}-"} | ({"If-Range": validator} if validator else {})

    def _goes_on(self, answer: http.client.HTTPResponse) -> bool:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != self.part.size:
            return False
        total = None if match[3] == "*" else int(match[3])
        return self.part.state.total in (None, total)

    def _begin(self, answer: http.client.HTTPResponse) -> None:
        """The whole file comes: forget what is here, remember what it belongs to."""
        self._restart()
        length = answer.headers.get("Content-Length")
        total = int(length) if length is not None and length.isdigit() else None
        if total is not None:
            self._expect(total, whole=True)
            self._require_space(total)
        self.part.remember(State(validator_of(answer.headers), total))

    def _receive(self, answer: http.client.HTTPResponse) -> None:
        total = self.part.state.total
        with self.part.appending() as file:
            while True:
                with web.sorted_failures(self.wanted.url):
                    data = answer.read1(CHUNK)
                if not data:
                    break
                self.part.add(file, data)
                self.tick(len(data))
                self._expect(self.part.size, whole=False)
                if self.stop.is_set():
                    raise Stopped
        if total is not None and self.part.size < total:
            raise Again(f"the connection ended after {self.part.size:,} of {total:,} bytes")

    # --- from this machine ----------------------------------------------------------------------------------------

    def _copy(self) -> None:
        path = address.local_path(self.wanted.url, self.wanted.base)
        if not path.is_file():
            wrong = "is a folder, not a file" if path.is_dir() else "does not exist"
            raise BadInput.of(self.wanted.port, self.wanted.shown, wrong, "name an existing file")
        self._expect(path.stat().st_size, whole=True)
        self._restart()
        self._require_space(path.stat().st_size)
        with self.part.appending() as file:
            for data in chunks(path):
                self.part.add(file, data)
                self.tick(len(data))
                if self.stop.is_set():
                    raise Stopped

    # --- both -----------------------------------------------------------------------------------------------------

    def _whole(self, total: int | None) -> bool:
        if total is not None and self.part.size > total:
            self._restart()
        return total is not None and self.part.size == total and self.part.path.is_file()

    def _restart(self) -> None:
        self.tick(-self.part.size)
        self.resumed_from, self.joined = 0, False
        self.part.restart()

    def _expect(self, size: int, *, whole: bool) -> None:
        """Stop as soon as it cannot be the file that was asked for."""
        expected = self.wanted.size_bytes
        if expected is not None and (size != expected if whole else size > expected):
            self._restart()
            has = f"{size:,} bytes, not the" if whole else "more than the"
            raise ToolFailed(
                f"{self.wanted.shown}: has {has} expected {expected:,}; check the source, or correct the size"
            )

    def _require_space(self, size: int) -> None:
        free = shutil.disk_usage(self.part.path.parent).free
        if size > free:
            todo = "free some space or point the outputs elsewhere"
            raise ToolFailed(f"{self.wanted.shown}: needs {size:,} bytes, and the disk has {free:,}; {todo}")

    def _verify(self) -> None:
        self._expect(self.part.size, whole=True)
        expected, got, size = self.wanted.sha256, self.part.hash.hexdigest(), self.part.size
        if expected is not None and got != expected:
            self._restart()
            told = f"wrong checksum: expected sha256 {expected}, got {got} ({size:,} bytes)"
            raise ToolFailed(f"{self.wanted.shown}: {told}; it was removed: check the source, or correct the checksum")
