"""What a step of a pipeline takes and gives: the component that it names, found in a file, in the tree or in itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.check import keys, kinds, paths
from runtime.check.ports import mapping
from runtime.check.tree import File, Tree, named_by
from runtime.errors import BadInput, Problem
from runtime.local.document import Document, Place, shown
from runtime.local.references import is_remote
from runtime.local.wrong import choice

_TYPES = ("command", "pipeline", "sweep")


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs by name. `known` is false for a step that is not looked into: then nothing is said of it.

    `own` is false for a step that stands in the pipeline itself: what it is given is what it declares.
    """

    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    known: bool = True
    own: bool = True
    file: File | None = None
    searched: frozenset[str] = frozenset()


UNKNOWN = Interface(known=False)


@dataclass
class Components:
    """Finds the components that the steps of `doc` name; what is wrong with them goes to `problems`."""

    doc: Document
    tree: Tree
    problems: list[Problem]

    def _say(self, place: Place, value: object, wrong: str, todo: str, rule: str) -> None:
        self.problems.append(self.doc.problem(place, value, wrong, todo, rule))

    def of_step(self, place: Place, job: Mapping[str, Any]) -> Interface:
        """The interface of the step at `place`."""
        kind = job.get("type", "command")
        if kind not in _TYPES:
            wrong, todo = "is a kind of step not looked into", "it may be right on AzureML"
            self._say((*place, "type"), kind, wrong, todo, "not-looked-into")
            return UNKNOWN
        where, component = _component(place, job)
        if component is None and "jobs" not in job:
            if "command" in job or "command" in mapping(job, "trial"):
                return Interface(mapping(job, "inputs"), mapping(job, "outputs"), place[-1], own=False)
            todo = "write `component: ./file.yaml`, or `command:`"
            self._say(where, None, "is missing", todo, "missing-key")
            return UNKNOWN
        found = self.of(where, component)
        return replace(found, searched=frozenset(map(str, mapping(job, "search_space")))) if kind == "sweep" else found

    def of(self, place: Place, component: Any) -> Interface:
        """The interface of what stands at a `component:`."""
        if isinstance(component, Mapping):
            return _of_data(component, "the component") if component.get("type", "command") in _TYPES else UNKNOWN
        if not isinstance(component, str):
            if component is not None:
                self._say(place, component, "is no component", "write `component: ./file.yaml`", "wrong-shape")
            return UNKNOWN
        file = self.reference(place, component)
        if file is None or file.kind not in kinds.COMPONENTS:
            return UNKNOWN
        return replace(_of_data(file.doc.data, str(file.doc.data.get("name", file.path.name))), file=file)

    def reference(self, place: Place, text: str) -> File | None:
        """The file of the component that `text` names; None when there is none to look into."""
        remote = is_remote(text)
        if "${{" in text or (keys.unfinished(text) and not remote):
            return None
        local = self.tree.map.path(text) if remote else paths.beside(self.doc, text)
        if local is not None:
            return self._local(place, text, local)
        named = named_by(text)
        if named is None:
            return None
        name, version = named
        there = [file for file in self.tree.named("component", name) if file.kind in kinds.COMPONENTS]
        same = [file for file in there if version is None or str(file.doc.data.get("version")) == version]
        if len(same) == 1:
            return same[0]
        if there and not same and not any(keys.unfinished(str(f.doc.data.get("version"))) for f in there):
            versions = ", ".join(f"{f.doc.data.get('version')} ({shown(f.path)})" for f in there)
            wrong = f"names version {version}, and in this tree is {versions}"
            self._say(place, text, wrong, "name that version, or ignore this", "version-not-here")
            return there[0] if len(there) == 1 else None
        wrong = "is declared by several files" if same else "is not in this tree, and not looked into"
        self._say(place, text, wrong, "map it to a file with --map FILE", "not-looked-into")
        return None

    def _local(self, place: Place, text: str, path: Path) -> File | None:
        found = self.tree.component(path)
        if isinstance(found, BadInput):
            first = found.problems[0]
            beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
            todo = choice(path.name, beside) if beside and not path.exists() else "name a component's YAML file"
            self._say(place, text, first.wrong, todo, "missing-component")
            return None
        if found.kind.endswith("Job") or (found.kind in kinds.KNOWN and found.kind not in kinds.COMPONENTS):
            self._say(place, text, f"is a {found.kind}", "name a component's YAML file", "missing-component")
            return None
        if self.doc.path.resolve() in {found.path, *_below(found, self.tree, set())}:
            self._say(place, text, "contains this pipeline", "break the circle", "cycle")
            return None
        return found


def bring_in(tree: Tree) -> None:
    """Have every component file checked, too, that a file of the tree names by its path."""
    for file in list(tree.files.values()):
        for path in _below(file, tree, set()):
            found = tree.component(path)
            if isinstance(found, File):
                tree.take(found)


def _below(file: File, tree: Tree, seen: set[Path]) -> set[Path]:
    """The component files that a file names, and those that these name; adds them to `seen`."""
    for place, text in file.doc.scalars():
        if place[-1:] not in (("component",), ("trial",)) or not isinstance(text, str):
            continue
        path = tree.map.path(text) or paths.local(file.doc, text)
        if path is None or path.resolve() in seen or not path.is_file():
            continue
        found = tree.component(path)
        if isinstance(found, File):
            seen.add(found.path)
            _below(found, tree, seen)
    return seen


def _component(place: Place, job: Mapping[str, Any]) -> tuple[Place, Any]:
    """Where a step names its component, and what stands there; a sweep's is its trial."""
    if job.get("type") != "sweep":
        return (*place, "component"), job.get("component")
    trial = job.get("trial")
    if isinstance(trial, Mapping) and "component" in trial:
        return (*place, "trial", "component"), trial["component"]
    whole = isinstance(trial, str) or (isinstance(trial, Mapping) and "inputs" in trial)
    return (*place, "trial"), trial if whole else None


def _of_data(data: Mapping[str, Any], name: str) -> Interface:
    return Interface(mapping(data, "inputs"), mapping(data, "outputs"), name)
