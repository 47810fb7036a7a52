"""From one entry of `jobs:` to the component that it runs: a file, an inline mapping, a reference, a bare command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem
from runtime.local import document, shape
from runtime.local.document import Document, Place
from runtime.local.expression import binding_of
from runtime.local.references import References, is_remote

# What a command step has of a component; the rest is the step's own. Source: azure-ai-ml 1.35.2, CommandSchema.
_OF_COMPONENT = ("command", "code", "environment", "environment_variables", "resources", "limits", "distribution",
                 "additional_includes", "is_deterministic", "display_name", "description")  # fmt: skip
_KINDS = ("command", "pipeline", "sweep")
LITERALS = {bool: "boolean", int: "integer", float: "number"}


class Node:
    """One step of a pipeline with its component; `component` is None where there is none to run, `problems` say why."""

    def __init__(  # noqa: PLR0913 - what there is to know
        self, doc: Document, name: str, job: Any, references: References, seen: tuple[Path, ...], *, here: bool
    ) -> None:
        self.doc, self.name, self.references, self.seen, self.here = doc, name, references, seen, here
        self.job: Mapping[str, Any] = job if isinstance(job, dict) else {}
        self.place: Place = ("jobs", name)
        self.problems: list[Problem] = []
        self.bare = False  # what the step is given declares its component's inputs
        self.component = self._component()

    @property
    def sweep(self) -> Mapping[str, Any] | None:
        """The step itself where it is a sweep: its search space, objective, limits."""
        return self.job if self.job.get("type") == "sweep" else None

    def _component(self) -> Document | None:
        kind = self.job.get("type", "command")
        key = "trial" if kind == "sweep" else "component"
        reference = self.job.get(key)
        if kind not in _KINDS:
            todo = "command, pipeline and sweep steps do; run this one on AzureML"
            return self._refuse("type", kind, "does not run on this machine", todo)
        if isinstance(reference, str):
            return self._file(key, reference)
        if isinstance(reference, Mapping):
            return self._inline(key, reference)
        if reference is None and "command" in self.job:
            return self._bare()
        wrong = f"names no {key}" if reference is None else "is no path of a component file"
        return self._refuse(key, reference, wrong, f"write `{key}: ./file.yaml`")

    def _refuse(self, key: str, value: object, wrong: str, todo: str) -> Document | None:
        self.problems.append(self.doc.problem((*self.place, key), value, wrong, todo))
        return None

    def _file(self, key: str, reference: str) -> Document | None:
        path: Path | None = (self.doc.path.parent / reference.removeprefix("file:")).resolve()
        if is_remote(reference):
            path = self.references.path(reference)
        if path is None:
            todo = "name a local file, or say with --map which one stands for it (docs/pipelines.md)"
            return self._refuse(key, reference, "is not on this machine", todo)
        if path in self.seen:
            return self._refuse(key, reference, "contains itself", "break the circle")
        try:
            component = document.load(path)
        except BadInput as error:
            first = error.problems[0]
            return self._refuse(key, reference, first.wrong, first.todo)
        component.data.setdefault("type", "pipeline" if "jobs" in component.data else "command")
        return self._shaped(component)

    def _inline(self, key: str, data: Mapping[str, Any]) -> Document | None:
        self.bare = key == "trial" and "inputs" not in data
        if self.bare:
            data = self._bare_trial(data)
        inner = self.doc.at((*self.place, key), {"type": "command", **data})
        return self._shaped(inner)

    def _bare_trial(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """A sweep job's own trial: its inputs and outputs are the job's, and `${{search_space.x}}` is an input."""
        own = self.doc.data.get("outputs") or {}
        outputs = {name: _declared_output(raw, own) for name, raw in (self.job.get("outputs") or {}).items()}
        inputs = {name: {"type": "string"} for name in self.job.get("search_space") or {}}
        command = re.sub(r"\$\{\{\s*search_space\.", "${{inputs.", str(data.get("command", "")))
        return {"name": self.name, **data, "command": command, "inputs": inputs, "outputs": outputs}

    def _shaped(self, component: Document) -> Document | None:
        kind = component.data["type"]
        if kind not in ("command", "pipeline"):
            todo = "use command or pipeline"
            self.problems.append(component.problem(("type",), kind, "is no component that runs here", todo))
            return None
        self.problems += shape.of(component, here=self.here)
        return None if self.problems else component

    def _bare(self) -> Document:
        """A command that stands in the step: what it is given declares its inputs; see `declare`."""
        own = self.doc.data.get("outputs") or {}
        outputs = {name: _declared_output(raw, own) for name, raw in (self.job.get("outputs") or {}).items()}
        data = {key: self.job[key] for key in _OF_COMPONENT if key in self.job}
        data |= {"type": "command", "name": self.name, "inputs": {}, "outputs": outputs}
        self.bare = True
        return self.doc.at(self.place, data)

    def declare(self, types: Mapping[tuple[str, ...], str]) -> None:
        """Give a bare command its inputs, each of the type of what it is bound to.

        `types`: of `("parent", "inputs", name)`, `("parent", "jobs", step, "outputs", port)`, and so on.
        """
        if self.component is None or not self.bare:
            return
        for name, raw in (self.job.get("inputs") or {}).items():
            self.component.data["inputs"][name] = {"type": _type_of(raw, types)}


def _declared_output(raw: Any, of_pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """The type that a command step's output says, or the pipeline's output that it is bound to."""
    given = raw if isinstance(raw, Mapping) else {}
    parts = binding_of(given.get("path") if isinstance(raw, Mapping) else raw)
    if "type" not in given and parts is not None and parts[:2] == ("parent", "outputs"):
        declared = of_pipeline.get(parts[2])
        given = declared if isinstance(declared, Mapping) else {}
    return {"type": given.get("type", "uri_folder")}


def _type_of(raw: Any, types: Mapping[tuple[str, ...], str]) -> str:
    """The type of what a command step binds: as it says, as what it is bound to, or as its literal is."""
    if isinstance(raw, Mapping) and "type" in raw:
        return str(raw["type"])
    value = raw.get("path", raw.get("value")) if isinstance(raw, Mapping) else raw
    parts = binding_of(value)
    if parts is not None:
        return types.get(parts, "string")  # one that is not there has a problem of its own
    if isinstance(raw, Mapping):
        return "uri_folder" if "path" in raw else LITERALS.get(type(value), "string")
    return LITERALS.get(type(raw), "string")
