"""The lock file: which versions belong together, with the fingerprint and the interface of each; sorted JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.azureml.assets import Asset
from runtime.errors import BadInput

FORMAT = 1
INTERFACE = ("type", "optional", "default", "enum", "min", "max")


@dataclass(frozen=True)
class Locked:
    """One asset as it was when the lock was written."""

    kind: str
    name: str
    version: str
    fingerprint: str
    interface: Mapping[str, Any]

    @property
    def key(self) -> str:
        """As `Asset.key`."""
        return f"{self.kind}/{self.name}:{self.version}"


def interface(asset: Asset) -> dict[str, Any]:
    """What a caller of a component depends on: its ports without their descriptions."""
    ports: dict[str, Any] = {}
    for side in ("inputs", "outputs"):
        declared = asset.spec.get(side) or {}
        ports[side] = {n: {k: v for k, v in (p or {}).items() if k in INTERFACE} for n, p in declared.items()}
    return ports if asset.kind == "component" else {}


def entry(asset: Asset) -> Locked:
    """The line of a lock file for an asset."""
    return Locked(asset.kind, asset.name, asset.version, asset.fingerprint, interface(asset))


def write(path: Path, assets: Iterable[Asset], **about: str) -> None:
    """Write a lock file; the same assets give the same bytes."""
    rows = [vars(entry(a)) for a in sorted(assets, key=lambda a: a.key)]
    text = json.dumps({"format": FORMAT, **about, "assets": rows}, indent=1, sort_keys=True, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Locked]:
    """The assets of a lock file by key; raises `BadInput` for one that is not there or not ours."""
    todo = "write one: ngcrun azureml publish --lock FILE"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise BadInput.of(
                "lock", path, f"has the format {data['format']}, and this ngcrun reads {FORMAT}", "update ngcrun"
            )
        rows = [Locked(**row) for row in data["assets"]]
    except OSError as error:
        raise BadInput.of("lock", path, (error.strerror or str(error)).lower(), todo) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput.of("lock", path, f"is no lock file of ngcrun ({error})", todo) from error
    return {row.key: row for row in rows}
