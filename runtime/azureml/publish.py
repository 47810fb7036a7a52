"""`ngcrun azureml publish`: plan, then create what is missing, what is needed first; repeating it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from runtime import snapshot
from runtime.azureml import assets as assets_module
from runtime.azureml import client, lock, plan, remote, schedule
from runtime.azureml.assets import Asset
from runtime.azureml.config import Settings
from runtime.azureml.plan import CHANGED, CREATE, REFUSED, UNCHANGED, Action
from runtime.errors import BadInput, Problem, ToolFailed

ATTEMPTS = 6
FIRST_PAUSE_S = 0.5
LATE_S = 60.0  # how long a reference that was made a moment ago may stay unknown


def command(names: Sequence[str], settings: Settings, target: str, *, dry_run: bool, lock: Path | None) -> int:
    """Publish the named assets of this checkout, or all, with what they need; prints the plan and what was done.

    A name that ends in .yaml is a file of the user's own, from anywhere: it and the component files that it names.
    """
    from runtime.__main__ import repository_root

    files = [Path(name) for name in names if name.endswith((".yaml", ".yml"))]
    root = Path.cwd() if files else repository_root()
    found = assets_module.read(files, root) if files else assets_module.in_checkout(root)
    problems = found.problems + [
        Problem(
            "asset", str(file), "is no component, environment, data or model", "add its $schema, as `az ml` wants it"
        )
        for file in files
        if not any(a.source.path == file.resolve() for a in found.assets.values()) and not found.problems
    ]
    if problems:
        raise BadInput(problems)
    wanted = assets_module.chosen(found, [name for name in names if Path(name) not in files])
    return publish(wanted, settings, target, root, dry_run=dry_run, lock_file=lock)


def publish(  # noqa: PLR0913 - one a flag of the command line
    wanted: Mapping[str, Asset],
    settings: Settings,
    target: str,
    root: Path,
    *,
    dry_run: bool,
    lock_file: Path | None = None,
) -> int:
    """Bring `wanted` into `target`; returns 0, or raises with all that is in the way before anything is created."""
    from runtime import wheel

    started = time.monotonic()
    checked(wanted)
    with client.hushed():
        there = remote.connected(target, settings, lambda: wheel.build(root))
        actions = examine(wanted, there, settings.config.parallel)
    client.say(plan.text(actions, target))
    stop = [a for a in actions.values() if a.what in (CHANGED, REFUSED)]
    if stop:
        raise BadInput(Problem(a.asset.kind, f"{a.asset.name}:{a.asset.version}", a.what, a.why) for a in stop)
    if dry_run:
        return 0
    todo = {k: a.asset for k, a in actions.items() if a.what == CREATE}
    tags = {remote.REVISION: revision(root)}
    if any(snapshot.holds_package(a.source.path.parent) for a in todo.values() if a.spec.get("build")):
        wheel.build(root)  # what cannot be built is told before anything is created
    with client.hushed():
        failed = _create_all(todo, wanted, there, tags, settings.config.parallel)
    if lock_file is not None and not failed:
        lock.write(lock_file, wanted.values(), target=target, revision=tags[remote.REVISION])
    kept = sum(a.what == UNCHANGED for a in actions.values())
    done = len(todo) - len(failed)
    client.say(
        f"{target}: {done} created, {kept} unchanged, {len(failed)} failed in {time.monotonic() - started:.1f} s"
    )
    if failed:
        what = f"publish: {len(failed)} of {len(todo)} were not created; run the same command again, it goes on"
        raise ToolFailed(what, tail="\n".join(f"{k}: {why}" for k, why in failed.items()))
    return 0


def checked(wanted: Mapping[str, Asset]) -> None:
    """What our own checker finds in the components; the service would find less, and later."""
    from runtime.local import check, shape

    problems: list[Problem] = []
    for asset in wanted.values():
        if asset.kind == "component":
            problems += shape.of(asset.source, here=False)
            if asset.spec.get("type", "command") == "command":
                problems += check.component(asset.source)
    if problems:
        raise BadInput(problems)


def examine(wanted: Mapping[str, Asset], there: remote.Target, parallel: int) -> dict[str, Action]:
    """Ask the target for every version at once, and decide."""
    with ThreadPoolExecutor(max(1, parallel)) as pool, client.translated(there.name):
        looked = dict(
            zip(wanted, pool.map(lambda a: patient(lambda: there.find(a), there), wanted.values()), strict=True)
        )
    return plan.decide(wanted, looked, {})


def _create_all(
    todo: Mapping[str, Asset], known: Mapping[str, Asset], there: remote.Target, tags: Mapping[str, str], parallel: int
) -> dict[str, str]:
    """Create in dependency order, side by side; what needs a failed one is not tried. Returns why each failed."""
    needs = {key: {r for r in asset.refers if r in todo} for key, asset in todo.items()}

    def work(key: str) -> None:
        began = time.monotonic()
        create(todo[key], there, tags, known)
        asset = todo[key]
        client.say(f"created {asset.kind} {asset.name} {asset.version} ({time.monotonic() - began:.1f} s)")

    def said(error: Exception) -> str:
        ours = client.explain("", error)
        return client.first_sentence(error) if ours is None else ours.lines()[0]

    return schedule.run(needs, work, parallel, said)


def create(asset: Asset, there: remote.Target, tags: Mapping[str, str], known: Mapping[str, Asset]) -> None:
    """Create one asset, however often the service stumbles: it is there exactly once afterwards, or this raises."""

    def attempt() -> None:
        there.create(asset, tags, known)
        found = there.find(asset)
        # The SDK takes "already there" for success in a registry, whatever is there.
        # Source: azure-ai-ml 1.35.2, get_sas_uri_for_registry_asset.
        if found is not None and found.fingerprint != asset.fingerprint:
            raise BadInput.of(
                asset.kind, f"{asset.name}:{asset.version}", "was made by somebody else meanwhile", "bump it"
            )

    def is_done() -> bool:
        found = there.find(asset)
        return found is not None and found.fingerprint == asset.fingerprint

    patient(attempt, there, is_done, fresh=(asset.key, *asset.refers))


T = TypeVar("T")


def patient(
    work: Callable[[], T], there: remote.Target, is_done: Callable[[], bool] | None = None, *, fresh: Sequence[str] = ()
) -> T | None:
    """Do `work`, again after a stumble of the service's; None where `is_done` says that it had worked after all.

    `fresh`: keys of assets that may have been made a moment ago, so that "not found" is worth waiting for.
    """
    pause, until = FIRST_PAUSE_S, time.monotonic() + LATE_S
    for left in range(ATTEMPTS - 1, -1, -1):
        try:
            return work()
        except Exception as error:
            if not _again(error, fresh=fresh) or left == 0 or time.monotonic() > until:
                raise
            time.sleep(pause)
            pause *= 2
            if getattr(error, "status_code", None) == 401:
                there.renew()
        if is_done is not None and _quietly(is_done):
            return None
    raise AssertionError("the last attempt returns or raises")


def _quietly(is_done: Callable[[], bool]) -> bool:
    try:
        return is_done()
    except Exception:
        return False


def _again(error: Exception, *, fresh: Sequence[str]) -> bool:
    """Whether the same request may work in a moment."""
    from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return True
    if not isinstance(error, HttpResponseError):
        return False
    names = [key.partition("/")[2].replace(":", "/versions/") for key in fresh]
    if error.status_code in (400, 404) and any(f"/{name}" in str(error) for name in names):
        return "could not find asset" in str(error).lower()
    return error.status_code in (401, 408, 409, 412, 429, 500, 502, 503, 504)


def revision(root: Path) -> str:
    """The commit of the checkout, with `+` where files differ from it; `unknown` outside git."""
    import subprocess

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "HEAD")
    return f"{head}{'+' if git('status', '--porcelain') else ''}" if head else "unknown"
