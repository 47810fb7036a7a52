"""Unfolding a pipeline document, and those nested in it, into steps whose inputs say where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import Problem
from runtime.local import remote, shape, wrong
from runtime.local.document import Document
from runtime.local.expression import BINDING, binding_of
from runtime.local.graph import DATA_TYPES, FromStep, Source, Step, Value
from runtime.local.nodes import LITERALS, Node
from runtime.local.references import References, is_remote


@dataclass
class Scope:
    """One pipeline document while it is unfolded: what `${{parent.*}}` means in it."""

    document: Document
    prefix: str
    inputs: Mapping[str, Source | None]
    jobs: dict[str, Document] = field(default_factory=dict)
    # An output of a nested pipeline is an output of one of its steps; known once that pipeline is unfolded.
    outputs: dict[tuple[str, str], FromStep] = field(default_factory=dict)
    here: bool = True  # to run on this machine; on AzureML more can be had
    references: References = field(default_factory=References)


def job_input(  # noqa: PLR0913 - where it stands, and what may replace it
    doc: Document,
    place: tuple[str, ...],
    raw: Any,
    problems: list[Problem],
    *,
    given: str | None = None,
    references: References | None = None,
) -> Value | None:
    """A pipeline job's input: a literal, `{type, path}` for data, or `{type, value|default}`; `given` replaces it."""
    kind = str(raw.get("type", "uri_folder")) if isinstance(raw, dict) else _literal_type(raw)
    if given == "" and kind in DATA_TYPES:
        problems.append(Problem(place[-1], given, "is empty", f"name an existing {kind.removeprefix('uri_')}"))
        return Value(None, kind)
    if given is not None:
        return Value(Path(given).resolve() if kind in DATA_TYPES else given, kind)
    value = raw.get("value", raw.get("default")) if isinstance(raw, dict) else raw
    if not isinstance(raw, dict) or kind not in DATA_TYPES:
        return None if value is None else Value(value, kind)
    return _data(doc, place, raw, problems, references or References())


def _data(
    doc: Document, place: tuple[str, ...], raw: Mapping[str, Any], problems: list[Problem], references: References
) -> Value:
    """Where data is on this machine, or will be; no value, with a problem, when it cannot be here."""
    text, kind = str(raw.get("path", "")), str(raw.get("type", "uri_folder"))
    if not text:
        problems.append(doc.problem(place, None, "has no path", "add `path:`"))
        return Value(None, kind)
    if not is_remote(text):
        return Value((doc.path.parent / text).resolve(), kind)
    mapped = references.path(text)
    if mapped is not None:
        return Value(mapped, kind)
    if raw.get("mode") == "direct":
        return Value(text, kind, direct=True)
    if remote.can_be_fetched(text, kind):
        return Value(remote.place_of(text), kind, remote=text)
    problems.append(doc.problem((*place, "path"), text, "is not on this machine", remote.todo(text, place[-1])))
    return Value(None, kind)


def _literal_type(raw: Any) -> str:
    return LITERALS.get(type(raw), "string")


def unfold(scope: Scope, steps: dict[str, Step], problems: list[Problem], seen: tuple[Path, ...]) -> None:
    """Add the steps below `scope` to `steps`; `seen` are the files on the way here, against endless nesting."""
    doc = scope.document
    jobs: Mapping[str, Any] = doc.data.get("jobs") or {}
    if not jobs:
        problems.append(doc.problem(("jobs",), None, "has no step", "add at least one"))
    nodes = {n: Node(doc, n, job, scope.references, seen, here=scope.here) for n, job in jobs.items()}
    types = _types(doc, nodes)
    for name, node in nodes.items():
        problems += (p for p in node.problems if p not in problems)  # many steps may use one component
        if node.component is not None:
            node.declare(types)
            scope.jobs[name] = node.component
    # A nested pipeline is unfolded before the steps that read its outputs are bound.
    bound = {n: _bind_all(scope, n, problems) for n in scope.jobs}
    for name, component in scope.jobs.items():
        if component.data["type"] != "pipeline":
            continue
        declared = component.data.get("inputs") or {}
        inputs = {n: bound[name].get(n) or _default(component, n) for n in declared}
        inner = Scope(component, f"{scope.prefix}{name}.", inputs, here=scope.here, references=scope.references)
        problems += _unbound(component, scope, name, inputs)
        unfold(inner, steps, problems, (*seen, component.path.resolve()))
        scope.outputs |= {(name, port): source for port, source in named_outputs(inner).items()}
    for name, component in scope.jobs.items():
        if component.data["type"] == "pipeline":
            continue
        env = {str(k): str(v) for k, v in (jobs[name].get("environment_variables") or {}).items()}
        given = {n: s for n, s in bound[name].items() if s is not None}
        again = component.data.get("is_deterministic") is False
        step = Step(scope.prefix + name, component, doc, given, env, not again, sweep=nodes[name].sweep)
        step.limits = jobs[name].get("limits") or {}
        step.own = {key: jobs[name][key] for key in ("distribution", "resources") if jobs[name].get(key)}
        if scope.here:
            counted = "instance_count" in (step.own.get("resources") or {})
            problems += shape.machines(doc if counted else component, ("jobs", name) if counted else (), step.spec)
        step.modes = _modes(component.data.get("inputs") or {}) | _modes(jobs[name].get("inputs") or {})
        steps[scope.prefix + name] = step
    _join(scope, steps)
    problems += _wrong_outputs(scope)


def _modes(inputs: Mapping[str, Any]) -> dict[str, str]:
    """How each input that says so reaches the step."""
    return {name: str(raw["mode"]) for name, raw in inputs.items() if isinstance(raw, Mapping) and raw.get("mode")}


def _types(doc: Document, nodes: Mapping[str, Node]) -> dict[tuple[str, ...], str]:
    """The type of whatever `${{parent...}}` can name in this document."""
    types: dict[tuple[str, ...], str]
    types = {("parent", "inputs", n): _type_of_input(raw) for n, raw in (doc.data.get("inputs") or {}).items()}
    for name, node in nodes.items():
        data = node.component.data if node.component is not None else {}
        for side, default in (("inputs", "string"), ("outputs", "uri_folder")):
            for port, raw in (data.get(side) or {}).items():
                types["parent", "jobs", name, side, port] = str((raw or {}).get("type", default))
    return types


def _type_of_input(raw: Any) -> str:
    if not isinstance(raw, Mapping):
        return _literal_type(raw)
    return str(raw.get("type", "uri_folder"))


def _join(scope: Scope, steps: dict[str, Step]) -> None:
    """Replace references to a nested pipeline's output by the inner step that writes it."""
    for step in steps.values():
        for port, source in step.inputs.items():
            if isinstance(source, FromStep) and source.step.startswith(scope.prefix):
                name = source.step.removeprefix(scope.prefix)
                step.inputs[port] = scope.outputs.get((name, source.port), source)


def _bind_all(scope: Scope, name: str, problems: list[Problem]) -> dict[str, Source | None]:
    """Where each input that the step `name` binds comes from; None where that is itself unbound."""
    doc = scope.document
    declared = scope.jobs[name].data.get("inputs") or {}
    bound: dict[str, Source | None] = {}
    for port, raw in (doc.data["jobs"][name].get("inputs") or {}).items():
        place = ("jobs", name, "inputs", str(port))
        if port not in declared:
            owner = str(scope.jobs[name].data.get("name", name))
            problems.append(doc.problem(place, raw, *wrong.no_port(owner, "input", str(port), declared)))
            continue
        bound[port] = _source(scope, place, raw, problems, ())
    return bound


def _source(
    scope: Scope, place: tuple[str, ...], raw: Any, problems: list[Problem], seen: tuple[tuple[str, ...], ...]
) -> Source | None:
    """Where what stands at `place` comes from; `seen` are the inputs that led here by `${{parent.jobs.s.inputs.i}}`."""
    value = raw.get("path", raw.get("value")) if isinstance(raw, dict) else raw
    parts = binding_of(value)
    if parts is None and isinstance(value, str) and BINDING.search(value):
        todo = "bind one whole ${{...}}, and put it together in the command"
        problems.append(scope.document.problem(place, value, "mixes a binding with other text", todo))
        return None
    if parts is None:
        return job_input(scope.document, place, raw, problems, references=scope.references)
    return _resolve(scope, parts, place, problems, (*seen, place))


def _resolve(
    scope: Scope,
    parts: tuple[str, ...],
    place: tuple[str, ...],
    problems: list[Problem],
    seen: tuple[tuple[str, ...], ...],
) -> Source | None:
    raw = "${{" + ".".join(parts) + "}}"
    doc = scope.document
    match parts:
        case ("parent", "inputs", name):
            if name not in scope.inputs:
                problems.append(doc.problem(place, raw, *wrong.not_of_pipeline("input", name, scope.inputs)))
            return scope.inputs.get(name)
        case ("parent", "jobs", job, "outputs", port):
            known = doc.data.get("jobs") or {}
            ports = (scope.jobs[job].data.get("outputs") or {}) if job in scope.jobs else {}
            if port in ports:
                return FromStep(scope.prefix + job, port)
            if job not in known:
                problems.append(doc.problem(place, raw, *wrong.no_step(job, known)))
            elif job in scope.jobs:  # one that could not be read has a problem of its own
                problems.append(doc.problem(place, raw, *wrong.not_of_step(job, "output", port, ports)))
            return None
        case ("parent", "jobs", job, "inputs", port) if job in scope.jobs:
            if port not in (scope.jobs[job].data.get("inputs") or {}):
                known = scope.jobs[job].data.get("inputs") or {}
                problems.append(doc.problem(place, raw, *wrong.not_of_step(job, "input", port, known)))
            elif ("jobs", job, "inputs", port) in seen:
                problems.append(doc.problem(place, raw, *wrong.ITSELF))
            else:
                return _same_as(scope, job, port, seen)
            return None
    problems.append(doc.problem(place, raw, *wrong.NO_BINDING))
    return None


def _same_as(scope: Scope, job: str, port: str, seen: tuple[tuple[str, ...], ...]) -> Source | None:
    """What the step `job` gets at `port`; what is wrong with it is told where it stands."""
    raw = (scope.document.data["jobs"][job].get("inputs") or {}).get(port)
    there = ("jobs", job, "inputs", port)
    return _default(scope.jobs[job], port) if raw is None else _source(scope, there, raw, [], seen)


def _default(component: Document, name: str) -> Value | None:
    declared = component.data["inputs"][name] or {}
    return (
        Value(declared["default"], str(declared.get("type", "string"))) if declared.get("default") is not None else None
    )


def _unbound(component: Document, scope: Scope, name: str, inputs: Mapping[str, Source | None]) -> list[Problem]:
    declared = component.data.get("inputs") or {}
    missing = [n for n, s in inputs.items() if s is None and not (declared[n] or {}).get("optional")]
    place = ("jobs", name, "inputs")
    return [scope.document.problem((*place, n), None, *wrong.unbound(n)) for n in missing]


def _wrong_outputs(scope: Scope) -> list[Problem]:
    """Outputs that a step does not have, or the pipeline does not, and those of the pipeline that no step writes."""
    doc, bound, problems = scope.document, set(), []
    own = doc.data.get("outputs") or {}
    for name, component in scope.jobs.items():
        declared = component.data.get("outputs") or {}
        for port, raw in (doc.data["jobs"][name].get("outputs") or {}).items():
            place = ("jobs", name, "outputs", str(port))
            if port not in declared:
                problems.append(doc.problem(place, raw, *wrong.no_port(f"step {name!r}", "output", port, declared)))
            match binding_of(raw.get("path") if isinstance(raw, dict) else raw):
                case ("parent", "outputs", wanted):
                    bound.add(wanted)
                    if wanted not in own:
                        problems.append(doc.problem(place, raw, *wrong.not_of_pipeline("output", wanted, own)))
    if len(scope.jobs) == len(doc.data.get("jobs") or {}):  # one that could not be read may be what writes it
        problems += [doc.problem(("outputs", n), None, *wrong.unwritten(n)) for n in own if n not in bound]
    return problems


def named_outputs(scope: Scope) -> dict[str, FromStep]:
    """`outputs: {x: ${{parent.outputs.y}}}` of the steps, as `{y: the step's x}`."""
    found = {}
    for name, job in (scope.document.data.get("jobs") or {}).items():
        for port, raw in (job.get("outputs") or {}).items() if isinstance(job, dict) else ():
            parts = binding_of(raw.get("path") if isinstance(raw, dict) else raw)
            if parts is not None and parts[:2] == ("parent", "outputs"):
                found[parts[2]] = scope.outputs.get((name, port), FromStep(scope.prefix + name, port))
    return found
