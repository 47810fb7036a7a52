"""What a step of a pipeline takes and gives: the component that it names, found in a file, in the tree or in itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.check import keys, kinds
from runtime.check.ports import mapping
from runtime.check.tree import File, Tree, named_by
from runtime.errors import BadInput, Problem
from runtime.local.document import Document, Place, shown

_TYPES = ("command", "pipeline", "sweep")


@dataclass
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


def of_step(doc: Document, place: Place, job: Mapping[str, Any], tree: Tree, problems: list[Problem]) -> Interface:
    """The interface of the step at `place`; what is wrong with its component is added to `problems`."""
    kind, component = job.get("type", "command"), job.get("component")
    if kind == "sweep":
        place, component = (*place, "trial"), job.get("trial")
        if isinstance(component, Mapping) and "component" not in component and "command" in component:
            return _here(doc, place[:-1], job)
        if isinstance(component, Mapping) and "command" not in component:
            place, component = (*place, "component"), component.get("component")
    else:
        place = (*place, "component")
    if kind not in _TYPES:
        todo = "it may be right on AzureML; steps of the kinds command, pipeline and sweep are checked"
        problems.append(doc.problem((*place[:-1], "type"), kind, "is not looked into", todo, "not-looked-into"))
        return UNKNOWN
    if component is None:
        return _here(doc, place[:-1], job) if "command" in job else _nothing(doc, place, job, problems)
    if isinstance(component, Mapping):
        inline = component.get("type", "command")
        known = inline in ("command", "pipeline")
        return _of_data(component, "the component") if known else UNKNOWN
    if not isinstance(component, str):
        problems.append(doc.problem(place, component, "is no component", "write `component: ./file.yaml`", "wrong-shape"))
        return UNKNOWN
    found = reference(doc, place, component, tree, problems)
    if found is None:
        return UNKNOWN
    searched = frozenset(map(str, mapping(job, "search_space"))) if kind == "sweep" else frozenset()
    interface = _of_data(found.doc.data, str(found.doc.data.get("name", found.path.name)))
    interface.file, interface.searched = found, searched
    interface.known = found.kind in kinds.COMPONENTS
    return interface


def _of_data(data: Mapping[str, Any], name: str) -> Interface:
    return Interface(mapping(data, "inputs"), mapping(data, "outputs"), name)


def _here(doc: Document, place: Place, job: Mapping[str, Any]) -> Interface:
    return Interface(mapping(job, "inputs"), mapping(job, "outputs"), place[-1], own=False)


def _nothing(doc: Document, place: Place, job: Mapping[str, Any], problems: list[Problem]) -> Interface:
    if not mapping(job, "jobs"):
        todo = "write `component: ./file.yaml`, or `command:`"
        problems.append(doc.problem(place, None, "is missing", todo, "missing-key"))
    return UNKNOWN


def reference(doc: Document, place: Place, text: str, tree: Tree, problems: list[Problem]) -> File | None:
    """The file of the component that `text` names; None when there is none to look into."""
    if "${{" in text or (keys.unfinished(text) and not _remote(text)):
        return None
    local = tree.map.get(text) or (None if _remote(text) else doc.path.parent / text.removeprefix("file:"))
    if local is not None:
        return _local(doc, place, text, local, tree, problems)
    named = named_by(text)
    if named is None:
        return None
    name, version = named
    there = [file for file in tree.named("component", name) if file.kind in kinds.COMPONENTS]
    same = [file for file in there if version is None or str(file.doc.data.get("version")) == version]
    if len(same) == 1:
        return same[0]
    if there and not same and not any(keys.unfinished(str(f.doc.data.get("version"))) for f in there):
        versions = ", ".join(f"{f.doc.data.get('version')} ({shown(f.path)})" for f in there)
        wrong = f"names version {version}, and in this tree is {versions}"
        problems.append(doc.problem(place, text, wrong, "name that version, or ignore this", "version-not-here"))
        return there[0] if len(there) == 1 else None
    wrong = "is declared by several files" if same else "is not in this tree, and not looked into"
    problems.append(doc.problem(place, text, wrong, "map it to a file with --map FILE", "not-looked-into"))
    return None


def _remote(text: str) -> bool:
    return "://" in text or text.startswith("azureml:")


def _local(doc: Document, place: Place, text: str, path: Path, tree: Tree, problems: list[Problem]) -> File | None:
    found = tree.component(path)
    if isinstance(found, BadInput):
        first = found.problems[0]
        beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        todo = keys.choice(path.name, beside) if not path.exists() and beside else first.todo
        problems.append(doc.problem(place, text, first.wrong, todo, "missing-component"))
        return None
    if found.kind.endswith("Job") or found.kind in kinds.KNOWN and found.kind not in kinds.COMPONENTS:
        todo = "name a component's YAML file"
        problems.append(doc.problem(place, text, f"is a {found.kind}", todo, "missing-component"))
        return None
    tree.take(found)
    return found
