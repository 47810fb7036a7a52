"""`ngcrun specs bump`: which versions have to rise since the lock file, by how much, and why.

The version of an asset stands where it is declared: in `@component(version=...)`, in `containers/images.yaml`, or in a
YAML written by hand. Only that value is rewritten, by its place in the parsed file, never by a pattern.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.azureml import lock
from runtime.azureml.assets import Asset

PATCH, MINOR, MAJOR = "patch", "minor", "major"
_ORDER = (PATCH, MINOR, MAJOR)


@dataclass(frozen=True)
class Bump:
    """One asset whose content is not that of its version any more."""

    asset: Asset
    level: str
    why: str
    version: str


def level_of(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str]:
    """How far an interface has moved for its callers, and the change that decided it."""
    found: list[tuple[str, str]] = []
    for side in ("inputs", "outputs"):
        old, new = before.get(side) or {}, now.get(side) or {}
        noun = side.removesuffix("s")
        found += [(MAJOR, f"{noun} {n} is gone") for n in old if n not in new]
        found += [_added(noun, n, port) for n, port in new.items() if n not in old]
        found += [change for n in old if n in new for change in _changed(noun, n, old[n], new[n])]
    if not found:
        return PATCH, "same interface"
    return max(found, key=lambda item: _ORDER.index(item[0]))


def _added(noun: str, name: str, port: Mapping[str, Any]) -> tuple[str, str]:
    if noun == "input" and not port.get("optional") and port.get("default") is None:
        return MAJOR, f"input {name} is new and has to be given"
    return MINOR, f"{noun} {name} is new"


def _changed(noun: str, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    what = f"{noun} {name}"
    if old.get("type") != new.get("type"):
        found.append((MAJOR, f"{what} is a {new.get('type')}, was a {old.get('type')}"))
    could_be_left = bool(old.get("optional")) or old.get("default") is not None
    if noun == "input" and could_be_left and not new.get("optional") and new.get("default") is None:
        found.append((MAJOR, f"{what} has to be given now"))
    elif old.get("default") != new.get("default"):
        found.append((MINOR, f"{what} has the default {new.get('default')!r}, had {old.get('default')!r}"))
    elif bool(old.get("optional")) != bool(new.get("optional")):
        found.append((MINOR, f"{what} may be left out now"))
    return found + _range(what, old, new)


def _range(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A caller's value that was allowed has to stay so."""
    found = []
    was, now = old.get("enum"), new.get("enum")
    if was != now:
        lost = [c for c in was or () if c not in now] if now else []
        narrowed = bool(lost) or (now and not was)
        text = f"{what} takes no {', '.join(map(str, lost))} any more" if lost else f"{what} has other choices"
        found.append((MAJOR if narrowed else MINOR, text))
    for key, sign in (("min", 1), ("max", -1)):
        low, high = old.get(key), new.get(key)
        if low == high:
            continue
        narrower = high is not None and (low is None or sign * float(high) > sign * float(low))
        found.append((MAJOR if narrower else MINOR, f"{what} has the {key} {high}, had {low}"))
    return found


def raised(version: str, level: str, kind: str) -> str:
    """The next version: `1.2.3` by semantic versioning; an environment's `26.10` becomes `26.10-1`, then `26.10-2`."""
    if kind == "environment":
        base, _, count = version.rpartition("-")
        return f"{base}-{int(count) + 1}" if base and count.isdigit() else f"{version}-1"
    parts = [int(p) for p in version.split(".")] if re.fullmatch(r"\d+(\.\d+){0,2}", version) else [1]
    major, minor, patch = (*parts, 0, 0)[:3]
    return {MAJOR: f"{major + 1}.0.0", MINOR: f"{major}.{minor + 1}.0", PATCH: f"{major}.{minor}.{patch + 1}"}[level]


def decide(assets: Mapping[str, Asset], locked: Mapping[str, lock.Locked]) -> list[Bump]:
    """A bump for each asset whose version is in the lock with another fingerprint. Others are new, or unchanged."""
    found = []
    for asset in assets.values():
        row = locked.get(asset.key)
        if row is None or row.fingerprint == asset.fingerprint:
            continue
        level, why = level_of(row.interface, lock.interface(asset))
        why = why if asset.kind == "component" else "other content"
        found.append(Bump(asset, level, why, raised(asset.version, level, asset.kind)))
    return found


def in_python(text: str, component: str, version: str) -> str:
    """The source with the `version` of `@component(name=COMPONENT)` replaced; every other byte stays."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "component":
            continue
        words = {k.arg: k.value for k in node.keywords}
        name, place = words.get("name"), words.get("version")
        if isinstance(name, ast.Constant) and name.value == component and isinstance(place, ast.Constant):
            lines = text.splitlines(keepends=True)
            row = lines[place.lineno - 1].encode()  # ast counts bytes
            lines[place.lineno - 1] = (
                row[: place.col_offset] + f'"{version}"'.encode() + row[place.end_col_offset :]
            ).decode()
            return "".join(lines)
    raise LookupError(f"no @component(name={component!r}, version=...)")


def apply(bump: Bump, root: Path) -> Path:
    """Write the new version where it is declared; returns that file."""
    from runtime import catalog, spec
    from runtime.tao.yaml_edit import set_value

    asset = bump.asset
    place, key = asset.source.path, "version"
    ours = {spec.name_in(c, k): c for c in catalog.components().values() for k in (c.image, *c.also)}
    declared = ours.get(asset.name)  # one declaration stands behind the specs of all images
    if asset.kind == "component" and declared is not None and (root / "runtime").is_dir():
        source = root / (declared.module.replace(".", "/") + ".py")
        text = in_python(source.read_text(encoding="utf-8"), declared.name, bump.version)
        source.write_text(text, encoding="utf-8")
        return source
    if asset.kind == "environment":
        from runtime import images

        rows = images.load(root / "containers" / "images.yaml")
        row = next((r.key for r in rows.values() if r.environment == asset.name), None)
        place, key = (root / "containers" / "images.yaml", f'"{row}".version') if row else (place, key)
    place.write_text(set_value(place.read_text(encoding="utf-8"), key, bump.version), encoding="utf-8")
    return place
