"""`ngcrun specs bump`: raise the versions of what has changed, of what refers to it, and write the lock file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runtime import bump
from runtime.azureml import assets as assets_module
from runtime.azureml import lock
from runtime.azureml.assets import Asset
from runtime.errors import BadInput, ToolFailed

LOCK = Path("component_specs") / "versions.lock.json"


def run(root: Path, lock_file: Path | None, *, dry_run: bool) -> int:
    """Print each bump with its reason; unless `dry_run`, write the versions, the generated specs and the lock.

    A raised version changes what refers to it, so this goes round until nothing is left to raise.
    """
    place = lock_file or root / LOCK
    locked = lock.read(place) if place.is_file() else {}
    count = 0
    while True:
        assets = _assets(root)
        found = bump.decide(assets, locked)
        for one in found:
            asset = one.asset
            print(f"{one.level:<5}  {asset.kind} {asset.name} {asset.version} -> {one.version}: {one.why}")
        count += len(found)
        if dry_run or not found:
            break
        for one in found:
            bump.apply(one, root)
        _regenerate(root)
    if dry_run:
        print(f"{count} versions would rise, and those of what refers to them")
        return 0
    lock.write(place, assets.values())
    new = sum(key not in locked for key in assets) - count
    print(f"{count} versions raised, {max(0, new)} new, {len(assets)} in {_shown(place, root)}")
    return 0


def _shown(place: Path, root: Path) -> Path:
    return place.relative_to(root) if place.is_relative_to(root) else place


def _assets(root: Path) -> dict[str, Asset]:
    found = assets_module.in_checkout(root)
    if found.problems:
        raise BadInput(found.problems)
    return found.assets


def _regenerate(root: Path) -> None:
    """Write the generated specs with the new versions: in a process of its own, as this one has read the old ones."""
    if not (root / "runtime").is_dir():
        return
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "specs"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ToolFailed("ngcrun specs failed after the versions were written", tail=done.stderr)
