"""The model of a deployment: one that is registered, a job's output (not downloaded), or a folder here (uploaded)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from runtime import snapshot
from runtime.errors import BadInput

_JOB = re.compile(r"job:(?P<job>[\w.-]+)/(?P<output>\w+)(?:@(?P<name>[\w.-]+))?")
_REGISTERED = re.compile(r"azureml:[\w.-]+(?::[\w.-]+|@latest)|azureml://.+|/subscriptions/.+")


def shown(model: str) -> str:
    """The model as the plan shows it; raises `BadInput` for what is none of the three forms."""
    if _JOB.fullmatch(model):
        return f"output {model.removeprefix('job:')} of a job, registered without a download"
    if not _REGISTERED.fullmatch(model) and model.startswith(("job:", "azureml:")):
        todo = "write azureml:NAME:VERSION, job:JOB/OUTPUT[@NAME], or a folder"
        raise BadInput.of("--model", model, "is no model", todo)
    return model


def register(ml_client: Any, model: str, origin: Path) -> str:
    """The id of the model, registered where it is not; the same content twice is one version.

    A job's output becomes `<NAME or OUTPUT>:<JOB>`, so a repeated deploy finds it; a folder is named after itself, its
    version after its content.
    """
    job = _JOB.fullmatch(model)
    if job:
        path = f"azureml://jobs/{job['job']}/outputs/{job['output']}"
        return _once(ml_client, job["name"] or job["output"], job["job"], path)
    if _REGISTERED.fullmatch(model):
        return model
    folder = Path(model) if Path(model).exists() else origin / model
    if not folder.exists():
        raise BadInput.of(
            "--model", model, "does not exist", "name a Triton model repository, azureml:NAME:VERSION or job:JOB/OUTPUT"
        )
    folder = folder.resolve()
    return _once(ml_client, re.sub(r"[^\w.-]", "-", folder.name), snapshot.fingerprint(folder)[:16], str(folder))


def _once(ml_client: Any, name: str, version: str, path: str) -> str:
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import ResourceNotFoundError

    try:
        ml_client.models.get(name, version=version)
    except ResourceNotFoundError:
        ml_client.models.create_or_update(Model(name=name, version=version, path=path, type="triton_model"))
    return f"azureml:{name}:{version}"
