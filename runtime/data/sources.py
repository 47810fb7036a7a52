"""The list of what to download, from a manifest or from two parameters; every mistake in it at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.data import address
from runtime.data.members import tidy, unsafe
from runtime.data.transfer import Wanted
from runtime.errors import BadInput, Problem, nearest
from runtime.redact import holds_secret, redacted

REPORT = "download.json"
_FIELDS = {"url": str, "sha256": str, "size_bytes": int, "path": str, "unpack": bool}
_TOLD = ("seconds", "resumed_from", "verified", "unpacked_files")  # what a report says of a download
_SHA256 = re.compile(r"(?:sha256[:=])?([0-9a-fA-F]{64})")


def from_manifest(path: Path, unpack: bool) -> list[Wanted]:
    """The files that a YAML or JSON manifest lists; `unpack` is for entries that do not say it themselves.

    A `download.json` that an earlier run wrote is a manifest too, with every checksum pinned.
    """
    entries = _entries(path)
    wanted, problems = [], []
    for number, entry in enumerate(entries):
        try:
            wanted.append(_wanted(entry, f"manifest[{number}]", unpack, path.parent))
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    return wanted


def _entries(path: Path) -> list[Any]:
    import yaml

    if path.is_dir():
        raise BadInput.of("manifest", path, "is a folder", "name the file")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)  # YAML takes 100 times longer
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise BadInput.of(
            "manifest", path, f"is neither YAML nor JSON{where}", "write a list of {url, sha256}"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("files"), list):
        content = content["files"]
    if not isinstance(content, list) or not content:
        wrong = "lists nothing" if content in (None, [], {}) else "is no list"
        raise BadInput.of("manifest", path, wrong, "write a list of {url, sha256, size_bytes, path, unpack}")
    return content


def _wanted(entry: Any, where: str, unpack: bool, base: Path) -> Wanted:
    if not isinstance(entry, Mapping):
        raise BadInput.of(where, redacted(str(entry)), "is no mapping", "write {url: ..., sha256: ...}")
    problems = list(_misfits(entry, where))
    if problems:
        raise BadInput(problems)
    url = entry["url"]
    address.check(f"{where}.url", url)
    unpacks = bool(entry.get("unpack", unpack))
    place = entry.get("path") or ("." if unpacks else address.name_of(url))
    digest = entry.get("sha256")
    return Wanted(
        url=url,
        place=_place(f"{where}.path", place, url, unpacks),
        port=f"{where}.url",
        sha256=digest and _digest(f"{where}.sha256", digest),
        size_bytes=entry.get("size_bytes"),
        unpack=unpacks,
        base=base,
    )


def _misfits(entry: Mapping[Any, Any], where: str) -> Iterator[Problem]:
    for key, value in entry.items():
        kind = _FIELDS.get(key)
        if kind is None and key not in _TOLD:
            yield Problem(f"{where}.{key}", redacted(str(value)), "is not a field", nearest(str(key), _FIELDS))
        elif kind is not None and value is not None and type(value) is not kind:
            names = {str: "text", int: "a whole number", bool: "true or false"}
            yield Problem(f"{where}.{key}", value, f"is not {names[kind]}", f"write {names[kind]}; quote text in YAML")
    if not entry.get("url"):
        yield Problem(f"{where}.url", None, "is missing", "say where the file comes from")
    if isinstance(entry.get("size_bytes"), int) and entry["size_bytes"] < 0:
        yield Problem(f"{where}.size_bytes", entry["size_bytes"], "is below 0", "give the number of bytes")


def _digest(port: str, text: str) -> str:
    match = _SHA256.fullmatch(text.strip())
    if match is None:
        raise BadInput.of(port, text, "is no SHA-256", "write its 64 hexadecimal digits, as sha256sum prints them")
    return match[1].lower()


def _place(port: str, place: str, url: str, unpacks: bool) -> str:
    if not place or (not unpacks and place.endswith("/")):
        raise BadInput.of(port, place, f"names no file for {redacted(url)}", "give a path in a manifest")
    wrong = "" if unpacks and place == "." else unsafe(place)
    if wrong:
        raise BadInput.of(port, place, wrong, "give a path inside the output, with /")
    return tidy(place)


def from_words(urls: str, digests: str | None, unpack: bool) -> list[Wanted]:
    """The files of the parameters `urls` and `sha256`, both separated by blanks."""
    words, sums = urls.split(), (digests or "").split()
    if not words:
        raise BadInput.of("urls", urls, "names nothing", "give one or more addresses, or a manifest")
    if sums and len(sums) != len(words):
        todo = "give one for each address, in their order"
        raise BadInput.of("sha256", digests, f"has {len(sums)} checksums for {len(words)} addresses", todo)
    wanted, problems = [], []
    for number, url in enumerate(words):
        try:
            if holds_secret(url):
                todo = "put it into a file and give that as manifest: what is on a command line is seen and kept"
                raise BadInput.of("urls", redacted(url), "holds a secret", todo)
            address.check("urls", url)
            place = _place("urls", "." if unpack else address.name_of(url), url, unpack)
            digest = _digest("sha256", sums[number]) if sums else None
            wanted.append(Wanted(url=url, place=place, sha256=digest, unpack=unpack))
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    return wanted


def check(wanted: list[Wanted], allow_unverified: bool) -> None:
    """Raises `BadInput` for files without a checksum, and for two of one name."""
    problems = []
    places: dict[str, Wanted] = {}
    for item in wanted:
        if item.sha256 is None and not allow_unverified:
            todo = f"give its sha256, or set allow_unverified=true once and pin the one in {REPORT}"
            problems.append(Problem(item.port, item.shown, "has no checksum", todo))
        if item.unpack:
            continue
        if item.place == REPORT:
            problems.append(Problem(item.port, item.shown, f"is named {REPORT}, as the report is", "give it a path"))
        elif item.place in places:
            todo = "give each a path of its own in a manifest"
            problems.append(Problem(item.port, item.shown, f"has the same path as another, {item.place}", todo))
        places[item.place] = item
    if problems:
        raise BadInput(problems)
