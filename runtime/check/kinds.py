"""What kind of AzureML file a document is, and the keys of each kind."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.check.rules import table

# Kinds that are looked into; fields.yaml has their keys.
KNOWN = frozenset(
    [
        *("commandComponent", "pipelineComponent", "commandJob", "pipelineJob", "sweepJob", "environment"),
        *("amlCompute", "managedOnlineEndpoint", "kubernetesOnlineEndpoint", "data", "model"),
        *("managedOnlineDeployment", "kubernetesOnlineDeployment"),
    ]
)
COMPONENTS = ("commandComponent", "pipelineComponent")
PIPELINES = ("pipelineComponent", "pipelineJob")
# A first look at the text, so that a folder's other YAML need not be parsed; `$schema` names AzureML, or the keys do.
SCHEMA = re.compile(r"""^["']?\$schema["']?\s*:\s*["']?(\S*(?:azureml|componentsdk)\S*?)["']?\s*$""", re.MULTILINE)
_TYPE = re.compile(r"""^type\s*:\s*["']?(pipeline|command)["']?\s*$""", re.MULTILINE)
_STEM = re.compile(r"/([A-Za-z]+)(?:\.schema)?\.json$")
_JOB_KEYS = {"compute", "experiment_name", "settings"}


def might_be(text: str) -> bool:
    """Whether the text of a YAML file looks like AzureML's."""
    return bool(SCHEMA.search(text) or _TYPE.search(text))


def kind_of(data: Mapping[Any, Any]) -> str | None:
    """The kind, by `$schema` or by the keys; another than `KNOWN` is not looked into, None is not AzureML's."""
    schema = str(data.get("$schema", ""))
    if schema:
        if not re.search("azureml|componentsdk", schema):
            return None
        stem = _STEM.search(schema)
        name = stem[1][0].lower() + stem[1][1:] if stem else schema
        return f"componentsdk {name}" if "componentsdk" in schema else _by_type(name, data.get("type"))
    kind = data.get("type")
    if kind == "pipeline" and isinstance(data.get("jobs"), Mapping):
        return "pipelineJob" if _is_job(data) else "pipelineComponent"
    if kind == "command" and isinstance(data.get("command"), str) and "environment" in data:
        return "commandJob" if _is_job(data) else "commandComponent"
    return None


def _by_type(name: str, kind: object) -> str:
    """What `type:` says; azure-ai-ml goes by that, and not by the schema, for components and jobs."""
    for family in ("Component", "Job"):
        if name in (f"command{family}", f"pipeline{family}") and isinstance(kind, str):
            return f"{kind}{family}"
    return name


def _is_job(data: Mapping[Any, Any]) -> bool:
    inputs = data.get("inputs")
    ports = inputs.values() if isinstance(inputs, Mapping) else ()
    bound = any(not isinstance(port, Mapping) or "path" in port or "value" in port for port in ports)
    return bound or bool(_JOB_KEYS & data.keys()) or "version" not in data


def component_kind(data: Mapping[Any, Any]) -> str | None:
    """The kind of a document that a step names as its component; None when it cannot be one."""
    kind = kind_of(data)
    if kind is None and "$schema" not in data:
        family = str(data.get("type", "command"))
        needs = {"command": "command", "pipeline": "jobs"}.get(family)
        kind = f"{family}Component" if needs in data else None
    job = {"commandJob": "commandComponent", "pipelineJob": "pipelineComponent"}
    return job.get(str(kind), kind)


@functools.cache
def fields() -> dict[str, Any]:
    """fields.yaml."""
    return table(Path(__file__).with_name("fields.yaml"))


@functools.cache
def keys(kind: str) -> frozenset[str]:
    """The keys that a document of this kind, or a `step`, or a `port`, may have."""
    rows = [fields()[kind]] + ([fields()["any"]] if kind not in ("step", "sweepStep", "port") else [])
    return frozenset(word for row in rows for key in ("keys", "docs") for word in row.get(key, "").split())


@functools.cache
def inside(kind: str) -> dict[str, frozenset[str]]:
    """The keys of the mappings in a document of this kind, by the key that they stand at."""
    rows = {key: row for key, row in fields()["inside"].items() if kind in row["in"].split()}
    return {key: frozenset(f"{row['keys']} {row.get('docs', '')}".split()) for key, row in rows.items()}


@functools.cache
def required(kind: str) -> tuple[tuple[str, ...], ...]:
    """What a document of this kind is refused without: each a choice of keys."""
    return tuple(tuple(words.split("|")) for words in fields()["required"].get(kind, "").split())
