"""`data_ngc_model`: fetch the files of one model version from NVIDIA's NGC registry, without NVIDIA's CLI."""

from __future__ import annotations

import fnmatch
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime.component import Input, Output, Param, component
from runtime.data.archives import Limits, Unpacker
from runtime.data.download import log, place_all, write_report
from runtime.data.members import tidy, unsafe
from runtime.data.ngc import File, Model, Registry
from runtime.data.pool import fetch_all, locked
from runtime.data.transfer import Fetched, Policy, Wanted
from runtime.data.web import Access
from runtime.errors import BadInput, Problem
from runtime.execute import main
from runtime.metrics import Metrics

LISTED = 12  # file names in an error


@dataclass(kw_only=True)
class Ports:
    """Download a model version from NVIDIA's NGC registry over its REST API, resumed and verified.

    The key is read from NGC_API_KEY or NGC_CLI_API_KEY; a model that is open to guests needs none.
    """

    model: Annotated[str, Param("org/name or org/team/name, such as nvidia/tao/trafficcamnet")]
    version: Annotated[str, Param("Its version; `latest` takes the one that NGC calls so")] = "latest"
    files: Annotated[str | None, Param("Only files like these patterns, separated by blanks, such as *.onnx")] = None
    pinned: Annotated[
        Path | None, Input("download.json of an earlier run, whose checksums and version must be the same", "uri_file")
    ] = None
    connections: Annotated[int, Param("Files side by side", minimum=1, maximum=64)] = 4
    timeout_s: Annotated[float, Param("Seconds without a byte that count as a failure", minimum=0.1)] = 60.0
    retries: Annotated[int, Param("Tries after a failure that may pass, each after a longer pause", minimum=0)] = 5
    downloaded: Annotated[Path, Output("The model's files, and download.json")]
    partial: Annotated[Path, Output("Unfinished downloads; name the same folder to go on with them", kept=True)]


@component(name="data_ngc_model", version="1", image="data", is_deterministic=False)
def ngc_model(ports: Ports, metrics: Metrics) -> None:
    """Write the files under their own paths, and `download.json` with the version that was taken."""
    policy = Policy(Access(ports.timeout_s), ports.retries)
    pins = _pins(ports)
    registry = Registry(Model.of(ports.model), policy)
    version = registry.version(ports.version)
    wanted = _wanted(ports, registry, version, pins)
    with locked(ports.partial):
        began = time.monotonic()
        fetched = fetch_all(wanted, ports.partial, registry.policy, ports.connections)
        seconds = time.monotonic() - began
        place_all(fetched, Unpacker(ports.downloaded, Limits()))
    more = {"model": registry.shown, "version": version, "seconds": round(seconds, 3)}
    write_report(ports.downloaded, fetched, more)
    metrics.tags({"ngc_model": registry.shown, "ngc_version": version})
    log(metrics, fetched, seconds)
    _warn(fetched)


def _pins(ports: Ports) -> dict[str, str]:
    """Checksums by path; raises `BadInput` for a file that is no report, or is that of another version."""
    if ports.pinned is None:
        return {}
    try:
        content = json.loads(ports.pinned.read_text(encoding="utf-8"))
        pins = {str(file["path"]): str(file["sha256"]) for file in content["files"]}
        version = str(content["version"])
    except (ValueError, KeyError, TypeError, IsADirectoryError):
        todo = "give the download.json that data_ngc_model wrote"
        raise BadInput.of("pinned", ports.pinned, "is no report of a model", todo) from None
    if ports.version not in ("latest", version):
        todo = "say that version, or pin anew"
        raise BadInput.of("pinned", ports.pinned, f"is of version {version}, not of {ports.version}", todo)
    return pins


def _wanted(ports: Ports, registry: Registry, version: str, pins: Mapping[str, str]) -> list[Wanted]:
    """What to fetch; every file whose path or checksum is out of order is told at once."""
    every = registry.files(version)
    if not every:
        raise BadInput.of("version", version, f"of {registry.shown} holds no file", "take another version")
    chosen = _chosen(ports.files, every)
    problems = []
    for file in chosen:
        wrong = unsafe(file.path.lstrip("/"))
        pinned = pins.get(tidy(file.path.lstrip("/")))
        if wrong:
            problems.append(Problem("files", file.path, wrong, "leave it out with files="))
        elif pins and pinned is None:
            problems.append(Problem("pinned", ports.pinned, f"does not name {file.path}", "pin anew"))
        elif pinned and file.sha256 not in (None, pinned):
            told = f"has {file.path} with sha256 {pinned}, and NGC has {file.sha256}"
            problems.append(Problem("pinned", ports.pinned, told, "find out why it changed, then pin anew"))
    if problems:
        raise BadInput(problems)
    return [
        Wanted(
            url=registry.address_of(version, file.path.lstrip("/")),
            place=tidy(file.path.lstrip("/")),
            port="model",
            sha256=pins.get(tidy(file.path.lstrip("/"))) or file.sha256,
            size_bytes=file.size_bytes,
        )
        for file in chosen
    ]


def _chosen(patterns: str | None, every: Sequence[File]) -> list[File]:
    wanted = (patterns or "*").split()
    chosen = [file for file in every if any(fnmatch.fnmatchcase(file.path.lstrip("/"), pattern) for pattern in wanted)]
    if not chosen:
        names = ", ".join(file.path for file in every[:LISTED])
        rest = f" and {len(every) - LISTED} more" if len(every) > LISTED else ""
        raise BadInput.of("files", patterns, "matches no file of this version", f"it has: {names}{rest}")
    return chosen


def _warn(fetched: Sequence[Fetched]) -> None:
    bare = sum(item.wanted.sha256 is None for item in fetched)
    if bare:
        told = f"NGC gives no checksum for {bare} of {len(fetched)} files, so only their sizes were checked"
        print(f"warning: {told}; pin them: pinned=.../download.json", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(ngc_model))
