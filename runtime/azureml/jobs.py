"""A job that was sent: follow, cancel, download. Each says what is wrong with the name in one line."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from runtime.azureml import client, submit
from runtime.azureml.client import say
from runtime.azureml.config import Settings
from runtime.azureml.history import ENDED
from runtime.errors import BadInput


def _connected(settings: Settings, name: str) -> tuple[Any, Any, Any]:
    """The workspace's client, the credential, and the job; raises `BadInput` where there is no such job."""
    _, _, workspace = settings.need("subscription", "resource_group", "workspace")
    signed = client.credential(settings)
    with client.hushed(), client.translated(f"job {name}"):
        ml_client = client.connect(settings, f"workspace:{workspace}", signed)
        return ml_client, signed, ml_client.jobs.get(name)


def follow(settings: Settings, name: str, *, cancel: bool) -> int:
    """Show the job until it ends; returns 0, or raises `ToolFailed` for one that failed."""
    ml_client, signed, job = _connected(settings, name)
    say(f"studio: {job.studio_url}")
    return submit.watch(ml_client, signed, name, cancel=cancel)


def cancel(settings: Settings, name: str) -> int:
    """Cancel the job; one that has ended already is left as it is."""
    ml_client, _, job = _connected(settings, name)
    if submit.state(job) in ENDED:
        say(f"{name} has ended already: {submit.state(job)}")
        return 0
    with client.hushed(), client.translated(f"job {name}"):
        ml_client.jobs.begin_cancel(name).result()
    say(f"{name} is canceled")
    return 0


def download(settings: Settings, name: str, into: Path) -> int:
    """Outputs and logs of a job that has ended, and of its steps, into a folder that appears whole or not at all.

    Files written: `<into>/named-outputs/<output>/`, `<into>/artifacts/`, `<into>/steps/<step>/...`.
    """
    if into.exists() and any(into.iterdir()):
        raise BadInput.of("--into", into, "already holds data", "remove it or name another folder")
    ml_client, signed, job = _connected(settings, name)
    if submit.state(job) not in ENDED:
        raise BadInput.of("job", name, f"is {submit.state(job)}", f"wait for its end: ngcrun azureml follow {name}")
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ngcrun-", dir=into.parent) as folder:
        from runtime.azureml.history import History

        with client.hushed(), client.translated(f"job {name}"):
            steps = History(ml_client, signed).steps(name)
            ml_client.jobs.download(name, download_path=folder, all=True)
            for step in steps:
                if step.ended:
                    ml_client.jobs.download(step.id, download_path=Path(folder) / "steps" / step.name, all=True)
        place = Path(folder).rename(into)
        Path(folder).mkdir()  # for the context to remove
    count = sum(p.is_file() for p in place.rglob("*"))
    say(f"{name}: {count} files in {into}")
    return 0
