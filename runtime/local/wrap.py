"""A command job, a sweep job or a component alone, as a pipeline of one step: the engine knows pipelines only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem, nearest
from runtime.local import shape
from runtime.local.document import Document

KINDS = ("pipeline", "command", "sweep")


def as_pipeline(doc: Document, given: Mapping[str, str], *, here: bool = True) -> Document:
    """The document itself when it is a pipeline job; else one that runs it. `given`: inputs from the command line.

    Raises `BadInput` for a file of another kind, and for inputs that a component needs and that were not given.
    """
    data = doc.data
    kind = data.setdefault("type", "pipeline" if "jobs" in data else "command" if "command" in data else None)
    if kind not in KINDS:
        todo = "name a pipeline, a command or sweep job, or a component"
        raise BadInput([doc.problem(("type",), kind, "is nothing that runs", todo)])
    if is_component(data):
        return _component(doc, given, here=here)
    return doc if kind == "pipeline" else _job(doc)


def is_component(data: Mapping[str, Any]) -> bool:
    """Whether a document declares its inputs, to be given later, and does not name their values.

    The `$schema` says it; without one, what only a job has: a place to run, or an input that is a value or has a path.
    """
    schema = str(data.get("$schema", ""))
    if "Component" in schema or "Job" in schema:
        return "Component" in schema
    if data.get("type") != "command" or "compute" in data or "experiment_name" in data:
        return False
    inputs = data.get("inputs")
    ports = inputs.values() if isinstance(inputs, Mapping) else ()
    return bool(data.get("version")) and all(
        isinstance(p, Mapping) and "path" not in p and "value" not in p for p in ports
    )


def _name(doc: Document) -> str:
    """A step's name from the job's or component's; letters, digits, _ and - only."""
    name = str(doc.data.get("name") or doc.path.stem)
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in name)


def _component(doc: Document, given: Mapping[str, str], *, here: bool) -> Document:
    wrong = shape.of(doc, here=here)
    if wrong:
        raise BadInput(wrong)
    declared = doc.data.get("inputs") or {}
    problems = [
        Problem(name, text, "is not an input of the component", nearest(name, declared))
        for name, text in given.items()
        if name not in declared
    ]
    problems += [
        Problem(
            name, None, "is required and not bound", f"say {name}=VALUE: {port.get('description') or port.get('type')}"
        )
        for name, port in ((n, p or {}) for n, p in declared.items())
        if name not in given and not port.get("optional") and port.get("default") is None
    ]
    if problems:
        raise BadInput(problems)
    step, outputs = _name(doc), doc.data.get("outputs") or {}
    job = {
        "type": doc.data["type"],
        "component": doc.path.name,
        "inputs": {name: "${{parent.inputs." + name + "}}" for name in given},
        "outputs": {name: "${{parent.outputs." + name + "}}" for name in outputs},
    }
    inputs = {name: {"type": (declared[name] or {}).get("type"), "path": given[name]} for name in given}
    for port in inputs.values():
        if port["type"] in shape.LITERAL_TYPES:
            port["value"] = port.pop("path")
    data = {"type": "pipeline", "display_name": step, "inputs": inputs, "outputs": dict(outputs), "jobs": {step: job}}
    return Document(Path(doc.path), data)


def _job(doc: Document) -> Document:
    step, job = _name(doc), dict(doc.data)
    inputs = job.get("inputs")
    named = {"display_name": doc.data.get("display_name") or step}
    for key in ("$schema", "experiment_name", "name", "display_name"):
        job.pop(key, None)
    outputs = job.get("outputs") if isinstance(job.get("outputs"), Mapping) else {}
    if isinstance(inputs, Mapping):  # as inputs of the pipeline, so that the command line can replace them
        job["inputs"] = {name: "${{parent.inputs." + str(name) + "}}" for name in inputs}
    job["outputs"] = {name: "${{parent.outputs." + str(name) + "}}" for name in outputs or {}}
    lines = {("jobs", step, *place): line for place, line in doc.lines.items() if place}
    lines |= {place: line for place, line in doc.lines.items() if place[:1] in (("inputs",), ("outputs",))}
    declared = {
        n: p if isinstance(p, Mapping) and "type" in p else {"type": "uri_folder"} for n, p in (outputs or {}).items()
    }
    data = {"type": "pipeline", **named, "inputs": inputs, "outputs": declared, "jobs": {step: job}}
    return replace(doc, data=data, lines=lines, hidden=("jobs", step))
