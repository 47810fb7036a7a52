"""What is wrong with a pipeline: what its steps are given, and what they refer to.

The document is looked at as it stands, one level at a time: a nested pipeline is a file, or a part, of its own.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Iterator, Mapping

from runtime.check import keys
from runtime.check.interface import Components, Interface
from runtime.check.ports import mapping
from runtime.check.tree import Tree
from runtime.check.types import mismatch
from runtime.errors import Problem
from runtime.local import wrong
from runtime.local.document import Document, Place
from runtime.local.expression import BINDING

# What else AzureML replaces in a pipeline. Source: concept-expressions; reference-yaml-core-syntax.
_OTHER = re.compile(r"name|default_datastore|output_name|search_space\..*|parent\.(name|compute|default_datastore)")


class Pipeline:
    """One pipeline document while it is checked: its steps' interfaces, and the problems found so far."""

    def __init__(self, doc: Document, tree: Tree) -> None:
        self.doc, self.problems = doc, list[Problem]()
        self.inputs, self.outputs = mapping(doc.data, "inputs"), mapping(doc.data, "outputs")
        self.jobs = {str(name): job for name, job in mapping(doc.data, "jobs").items() if isinstance(job, Mapping)}
        components = Components(doc, tree, self.problems)
        self.steps = {name: components.of_step(("jobs", name), job) for name, job in self.jobs.items()}

    def say(self, place: Place, value: object, what: str, todo: str, rule: str) -> None:
        """Add a problem at a place of the document."""
        self.problems.append(self.doc.problem(place, value, what, todo, rule))


def of(doc: Document, tree: Tree) -> tuple[list[Problem], dict[str, Interface]]:
    """What is wrong with the graph of a pipeline, and what its steps take and give."""
    pipeline = Pipeline(doc, tree)
    for name, job in mapping(doc.data, "jobs").items():
        if not isinstance(job, Mapping):
            pipeline.say(("jobs", str(name)), job, "is not a mapping", "write the step's keys below it", "wrong-shape")
    for name, step in pipeline.steps.items():
        if step.known:
            _inputs(pipeline, name, step)
            _outputs(pipeline, name, step)
    if "component" in doc.data and not pipeline.jobs:
        _from_component(pipeline, Components(doc, tree, pipeline.problems).of(("component",), doc.data["component"]))
    _references(pipeline)
    _unwritten(pipeline)
    _cycle(pipeline)
    return pipeline.problems, pipeline.steps


def _inputs(pipeline: Pipeline, name: str, step: Interface) -> None:
    given = mapping(pipeline.jobs[name], "inputs")
    bound = set()
    for written, raw in given.items():
        place = ("jobs", name, "inputs", str(written))
        if keys.templated(written):
            return
        port = _port(pipeline, place, step, raw) if step.own and written not in step.searched else written
        if port is None or port in step.searched:
            continue
        bound |= {port} if raw is not None else set()
        if raw == "":
            pipeline.say(place, raw, "is empty, and AzureML takes no empty text", "remove it", "empty-value")
            continue
        declared = step.inputs[port]
        if step.own and isinstance(declared, Mapping) and raw is not None:
            differs = mismatch(pipeline.inputs, pipeline.steps, raw, declared)
            if differs:
                pipeline.say(place, raw, *differs)
    for port, declared in step.inputs.items() if step.own else ():
        if wrong.is_required(declared) and port not in bound | step.searched and not keys.templated(port):
            pipeline.say(("jobs", name, "inputs", str(port)), None, *wrong.unbound(str(port)))


def _from_component(pipeline: Pipeline, whole: Interface) -> None:
    """A job that is made from a pipeline component: its inputs are what the component is given."""
    bound = set()
    for name, raw in pipeline.inputs.items() if whole.known else ():
        place = ("inputs", str(name))
        port = _port(pipeline, place, whole, raw)
        if port is None or raw is None:
            continue
        bound.add(port)
        declared = whole.inputs[port]
        differs = mismatch({}, {}, raw, declared) if isinstance(declared, Mapping) else None
        if differs:
            pipeline.say(place, raw, *differs)
    for name, declared in whole.inputs.items():
        if wrong.is_required(declared) and name not in bound:
            pipeline.say(("inputs", str(name)), None, *wrong.unbound(str(name)))


def _port(pipeline: Pipeline, place: Place, step: Interface, raw: object) -> str | None:
    """The step's own name of the port that `place` binds; None, with a problem, when it has none."""
    written, side = place[-1], place[-2]
    declared = step.inputs if side == "inputs" else step.outputs
    if written in declared:
        return written
    same = next((str(name) for name in declared if str(name).lower() == written.lower()), None)
    if same is not None:
        pipeline.say(place, raw, f"{step.name} calls it {same}", f"write {same}", "port-case")
    else:
        pipeline.say(place, raw, *wrong.no_port(step.name, side[:-1], written, declared))
    return same


def _outputs(pipeline: Pipeline, name: str, step: Interface) -> None:
    for port, raw in mapping(pipeline.jobs[name], "outputs").items():
        if step.own and not keys.templated(port):
            _port(pipeline, ("jobs", name, "outputs", str(port)), step, raw)


def _bindings(pipeline: Pipeline) -> Iterator[tuple[Place, str, tuple[str, ...]]]:
    """Each `${{...}}` of the document that the pipeline itself replaces: place, text, parts."""
    for place, value in pipeline.doc.scalars():
        step = place[:1] == ("jobs",) and len(place) > 2
        # A command, and a component written here, have names of their own.
        own = step and (place[2] in ("command", "component", "trial", "jobs", "task") or place[-1] == "command")
        if isinstance(value, str) and not own and keys.FREE.isdisjoint(place):
            for match in BINDING.finditer(value):
                yield place, match[0], tuple(match[1].split("."))


def _references(pipeline: Pipeline) -> None:
    for place, text, parts in _bindings(pipeline):
        match parts:
            case ("parent", "inputs", *rest) if rest:
                _known(pipeline, place, text, ".".join(rest), "input")
            case ("parent", "outputs", *rest) if rest:
                _known(pipeline, place, text, ".".join(rest), "output")
            case ("parent", "jobs", job, ("inputs" | "outputs") as side, *rest) if rest:
                _of_step(pipeline, place, text, (job, side, ".".join(rest)))
            case _ if place[:1] == ("jobs",) and place[2:3] == ("inputs",) and not _OTHER.fullmatch(".".join(parts)):
                pipeline.say(place, text, *wrong.NO_BINDING)


def _known(pipeline: Pipeline, place: Place, text: str, name: str, side: str) -> None:
    known = pipeline.inputs if side == "input" else pipeline.outputs
    if name not in known and name.partition(".")[0] not in known and not keys.templated("".join(map(str, known))):
        pipeline.say(place, text, *wrong.not_of_pipeline(side, name, known))


def _of_step(pipeline: Pipeline, place: Place, text: str, named: tuple[str, str, str]) -> None:
    job, side, port = named
    if job not in pipeline.jobs:
        if not any(keys.templated(name) for name in pipeline.jobs):
            pipeline.say(place, text, *wrong.no_step(job, pipeline.jobs))
        return
    step = pipeline.steps[job]
    known = step.inputs if side == "inputs" else step.outputs
    if place[:4] == ("jobs", job, "inputs", port) and side == "inputs":
        pipeline.say(place, text, *wrong.ITSELF)
    elif step.known and port not in known and port not in mapping(pipeline.jobs[job], side):
        pipeline.say(place, text, *wrong.not_of_step(job, side[:-1], port, known))


def _unwritten(pipeline: Pipeline) -> None:
    bound = {".".join(parts[2:]) for _, _, parts in _bindings(pipeline) if parts[:2] == ("parent", "outputs")}
    for name in pipeline.outputs:
        if name not in bound and not keys.templated(name) and pipeline.jobs:
            pipeline.say(("outputs", str(name)), None, *wrong.unwritten(str(name)))


def _cycle(pipeline: Pipeline) -> None:
    needs: dict[str, set[str]] = {name: set() for name in pipeline.jobs}
    for place, _, parts in _bindings(pipeline):
        output = place[:1] == ("jobs",) and parts[:2] == ("parent", "jobs") and parts[3:4] == ("outputs",)
        if output and place[1] in needs and parts[2] in needs:
            needs[place[1]].add(parts[2])
    try:
        list(graphlib.TopologicalSorter({name: sorted(found) for name, found in needs.items()}).static_order())
    except graphlib.CycleError as error:
        circle = list(reversed(error.args[1]))
        pipeline.say(("jobs", circle[0]), " -> ".join(circle), *wrong.CIRCLE)
