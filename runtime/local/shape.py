"""Whether a document has the shape that AzureML gives it, and asks for nothing that cannot be had on one machine.

Found before anything else is read from it: a misspelled field is an error here, where AzureML would ignore it.
The fields, and their sources, are in runtime/check/fields.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runtime.errors import Problem, nearest
from runtime.local import distribute
from runtime.local.document import Document, Place

_MAPPINGS = ("inputs", "outputs", "jobs", "settings", "environment_variables", "resources", "limits", "search_space",
             "objective")  # fmt: skip
_TEXTS = ("command", "code")
LITERAL_TYPES = {"string", "integer", "number", "boolean"}
_NAME = re.compile(r"[\w-]+")
# What would give another result here than on AzureML. Whatever else has no meaning here: docs/pipelines.md.
_MACHINES = "machines are asked for, and here is one"
_KIND = "is no distribution that runs here"
_HERE_ONLY = {_MACHINES, _KIND}
_DISTRIBUTIONS = ("pytorch", "mpi")


def of(doc: Document, *, here: bool = True) -> list[Problem]:
    """What is wrong with the shape of a pipeline or command component; `here`: what one machine cannot give, too."""
    kind = "pipeline" if doc.data.get("type") == "pipeline" else "command"
    problems = [p for p in _mapping(doc, (), doc.data, kind) if here or p.wrong not in _HERE_ONLY]
    if problems:
        return problems
    if kind == "pipeline":
        if doc.data.get("component") is not None:
            problems += [_here(doc, ("component",), doc.data["component"], "beside no `jobs` is not read here")]
        problems += _mapping(doc, ("settings",), doc.data.get("settings") or {}, "settings")
        for name, job in (doc.data.get("jobs") or {}).items():
            wrong = _name(doc, ("jobs", str(name)), name) or _step(doc, ("jobs", name), job)
            problems += [p for p in wrong if here or p.wrong not in _HERE_ONLY]
    for side in ("inputs", "outputs"):
        for name, port in (doc.data.get(side) or {}).items():
            place = (side, str(name))
            problems += _name(doc, place, name) or _port(doc, place, port, literal=kind == "pipeline")
    return problems


def _here(doc: Document, place: Place, value: object, wrong: str) -> Problem:
    return doc.problem(place, value, wrong, "list the steps below `jobs:`, or run it on AzureML")


def _name(doc: Document, place: Place, name: object) -> list[Problem]:
    """A step's or port's name becomes a folder's and a variable's."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return []
    return [doc.problem(place[:-1], name, "is not a name", "use letters, digits, _ and -; quote a number")]


def _step(doc: Document, place: Place, job: Any) -> list[Problem]:
    kind = job.get("type", "command") if isinstance(job, Mapping) else "command"
    if kind not in ("command", "pipeline", "sweep"):
        return []  # refused as a whole, by its type
    problems = _mapping(doc, place, job, "sweep" if kind == "sweep" else "step")
    if problems:
        return problems
    beside = [key for key in ("command", "code") if key in job and job.get("component") is not None]
    problems += [
        doc.problem((*place, key), job[key], "stands beside `component`, which has its own", "remove one of the two")
        for key in beside
    ]
    for name, value in (job.get("inputs") or {}).items():
        problems += _name(doc, (*place, "inputs", str(name)), name)
        if isinstance(value, list):
            problems.append(doc.problem((*place, "inputs", name), value, "is a list", "give one value"))
    return problems


def _mapping(doc: Document, place: Place, data: Any, kind: str) -> list[Problem]:
    """Unknown fields, and fields that are no mapping or no text where one is needed; then what cannot be had here."""
    if not isinstance(data, Mapping):
        return [doc.problem(place, data, "is not a mapping", "write `name: value` lines below it")]
    known = sorted(_fields(kind))
    problems = [
        doc.problem((*place, str(key)), value, f"is not a field of a {kind}", _did_you_mean(str(key), known))
        for key, value in data.items()
        if key not in known
    ]
    for key, value in data.items():
        if value is None or problems:
            continue
        if key in _MAPPINGS and not isinstance(value, Mapping):
            problems.append(doc.problem((*place, key), value, "is not a mapping", "write `name: value` lines below it"))
        elif key in _TEXTS and not isinstance(value, str):
            problems.append(doc.problem((*place, key), value, "is not text", "write one string"))
        elif key == "limits" and not _is_number(value.get("timeout", 1)):
            where, limit = (*place, key, "timeout"), value["timeout"]
            problems.append(doc.problem(where, limit, "is not a number of seconds", "write such as 3600"))
        elif key == "distribution" and distribute.kind(value) not in _DISTRIBUTIONS:
            problems.append(doc.problem((*place, key), value, _KIND, f"use {' or '.join(_DISTRIBUTIONS)}, or AzureML"))
    return problems


def machines(doc: Document, place: Place, spec: Mapping[str, Any]) -> list[Problem]:
    """Several machines are asked for, and not by a distribution whose nodes are processes here."""
    resources = spec.get("resources")
    count = resources.get("instance_count", 1) if isinstance(resources, Mapping) else 1
    if count in (1, "1") or distribute.kind(spec.get("distribution")) == "pytorch":
        return []
    where = (*place, "resources", "instance_count")
    return [doc.problem(where, count, _MACHINES, "write 1, or say `distribution: {type: pytorch}`")]


def _fields(kind: str) -> frozenset[str]:
    """The fields that a mapping of this kind has on AzureML, from the table of `ngcrun check`."""
    from runtime.check import kinds

    match kind:
        case "pipeline" | "command":
            return kinds.keys(f"{kind}Component") | kinds.keys(f"{kind}Job")
        case "settings":
            return kinds.inside("pipelineJob")["settings"]
        case "sweep":
            return kinds.keys("sweepStep")
    return kinds.keys("step")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _did_you_mean(key: str, known: list[str]) -> str:
    close = nearest(key, known).partition("?")
    return f"{close[0]}?" if close[1] else "remove it"


def _port(doc: Document, place: Place, port: Any, *, literal: bool) -> list[Problem]:
    if port is None or (literal and isinstance(port, str | int | float)):
        return []
    if not isinstance(port, Mapping):
        return [doc.problem(place, port, "is not a mapping", "write `type:` below it")]
    problems = []
    if not isinstance(port.get("type", ""), str):
        problems.append(doc.problem((*place, "type"), port["type"], "is not text", "write such as uri_folder"))
    if port.get("enum") is not None and not isinstance(port["enum"], list):
        problems.append(doc.problem((*place, "enum"), port["enum"], "is not a list", "write [a, b]"))
    problems += [
        doc.problem((*place, key), port[key], "is not a number", "write a number")
        for key in ("min", "max")
        if port.get(key) is not None and not isinstance(port[key], int | float)
    ]
    return problems
