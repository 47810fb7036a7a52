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
from runtime.local import document, wrong
from runtime.local.document import Document
from runtime.local.references import References

FILE = "uri_file"
DATA_TYPES = {"uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model"}


@dataclass(frozen=True)
class Value:
    """A literal, or a file or folder of the user's, on its way into a step."""

    value: Any
    type: str
    remote: str = ""  # the address of data that is brought here before the run; `value` is where it will be
    direct: bool = False  # the address itself is what the step gets


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
    deterministic: bool = True  # what it made before may be taken over
    modes: Mapping[str, str] = field(default_factory=dict)  # `download`, `ro_mount`, ... of the inputs that name one
    limits: Mapping[str, Any] = field(default_factory=dict)  # what the pipeline says of them
    sweep: Mapping[str, Any] | None = None  # it runs as many trials of its component, as this says
    own: Mapping[str, Any] = field(default_factory=dict)  # its `distribution` and `resources`, if it has

    @property
    def spec(self) -> Mapping[str, Any]:
        """The component's document as plain values, with what the pipeline gives the step of its own in their place."""
        data: Mapping[str, Any] = self.component.data
        resources = {**(data.get("resources") or {}), **(self.own.get("resources") or {})}
        return {**data, **self.own, **({"resources": resources} if resources else {})} if self.own else data

    @property
    def identity(self) -> bool:
        """Whether it asks to run as someone; on this machine it runs as whoever runs ngcrun."""
        job = (self.pipeline.data.get("jobs") or {}).get(self.id.rpartition(".")[2]) or {}
        return bool(self.spec.get("identity") or job.get("identity") or self.pipeline.data.get("identity"))

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
    force: bool = False  # settings.force_rerun


def read(
    path: Path,
    overrides: Mapping[str, str] | None = None,
    *,
    here: bool = True,
    references: References | None = None,
) -> Graph:
    """Read a pipeline and everything it refers to; raises `BadInput` with every problem of the whole graph.

    A job or a component alone is read as a pipeline of one step. `here`: it is to run on this machine, so what needs
    several is a problem, too.
    """
    from runtime.local import check, search_space, shape
    from runtime.local.unfold import Scope, job_input, named_outputs, unfold
    from runtime.local.wrap import as_pipeline

    loaded = document.load(path)
    doc = as_pipeline(loaded, overrides or {}, here=here)
    problems: list[Problem] = []
    misshapen = shape.of(doc, here=here)
    if misshapen:
        raise BadInput(misshapen)
    declared, given = doc.data.get("inputs") or {}, overrides or {}
    problems += [
        Problem(name, text, "is not an input of the pipeline", nearest(name, declared))
        for name, text in given.items()
        if name not in declared
    ]
    inputs = {
        n: job_input(doc, ("inputs", n), raw, problems, given=given.get(n), references=references)
        for n, raw in declared.items()
    }
    steps: dict[str, Step] = {}
    scope = Scope(doc, "", inputs, here=here, references=references or References())
    unfold(scope, steps, problems, (path.resolve(),) if doc is loaded else ())
    outputs = named_outputs(scope)
    problems += check.steps(steps)
    problems += (p for step in steps.values() if step.sweep is not None for p in search_space.problems(step))
    ordered = steps if problems else _ordered(doc, steps)
    if problems:
        raise BadInput(problems)
    settings = doc.data.get("settings") or {}
    stop = settings.get("continue_on_step_failure") is False  # Source: the reference's default is true
    name = str(doc.data.get("display_name") or doc.data.get("name") or path.stem)
    shown = {n: s.value if isinstance(s, Value) else None for n, s in inputs.items()}
    return Graph(name, path, ordered, outputs, shown, stop, force=settings.get("force_rerun") is True)


def _ordered(doc: Document, steps: dict[str, Step]) -> dict[str, Step]:
    """The steps so that each stands after what it needs; raises `BadInput` for a circle."""
    try:
        order = list(graphlib.TopologicalSorter({n: sorted(s.needs()) for n, s in steps.items()}).static_order())
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise BadInput([doc.problem(("jobs",), circle, *wrong.CIRCLE)]) from error
    return {name: steps[name] for name in order}
