"""`data_download`: fetch files over HTTP or from disk, side by side, resumed, verified, and unpacked safely."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.data import address, sources
from runtime.data.archives import Limits, Unpacker
from runtime.data.pool import fetch_all, locked
from runtime.data.sources import REPORT
from runtime.data.transfer import Fetched, Policy, Wanted
from runtime.data.web import Access
from runtime.errors import BadInput
from runtime.execute import main
from runtime.metrics import Metrics

TOKEN = "NGCRUN_DOWNLOAD_TOKEN"  # noqa: S105 - the name of the variable that holds it


@dataclass(kw_only=True)
class Ports:
    """Download files side by side, resumed after a failure and verified by checksum, and unpack archives safely.

    A token for the host of the first address is read from NGCRUN_DOWNLOAD_TOKEN.
    """

    manifest: Annotated[
        Path | None, Input("YAML or JSON list of {url, sha256, size_bytes, path, unpack}", "uri_file")
    ] = None
    urls: Annotated[str | None, Param("Addresses (http, https, file) or paths, separated by blanks")] = None
    sha256: Annotated[str | None, Param("A checksum for each of urls, separated by blanks")] = None
    unpack: Annotated[bool, Param("Unpack each file (zip, tar, tar.gz, tar.bz2, tar.xz)")] = False
    allow_unverified: Annotated[bool, Param("Take files without a checksum; download.json then holds it")] = False
    connections: Annotated[int, Param("Files side by side", minimum=1, maximum=64)] = 4
    timeout_s: Annotated[float, Param("Seconds without a byte that count as a failure", minimum=0.1)] = 60.0
    retries: Annotated[int, Param("Tries after a failure that may pass, each after a longer pause", minimum=0)] = 5
    max_unpacked_gib: Annotated[float, Param("Largest size of one archive when unpacked", minimum=0)] = 500.0
    max_ratio: Annotated[float, Param("Bytes unpacked for each byte packed, at most", minimum=1)] = 200.0
    max_entries: Annotated[int, Param("Files and folders in one archive, at most", minimum=1)] = 2_000_000
    data: Annotated[Path, Output("The files, the members of unpacked archives, and download.json")]
    partial: Annotated[Path, Output("Unfinished downloads; name the same folder to go on with them", kept=True)]


@component(name="data_download", version="1", image="data")
def download(ports: Ports, metrics: Metrics) -> None:
    """Write every file, and `download.json`: address without secrets, checksum, bytes, seconds of each."""
    wanted = _wanted(ports)
    sources.check(wanted, ports.allow_unverified)
    policy = Policy(Access(ports.timeout_s, _secrets(wanted)), ports.retries)
    limits = Limits(ports.max_unpacked_gib, ports.max_ratio, ports.max_entries)
    with locked(ports.partial):
        began = time.monotonic()
        fetched = fetch_all(wanted, ports.partial, policy, ports.connections)
        seconds = time.monotonic() - began
        unpacked = place_all(fetched, Unpacker(ports.data, limits))
    write_report(ports.data, fetched, {"seconds": round(seconds, 3)}, unpacked)
    log(metrics, fetched, seconds)


def _wanted(ports: Ports) -> list[Wanted]:
    if (ports.manifest is None) == (ports.urls is None):
        wrong = "is given together with urls" if ports.manifest else "is not given, nor are urls"
        raise BadInput.of("manifest", ports.manifest, wrong, "give one of the two")
    if ports.manifest is None:
        return sources.from_words(ports.urls or "", ports.sha256, ports.unpack)
    if ports.sha256 is not None:
        raise BadInput.of("sha256", ports.sha256, "goes with urls, not with a manifest", "write it into the manifest")
    return sources.from_manifest(ports.manifest, ports.unpack)


def _secrets(wanted: Sequence[Wanted], environ: Mapping[str, str] = os.environ) -> dict[address.Origin, str]:
    """The token, for the origin of the first address alone."""
    token = environ.get(TOKEN, "")
    remote = [item for item in wanted if address.is_remote(item.url)]
    if not token or not remote:
        return {}
    require_header_value(TOKEN, token)
    first = remote[0]
    if not address.is_private(first.url):
        todo = f"give an https address, or unset {TOKEN}"
        raise BadInput.of(first.port, first.shown, f"would get {TOKEN} in clear text", todo)
    return {address.origin(first.url): f"Bearer {token}"}


def require_header_value(variable: str, value: str) -> None:
    """Raises `BadInput`, without the value, when it cannot stand in an HTTP header."""
    if not value.isascii() or any(ord(c) <= 32 or ord(c) == 127 for c in value):
        raise BadInput.of(
            variable, "...", "holds a blank, a line end or another character that no token has", "set it again"
        )


def place_all(fetched: Sequence[Fetched], unpacker: Unpacker) -> list[int]:
    """Unpack the archives and then move the files into place; returns the number of files of each archive, else 0.

    The archives come first: while they can still be refused, everything that was downloaded stays where it is.
    """
    counts = [
        unpacker.unpack(item.part.path, item.wanted.url, item.wanted.port, item.wanted.place)
        if item.wanted.unpack
        else 0
        for item in fetched
    ]
    for item in fetched:
        target = unpacker.target / item.wanted.place
        if item.wanted.unpack:
            item.part.forget()
            continue
        if target.exists() or any(p.is_file() for p in target.parents if p.is_relative_to(unpacker.target)):
            wrong = f"has the path {item.wanted.place}, where an archive or another file has put something"
            raise BadInput.of(item.wanted.port, item.wanted.shown, wrong, "give it another path in a manifest")
        item.part.take(target)
    return counts


def write_report(
    folder: Path, fetched: Sequence[Fetched], more: Mapping[str, Any], unpacked: Sequence[int] = ()
) -> None:
    """Write `download.json`, which is a manifest too; raises `BadInput` if what came has a file of that name."""
    files = [_told(item, count) for item, count in zip(fetched, unpacked or [0] * len(fetched), strict=True)]
    try:
        with (folder / REPORT).open("x", encoding="utf-8") as file:
            file.write(json.dumps({**more, "files": files}, indent=2) + "\n")
    except FileExistsError:
        first, wrong = fetched[0].wanted, f"brings {REPORT}, as the report is named"
        raise BadInput.of(first.port, first.shown, wrong, "unpack it elsewhere") from None


def _told(item: Fetched, unpacked: int) -> dict[str, Any]:
    wanted = item.wanted
    here = not address.is_remote(wanted.url)  # absolute, for the report is a manifest in another folder
    url = str(address.local_path(wanted.url, wanted.base).absolute()) if here else wanted.shown
    told: dict[str, Any] = {"url": url, "path": wanted.place, "sha256": item.sha256, "size_bytes": item.size}
    told |= {
        "verified": wanted.sha256 is not None,
        "seconds": round(item.seconds, 3),
        "resumed_from": item.resumed_from,
    }
    return told | ({"unpack": True, "unpacked_files": unpacked} if wanted.unpack else {})


def log(metrics: Metrics, fetched: Sequence[Fetched], seconds: float) -> None:
    """Files, bytes, and how fast they came; what was there from an earlier start is not counted as speed."""
    size = sum(item.size for item in fetched)
    came = size - sum(item.resumed_from for item in fetched)
    metrics.log({"files": len(fetched), "bytes": size, "bytes_resumed": size - came, "download_s": seconds})
    metrics.log({"mb_per_s": came / 1e6 / max(seconds, 1e-6)})


if __name__ == "__main__":
    sys.exit(main(download))
