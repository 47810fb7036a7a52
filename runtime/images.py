"""The NGC images that components run in: `containers/images.yaml`, one row an image, and the digests beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from runtime.errors import BadInput, nearest

LOCK = "images.lock.json"
UNKNOWN = "unknown"
# What a row states of its image; each that is known names its source.
FACTS = ("tag", "python", "cuda", "compute_capability", "driver")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ANEW = "restore it, or remove it and run `ngcrun images lock --all`"


@dataclass(frozen=True)
class Image:
    """One NGC image, and the AzureML environment (name and version) that is built on it."""

    key: str
    image: str
    tag: str
    environment: str
    version: str
    python: str
    cuda: str
    compute_capability: str
    driver: str
    runs: str
    extras: str
    interpreter: str
    user: str
    literal: bool
    sources: Mapping[str, str] = field(hash=False)
    digest: str | None = None

    @property
    def reference(self) -> str:
        """What `docker pull` takes."""
        return f"{self.image}:{self.tag}"

    @property
    def pinned(self) -> str:
        """The reference with its digest, where one is locked: the same bytes for ever."""
        return f"{self.reference}@{self.digest}" if self.digest else self.reference

    @property
    def azureml(self) -> str:
        """What a component's `environment:` takes."""
        return f"azureml:{self.environment}:{self.version}"


def checkout() -> Path | None:
    """The checkout that holds containers/images.yaml: this folder, or the one that this package is in."""
    for folder in (Path.cwd(), Path(__file__).resolve().parents[1]):
        if (folder / "containers" / "images.yaml").is_file():
            return folder
    return None


def known() -> dict[str, Image]:
    """Every row: those of the checkout, else those that this package was built with (`images.yaml` here, a link)."""
    root = checkout()
    return load(root / "containers" / "images.yaml" if root else Path(__file__).with_name("images.yaml"))


def load(path: Path) -> dict[str, Image]:
    """Every row of an images file by its key; raises `BadInput` for a row with a missing or unknown field.

    A digest of the lock file beside it counts only for the reference that it was locked for.
    """
    rows: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    locked = locks(path.with_name(LOCK))
    images = {}
    for key, row in rows.items():
        try:
            image = Image(key=key, **row)
        except TypeError as error:
            raise BadInput.of(str(path), key, str(error).split(") ")[-1], "see the other rows") from error
        entry = locked.get(key, {})
        if entry.get("reference") == image.reference:
            image = Image(key=key, **row, digest=entry.get("digest"))
        images[key] = image
    return images


def locks(path: Path) -> dict[str, dict[str, str]]:
    """The lock file: for each pinned row its reference and its digest; empty where nothing is pinned yet."""
    if not path.is_file():
        return {}
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput.of("lock", str(path), f"is no JSON ({error})", _ANEW) from None
    if not isinstance(held, dict) or not all(isinstance(entry, dict) for entry in held.values()):
        raise BadInput.of("lock", str(path), "maps no rows to digests", _ANEW)
    return held


def write_locks(path: Path, held: Mapping[str, Mapping[str, str]]) -> None:
    """Write the lock file, sorted, so that the same digests give the same bytes."""
    path.write_text(json.dumps(held, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def find(images: dict[str, Image], key: str) -> Image:
    """The row `key`; raises `BadInput` with the nearest."""
    if key not in images:
        raise BadInput.of("image", key, "is not in containers/images.yaml", nearest(key, images))
    return images[key]
