"""`ngcrun azureml promote LOCK`: the very assets that a lock file names, from this checkout, into another registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runtime.azureml import assets as assets_module
from runtime.azureml import client, lock, publish, remote
from runtime.azureml.assets import Asset
from runtime.azureml.config import Settings
from runtime.errors import BadInput, Problem


def command(path: Path, settings: Settings, source: str | None, target: str, *, dry_run: bool) -> int:
    """Check that this checkout is what the lock was made from, and that `source` has it; then publish it."""
    from runtime.__main__ import repository_root

    root = repository_root()
    locked = lock.read(path)
    found = assets_module.in_checkout(root)
    if found.problems:
        raise BadInput(found.problems)
    wanted = same(locked, found.assets)
    if source:
        there_too(wanted, settings, source)
    return publish.publish(wanted, settings, target, root, dry_run=dry_run)


def same(locked: Mapping[str, lock.Locked], here: Mapping[str, Asset]) -> dict[str, Asset]:
    """The assets of the checkout that the lock names; raises `BadInput` with each that is not the same here."""
    problems = []
    for key, row in locked.items():
        asset = here.get(key)
        if asset is None or asset.fingerprint != row.fingerprint:
            wrong = "is not in this checkout" if asset is None else "has other content in this checkout"
            problems.append(Problem("lock", key, wrong, "check out the revision that the lock was written at"))
    if problems:
        raise BadInput(problems)
    return {key: here[key] for key in locked}


def there_too(wanted: Mapping[str, Asset], settings: Settings, source: str) -> None:
    """Raise `BadInput` unless `source` has every asset with the same fingerprint."""
    with client.hushed():
        actions = publish.examine(wanted, remote.connected(source, settings), settings.config.parallel)
    missing = [a for a in actions.values() if a.what != "unchanged"]
    if missing:
        todo = f"publish it there first: ngcrun azureml publish --to {source}"
        raise BadInput(Problem("lock", a.asset.key, f"is not in {source} as the lock has it", todo) for a in missing)
