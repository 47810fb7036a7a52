"""An AzureML pipeline YAML as a flat graph of steps; nested pipeline components are unfolded.

Source of the semantics: MicrosoftDocs/azure-ai-docs, reference-yaml-job-pipeline and reference-yaml-component-pipeline.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem, nearest
from runtime.local import document
from runtime.local.document import Document
from runtime.local.expression import binding_of

DATA_TYPES = {"uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model"}


@dataclass(frozen=True)
class Value:
    """A literal, or a file or folder of the user's, on its way into a step."""

    value: Any
    type: str


@dataclass(frozen=True)
class FromStep:
    """An output of another step."""

    step: str
    port: str


Source = Value | FromStep


@dataclass
class Step:
    """One command to run: its component, where that is used, and where each input comes from (absent: unbound)."""

    id: str
    component: Document
    pipeline: Document
    inputs: dict[str, Source] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> Mapping[str, Any]:
        """The component's document as plain values."""
        return self.component.data  # type: ignore[no-any-return]

    def place(self, port: str) -> tuple[str, ...]:
        """Where the pipeline binds the input `port`."""
        return ("jobs", self.id.rpartition(".")[2], "inputs", port)

    def needs(self) -> set[str]:
        """The steps that must have ended before this one starts."""
        return {s.step for s in self.inputs.values() if isinstance(s, FromStep)}


@dataclass
class Graph:
    """A whole pipeline: its steps by id in an order in which they can run, and its named outputs."""

    name: str
    file: Path
    steps: dict[str, Step]
    outputs: dict[str, FromStep]
    inputs: dict[str, Any]
    stop_on_failure: bool = False


@dataclass
class _Scope:
    """One pipeline document while it is unfolded: what `${{parent.*}}` means in it."""

    document: Document
    prefix: str
    inputs: Mapping[str, Source | None]
    jobs: dict[str, Document] = field(default_factory=dict)
    # An output of a nested pipeline is an output of one of its steps; known once that pipeline is unfolded.
    outputs: dict[tuple[str, str], FromStep] = field(default_factory=dict)


def read(path: Path, overrides: Mapping[str, str] | None = None) -> Graph:
    """Read a pipeline and everything it refers to; raises `BadInput` with every problem of the whole graph."""
    from runtime.local import check

    doc = document.load(path)
    problems: list[Problem] = []
    if doc.data.get("type") != "pipeline":
        raise BadInput(
            [doc.problem(("type",), doc.data.get("type"), "is not a pipeline job", "name a `type: pipeline` file")]
        )
    inputs = {n: _job_input(doc, n, v, problems) for n, v in (doc.data.get("inputs") or {}).items()}
    for name, text in (overrides or {}).items():
        if name not in inputs:
            problems.append(Problem(name, text, "is not an input of the pipeline", nearest(name, inputs)))
            continue
        before = inputs[name]
        kind = before.type if before else "string"
        inputs[name] = Value(Path(text).resolve() if kind in DATA_TYPES else text, kind)
    steps: dict[str, Step] = {}
    scope = _Scope(doc, "", inputs)
    _unfold(scope, steps, problems, (path.resolve(),))
    outputs = _named_outputs(scope)
    problems += check.steps(steps)
    ordered = steps if problems else _ordered(doc, steps)
    if problems:
        raise BadInput(problems)
    settings = doc.data.get("settings") or {}
    stop = settings.get("continue_on_step_failure") is False  # Source: the reference's default is true
    name = str(doc.data.get("display_name") or doc.data.get("name") or path.stem)
    shown = {n: s.value if isinstance(s, Value) else None for n, s in inputs.items()}
    return Graph(name, path, ordered, outputs, shown, stop)


def _job_input(doc: Document, name: str, raw: Any, problems: list[Problem]) -> Value | None:
    """A pipeline job's input: a literal, `{type, path}` for data, or `{type, value|default}`."""
    if not isinstance(raw, dict):
        return Value(raw, _literal_type(raw))
    kind = str(raw.get("type", "uri_folder"))
    if kind not in DATA_TYPES:
        value = raw.get("value", raw.get("default"))
        return None if value is None else Value(value, kind)
    text = str(raw.get("path", ""))
    place = ("inputs", name, "path")
    if not text:
        problems.append(doc.problem(("inputs", name), None, "has no path", "add `path:`"))
    elif "://" in text or text.startswith("azureml:"):
        todo = "download it and name the local copy: " + f"{name}=PATH"
        problems.append(doc.problem(place, text, "is not on this machine", todo))
    else:
        return Value((doc.path.parent / text).resolve(), kind)
    return Value(Path(text), kind)


def _literal_type(raw: Any) -> str:
    return {bool: "boolean", int: "integer", float: "number"}.get(type(raw), "string")


def _unfold(scope: _Scope, steps: dict[str, Step], problems: list[Problem], seen: tuple[Path, ...]) -> None:
    """Add the steps below `scope` to `steps`; `seen` are the files on the way here, against endless nesting."""
    doc = scope.document
    jobs: Mapping[str, Any] = doc.data.get("jobs") or {}
    if not jobs:
        problems.append(doc.problem(("jobs",), None, "has no step", "add at least one"))
    for name, job in jobs.items():
        component = _component(scope, name, job, problems, seen)
        if component is not None:
            scope.jobs[name] = component
    # A nested pipeline is unfolded before the steps that read its outputs are bound.
    bound = {n: _bind_all(scope, n, problems) for n in scope.jobs}
    for name, component in scope.jobs.items():
        if component.data["type"] != "pipeline":
            continue
        declared = component.data.get("inputs") or {}
        inputs = {n: bound[name].get(n) or _default(component, n) for n in declared}
        inner = _Scope(component, f"{scope.prefix}{name}.", inputs)
        problems += _unbound(component, scope, name, inputs)
        _unfold(inner, steps, problems, (*seen, component.path.resolve()))
        scope.outputs |= {(name, port): source for port, source in _named_outputs(inner).items()}
    for name, component in scope.jobs.items():
        if component.data["type"] == "pipeline":
            continue
        env = {str(k): str(v) for k, v in (jobs[name].get("environment_variables") or {}).items()}
        given = {n: s for n, s in bound[name].items() if s is not None}
        steps[scope.prefix + name] = Step(scope.prefix + name, component, doc, given, env)
    _join(scope, steps)


def _join(scope: _Scope, steps: dict[str, Step]) -> None:
    """Replace references to a nested pipeline's output by the inner step that writes it."""
    for step in steps.values():
        for port, source in step.inputs.items():
            if isinstance(source, FromStep) and source.step.startswith(scope.prefix):
                name = source.step.removeprefix(scope.prefix)
                step.inputs[port] = scope.outputs.get((name, source.port), source)


def _component(scope: _Scope, name: str, job: Any, problems: list[Problem], seen: tuple[Path, ...]) -> Document | None:
    doc, place = scope.document, ("jobs", name)
    kind = job.get("type", "command") if isinstance(job, dict) else None
    reference = job.get("component") if isinstance(job, dict) else None
    if kind not in ("command", "pipeline"):
        todo = "only command and pipeline steps do; run this one on AzureML"
        problems.append(doc.problem((*place, "type"), kind, "does not run on this machine", todo))
        return None
    if not isinstance(reference, str):
        problems.append(doc.problem(place, None, "names no component", "add `component: ./file.yaml`"))
        return None
    if "://" in reference or reference.startswith("azureml:"):
        problems.append(doc.problem((*place, "component"), reference, "is not on this machine", "name a local file"))
        return None
    path = (doc.path.parent / reference.removeprefix("file:")).resolve()
    if path in seen:
        problems.append(doc.problem((*place, "component"), reference, "contains itself", "break the circle"))
        return None
    try:
        component = document.load(path)
    except BadInput as error:
        first = error.problems[0]
        problems.append(doc.problem((*place, "component"), reference, first.wrong, first.todo))
        return None
    component.data.setdefault("type", "command")
    if component.data["type"] not in ("command", "pipeline"):
        problems.append(
            component.problem(("type",), component.data["type"], "is no component that runs here", "use command")
        )
        return None
    return component


def _bind_all(scope: _Scope, name: str, problems: list[Problem]) -> dict[str, Source | None]:
    """Where each input that the step `name` binds comes from; None where that is itself unbound."""
    doc = scope.document
    declared = scope.jobs[name].data.get("inputs") or {}
    bound: dict[str, Source | None] = {}
    for port, raw in (doc.data["jobs"][name].get("inputs") or {}).items():
        place = ("jobs", name, "inputs", port)
        if port not in declared:
            what = f"{scope.jobs[name].data.get('name', name)} has no such input"
            problems.append(doc.problem(place, raw, what, nearest(port, declared)))
            continue
        value = raw.get("path") if isinstance(raw, dict) and "path" in raw else raw
        parts = binding_of(value)
        if parts is None:
            bound[port] = (
                _job_input(doc, port, raw, problems) if isinstance(raw, dict) else Value(raw, _literal_type(raw))
            )
        else:
            source = _resolve(scope, parts, place, value, problems)
            if source is not None:
                bound[port] = source
    return bound


def _resolve(  # noqa: PLR0911 - one return a form of binding
    scope: _Scope, parts: tuple[str, ...], place: tuple[str, ...], raw: object, problems: list[Problem]
) -> Source | None:
    doc = scope.document
    match parts:
        case ("parent", "inputs", name):
            if name not in scope.inputs:
                problems.append(
                    doc.problem(place, raw, f"the pipeline has no input {name!r}", nearest(name, scope.inputs))
                )
            return scope.inputs.get(name)
        case ("parent", "jobs", job, "outputs", port):
            known = doc.data.get("jobs") or {}
            ports = (scope.jobs[job].data.get("outputs") or {}) if job in scope.jobs else {}
            if port in ports:
                return FromStep(scope.prefix + job, port)
            if job not in known:
                problems.append(doc.problem(place, raw, f"there is no step {job!r}", nearest(job, known)))
            elif job in scope.jobs:  # one that could not be read has a problem of its own
                problems.append(doc.problem(place, raw, f"step {job!r} has no output {port!r}", nearest(port, ports)))
            return None
        case ("parent", "jobs", job, "inputs", port) if job in scope.jobs:
            other = (doc.data["jobs"][job].get("inputs") or {}).get(port)
            inner = binding_of(other)
            return Value(other, _literal_type(other)) if inner is None else _resolve(scope, inner, place, raw, problems)
    todo = "write ${{parent.inputs.NAME}} or ${{parent.jobs.STEP.outputs.NAME}}"
    problems.append(doc.problem(place, raw, "is not a binding that a pipeline has", todo))
    return None


def _default(component: Document, name: str) -> Value | None:
    declared = component.data["inputs"][name] or {}
    return Value(declared["default"], str(declared.get("type", "string"))) if "default" in declared else None


def _unbound(component: Document, scope: _Scope, name: str, inputs: Mapping[str, Source | None]) -> list[Problem]:
    declared = component.data.get("inputs") or {}
    missing = [n for n, s in inputs.items() if s is None and not (declared[n] or {}).get("optional")]
    place = ("jobs", name, "inputs")
    return [scope.document.problem((*place, n), None, "is required and not bound", "bind it") for n in missing]


def _named_outputs(scope: _Scope) -> dict[str, FromStep]:
    """`outputs: {x: ${{parent.outputs.y}}}` of the steps, as `{y: the step's x}`."""
    found = {}
    for name, job in (scope.document.data.get("jobs") or {}).items():
        for port, raw in (job.get("outputs") or {}).items() if isinstance(job, dict) else ():
            parts = binding_of(raw.get("path") if isinstance(raw, dict) else raw)
            if parts is not None and parts[:2] == ("parent", "outputs"):
                found[parts[2]] = scope.outputs.get((name, port), FromStep(scope.prefix + name, port))
    return found


def _ordered(doc: Document, steps: dict[str, Step]) -> dict[str, Step]:
    """The steps so that each stands after what it needs; raises `BadInput` for a circle."""
    try:
        order = list(graphlib.TopologicalSorter({n: sorted(s.needs()) for n, s in steps.items()}).static_order())
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise BadInput(
            [doc.problem(("jobs",), circle, "is a circle: each step waits for another", "unbind one")]
        ) from error
    return {name: steps[name] for name in order}
