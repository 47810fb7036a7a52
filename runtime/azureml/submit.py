"""`ngcrun azureml submit PIPELINE`: checked here, sent once, whatever happens on the way."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.azureml import client, compute, cost, publish, remote
from runtime.azureml.client import say
from runtime.azureml.config import FIELDS, Settings
from runtime.errors import BadInput, Problem, ToolFailed, nearest
from runtime.local import graph as graph_module
from runtime.local.document import Document
from runtime.local.document import load as load_document
from runtime.local.graph import DATA_TYPES
from runtime.local.references import is_remote
from runtime.local.unfold import job_input


def split(words: Sequence[str], doc: Document) -> tuple[list[str], dict[str, str]]:
    """The words that are settings, and those that are inputs of the pipeline (which win where a name is both)."""
    inputs, settings = {}, []
    declared = doc.data.get("inputs") or {}
    problems = []
    for word in words:
        key, _, value = word.partition("=")
        if key in declared:
            inputs[key] = value
        elif key.split(".")[0] in (*FIELDS, "profile"):
            settings.append(word)
        else:
            problems.append(
                Problem(key, value, "is neither an input of the pipeline nor a setting", nearest(key, declared))
            )
    if problems:
        raise BadInput(problems)
    return settings, inputs


def inputs_of(settings: Settings, doc: Document, given: Mapping[str, str]) -> dict[str, str]:
    """What the config's `inputs` say for inputs that this pipeline has, and over it what the command line says."""
    declared = doc.data.get("inputs") or {}
    return {k: str(v) for k, v in settings.config.inputs.items() if k in declared} | dict(given)


def command(file: Path, settings: Settings, given: Mapping[str, str], asked: Any) -> int:
    """Check, plan, send, and where asked follow; returns the exit status: 0, or 3 for a job that failed.

    Args:
        file: a pipeline job YAML.
        settings: the config; its workspace is where the job goes.
        given: inputs of the pipeline.
        asked: the parsed flags (`dry_run follow create_compute cancel_on_interrupt cost queue_time name`).
    """
    doc = load_document(file)
    inputs = inputs_of(settings, doc, given)
    graph = graph_module.read(file, inputs, here=False)
    absent(doc, inputs)
    clusters = compute.asked_for(graph, settings)
    if asked.cost or asked.queue_time or asked.dry_run:
        say(cost.text(graph, clusters, settings))
    if asked.dry_run:
        return 0
    subscription, group, workspace = settings.need("subscription", "resource_group", "workspace")
    target = f"workspace:{workspace}"
    signed = client.credential(settings)
    with client.hushed(), client.translated(target):
        ml_client = client.connect(settings, target, signed)
        compute.ensure(ml_client, clusters, create=asked.create_compute)
        environments(ml_client, graph)
        job = already(ml_client, asked.name) if asked.name else None
        if job is not None:
            say(f"job {asked.name} is there already: nothing is sent")
        else:
            job = send(ml_client, settings, file, inputs, asked.name or new_name(graph.name), clusters)
    say(f"job {job.name} ({graph.name}) is {state(job)} in {group}/{workspace}, subscription {subscription}")
    say(f"studio: {job.studio_url}")
    if not asked.follow:
        say(f"follow it: ngcrun azureml follow {job.name}")
        return 0
    return watch(ml_client, signed, job.name, cancel=asked.cancel_on_interrupt)


def already(ml_client: Any, name: str) -> Any:
    """The job of that name; None where there is none."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return ml_client.jobs.get(name)
    except ResourceNotFoundError:
        return None


def absent(doc: Document, given: Mapping[str, str]) -> None:
    """Raise `BadInput` for data that is not here, also where no step reads it: all of it is uploaded."""
    problems: list[Problem] = []
    for name, raw in (doc.data.get("inputs") or {}).items():
        source = job_input(doc, ("inputs", name), raw, problems, given=given.get(name))
        if source is not None and isinstance(source.value, Path) and not source.value.exists():
            kind = source.type.removeprefix("uri_")
            problems.append(Problem(name, given.get(name, raw), "does not exist", f"name an existing {kind}"))
    if problems:
        raise BadInput(problems)


def state(job: Any) -> str:
    """The status as a word: the SDK gives an enum or a text."""
    return str(getattr(job.status, "value", job.status))


def new_name(stem: str) -> str:
    """A job name of our own: a request that is sent twice makes one job."""
    safe = "".join(c if c.isalnum() else "_" for c in stem).strip("_") or "job"
    return f"{safe}_{time.strftime('%Y%m%d_%H%M%S')}_{secrets.token_hex(3)}"


def environments(ml_client: Any, graph: graph_module.Graph) -> None:
    """Raise `BadInput` for each environment that the workspace lacks: the job would fail in the queue."""
    from azure.core.exceptions import ResourceNotFoundError

    missing = {}
    for step in graph.steps.values():
        text = step.spec.get("environment")
        if not isinstance(text, str) or not text.startswith("azureml:") or "://" in text or text in missing:
            continue
        name, _, version = text.removeprefix("azureml:").partition(":")
        try:
            missing[text] = ml_client.environments.get(name=name, version=version) is None
        except ResourceNotFoundError:
            missing[text] = True
    todo = f"publish it: ngcrun azureml publish --to workspace:{ml_client.workspace_name}"
    absent = [Problem("environment", text, "is not in the workspace", todo) for text, gone in missing.items() if gone]
    if absent:
        raise BadInput(absent)


def send(  # noqa: PLR0913, PLR0917 - what a job is made of
    ml_client: Any, settings: Settings, file: Path, inputs: Mapping[str, str], name: str, clusters: compute.Asked
) -> Any:
    """Upload what is local (AzureML keys it by content, so once) and create the job; the file is never written."""
    from azure.ai.ml import load_job

    declared = load_document(file).data.get("inputs") or {}
    changes = [{f"inputs.{key}": _value(declared[key], value)} for key, value in inputs.items()]
    changes += [{"name": name}, {"settings.default_compute": f"azureml:{clusters.default}"}]
    if settings.config.experiment:
        changes.append({"experiment_name": settings.config.experiment})
    job = load_job(str(file), params_override=changes)
    there = remote.Target(f"workspace:{ml_client.workspace_name}", lambda: ml_client)
    sent: list[Any] = []

    def attempt() -> Any:
        sent[:] = [ml_client.jobs.create_or_update(job)]
        return sent[0]

    def is_there() -> bool:
        sent[:] = [ml_client.jobs.get(name)]
        return True

    publish.patient(attempt, there, is_there)
    return sent[0]


def _value(declared: Any, text: str) -> Any:
    """An input as the file would write it: a literal as text, data with its path from here."""
    kind = declared.get("type", "uri_folder") if isinstance(declared, Mapping) else None
    if kind not in DATA_TYPES:
        return text
    return {"type": kind, "path": text if is_remote(text) else str(Path(text).resolve())}


def watch(ml_client: Any, signed: Any, name: str, *, cancel: bool) -> int:
    """Follow a job to its end. Ctrl-C leaves it running, unless `cancel`; a second one leaves at once."""
    from runtime.azureml.follow import follow
    from runtime.azureml.history import History

    try:
        with client.translated(name):
            status = follow(History(ml_client, signed), name)
    except KeyboardInterrupt:
        if not cancel:
            say(f"{name} goes on; look again: ngcrun azureml follow {name}", error=True)
            raise
        with client.hushed(), client.translated(name):
            ml_client.jobs.begin_cancel(name).result()
        say(f"{name} was canceled", error=True)
        raise
    say(f"{name}: {status}")
    sys.stdout.flush()
    if status == "Completed":
        return 0
    raise ToolFailed(f"{name}: {status}; its logs: ngcrun azureml download {name}")
