"""Where a file comes from: an http or https address, a file address, or a path."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from runtime.errors import BadInput
from runtime.redact import redacted

REMOTE = ("http", "https")
_PORTS = {"http": 80, "https": 443}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
Origin = tuple[str, str, int]


def check(port: str, url: str) -> None:
    """Raises `BadInput` for an address that cannot be fetched, or that holds a password."""
    scheme = _scheme(url)
    shown = redacted(url)
    if scheme not in (*REMOTE, "file", ""):
        raise BadInput.of(port, shown, f"{scheme} is not a way to fetch it", "give an http, https or file address")
    if any(not 33 <= ord(c) <= 126 for c in url) and scheme:
        wrong = "holds a blank, a control character or one beyond ASCII"
        raise BadInput.of(port, shown, wrong, "write it as %20, %0A, %C3%BC, ...")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadInput.of(port, shown, f"is not an address ({error})", "write https://host/path") from error
    if scheme == "file" and host not in (None, "localhost"):
        raise BadInput.of(port, shown, f"is a file of another machine, {host}", "write file:///path")
    if scheme not in REMOTE:
        return
    if not host:
        raise BadInput.of(port, shown, "names no host", "write https://host/path")
    if parts.username is not None or parts.password is not None:
        todo = "take them out; a token goes into NGCRUN_DOWNLOAD_TOKEN"
        raise BadInput.of(port, shown, "holds a user or a password", todo)


def _scheme(url: str) -> str:
    head, colon, _ = url.partition(":")
    return head.lower() if colon and head.isalnum() else ""


def is_remote(url: str) -> bool:
    """Whether it is fetched over a network."""
    return _scheme(url) in REMOTE


def origin(url: str) -> Origin:
    """Scheme, host and port: a secret for one is not told to another."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme, 0)


def is_private(url: str) -> bool:
    """Whether others on the way can read what is sent: not over TLS, nor inside this machine."""
    scheme, host, _ = origin(url)
    return scheme == "https" or host in _LOOPBACK


def local_path(url: str, base: Path) -> Path:
    """The path of a file address; a relative path is taken from `base`."""
    if _scheme(url) == "file":
        return Path(url2pathname(urlsplit(url).path))
    return base / os.fspath(Path(url))


def name_of(url: str) -> str:
    """The last part of the path, which names the file; empty where there is none."""
    path = urlsplit(url).path if _scheme(url) else url
    return PurePosixPath(unquote(path) if _scheme(url) else path).name
