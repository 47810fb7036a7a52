"""Data elsewhere, brought here once before a pipeline runs: files over https, and folders in storage through fsspec.

A data asset of a workspace, or a path on a datastore, is storage whose place Azure tells.

A file lies below `<cache>/remote/` under the hash of its address. It is asked for again at each run; a storage that
says by a tag that it has not changed is not read again. Credentials are those of the environment, as fsspec's own
implementations find them (adlfs: AZURE_STORAGE_*, AZURE_CLIENT_*, else azure-identity).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.cache import cache_folder, locked
from runtime.errors import BadInput, ToolFailed
from runtime.local import azure_data
from runtime.local.graph import FILE, Value
from runtime.redact import redacted

# Schemes, and the package that reads each. Source: fsspec 2026, registry of known implementations.
SCHEMES = {
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "wasbs": "adlfs",
    "s3": "s3fs",
    "gs": "gcsfs",
    "memory": "fsspec",
}
_BLOB = ".blob.core.windows.net/"


def scheme(uri: str) -> str:
    """The scheme of an address, in lower case."""
    return uri.partition("://")[0].lower() if "://" in uri else ""


def can_be_fetched(uri: str, kind: str) -> bool:
    """Whether this machine can bring it here: a file over https (or http), or storage whose package is installed."""
    if _is_web_file(uri, kind):
        return True
    if azure_data.is_of_workspace(uri):
        return azure_data.installed()
    package = _package(uri)
    return bool(package) and all(importlib.util.find_spec(name) is not None for name in {"fsspec", package})


def _is_web_file(uri: str, kind: str) -> bool:
    return scheme(uri) in ("https", "http") and kind == FILE


def _package(uri: str) -> str:
    """The package that reads the storage; empty where none is known."""
    return SCHEMES.get(scheme(uri)) or ("adlfs" if _BLOB in uri else "")


def todo(uri: str, port: str) -> str:
    """What to do about an address that cannot be fetched here."""
    package = _package(uri)
    install = f"pip install fsspec {package}, or " if package else ""
    if azure_data.is_of_workspace(uri):
        install = f"{azure_data.INSTALL}, or "
    return f"{install}download it and name the local copy: {port}=PATH, or --map it"


def place_of(uri: str) -> Path:
    """Where the copy of an address lies on this machine."""
    from runtime.data.address import name_of

    key = hashlib.sha256(uri.encode()).hexdigest()[:24]
    return cache_folder() / "remote" / key / (name_of(uri) or "data")


def fetch_all(values: Iterable[Value], say: Callable[[str], None]) -> None:
    """Bring every remote value here; raises `BadInput` or `ToolFailed` with the address, without its secrets."""
    for uri, kind in sorted({(value.remote, value.type) for value in values if value.remote}):
        place = place_of(uri)
        with locked(place.parent):
            if _is_web_file(uri, kind):
                _download(uri, place, say)
            else:
                _copy(uri, place, say)


def _download(uri: str, place: Path, say: Callable[[str], None]) -> None:
    from runtime.data import transfer

    say(f"downloading {redacted(uri)} ...")
    place.parent.mkdir(parents=True, exist_ok=True)
    wanted = transfer.Wanted(uri, place.name, port="path")
    done = transfer.fetch(wanted, place.parent, transfer.Policy(), threading.Event(), lambda _bytes: None)
    done.part.take(place)


def _for_fsspec(uri: str) -> tuple[str, dict[str, Any]]:
    """The address and the options that fsspec takes; Azure is asked where a workspace's data lies."""
    options: dict[str, Any] = {}
    if azure_data.is_of_workspace(uri):
        uri, options = azure_data.address_of(uri)
    if _BLOB in uri:
        options = {"account_name": uri.partition("://")[2].partition(".")[0]}
        uri = f"abfs://{uri.partition(_BLOB)[2]}"
    if scheme(uri) in ("abfs", "abfss", "az", "wasbs"):
        options["anon"] = False
    return uri, options


def _tag(system: Any, name: str, info: Mapping[str, Any]) -> str:
    """What says that a file is the same; fsspec's own tag changes when a store tells when the file was last read."""
    etag = next((info[key] for key in ("etag", "ETag") if info.get(key)), None)
    return str(etag or system.ukey(name))


def _copy(uri: str, place: Path, say: Callable[[str], None]) -> None:
    import fsspec  # type: ignore[import-untyped] # it has no types

    url, options = _for_fsspec(uri)
    stamp, partial = place.with_name(".tags.json"), place.with_name(".partial")
    with _told(uri):
        system, path = fsspec.core.url_to_fs(url, **options)
        tags = {name: _tag(system, name, info) for name, info in sorted(system.find(path, detail=True).items())}
    if place.exists() and stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == tags:
        return
    if not tags:
        raise BadInput.of("path", redacted(uri), "holds no file", "correct the address")
    say(f"copying {redacted(uri)} ({len(tags)} files) ...")
    shutil.rmtree(partial, ignore_errors=True)
    with _told(uri):
        system.get(path, str(partial), recursive=len(tags) > 1 or next(iter(tags)) != path)
    shutil.rmtree(place, ignore_errors=True)
    place.unlink(missing_ok=True)
    partial.rename(place)
    stamp.write_text(json.dumps(tags), encoding="utf-8")


@contextlib.contextmanager
def _told(uri: str) -> Iterator[None]:
    """Raise `ToolFailed` for a storage's complaint; azure-core has its own errors, and may not be installed."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, OSError | ValueError) or type(error).__module__.startswith("azure.")):
            raise
        first = (str(error) or repr(error)).splitlines()[0]
        raise ToolFailed(f"{redacted(uri)}: {redacted(first)}") from error
