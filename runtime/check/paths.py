"""Files and folders that a document names and that are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.check import keys
from runtime.check.ports import mapping
from runtime.errors import Problem
from runtime.local.document import Document, Place
from runtime.local.wrong import choice


def local(doc: Document, text: Any) -> Path | None:
    """The path that a text names on this machine, relative to its document; None when it names something else."""
    if not isinstance(text, str) or not text or keys.unfinished(text) or any(c in text for c in "$*%{"):
        return None
    if "://" in text or text.startswith(("azureml:", "git+", "git@", "~")):
        return None
    return beside(doc, text)


def beside(doc: Document, text: str) -> Path | None:
    """The path beside the document; None for a text that can name no file at all."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:  # half of a surrogate pair, which YAML can hold
        return None
    return None if "\0" in text else doc.path.parent / text.removeprefix("file:")


def of(doc: Document, kind: str) -> list[Problem]:
    """What is not there of the paths in a whole document."""
    problems: list[Problem] = []
    for place, text, rule in _named(doc, kind):
        path = local(doc, text)
        if path is not None and not path.exists():
            there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            close = choice(path.name, there).partition("? ") if there else ("", "", "")
            todo = f"{close[0]}?" if close[1] else "name a path, relative to this file"
            problems.append(doc.problem(place, text, "does not exist", todo, rule))
    return problems + _scoring(doc)


def _named(doc: Document, kind: str) -> Iterator[tuple[Place, Any, str]]:
    yield from _code((), doc.data)
    listed = doc.data.get("additional_includes")
    for number, text in enumerate(listed if isinstance(listed, list) else ()):
        yield ("additional_includes", str(number)), text, "missing-path"
    yield from _environment(("environment",), mapping(doc.data, "environment"))
    if isinstance(doc.data.get("environment"), str) and doc.data["environment"].startswith("file:"):
        yield ("environment",), doc.data["environment"], "missing-path"
    if kind in ("data", "model"):
        yield ("path",), doc.data.get("path"), "missing-path"
    if kind == "environment":
        yield from _environment((), doc.data)
    if kind in ("commandJob", "pipelineJob", "sweepJob"):
        yield from _inputs((), doc.data)
    for key in ("model", "code_configuration"):
        part = mapping(doc.data, key)
        yield (key, "path"), part.get("path"), "missing-path"
        yield (key, "code"), part.get("code"), "missing-code"
    for name, job in mapping(doc.data, "jobs").items():
        place = ("jobs", str(name))
        yield from _code(place, job)
        yield from _environment((*place, "environment"), mapping(job, "environment"))
        yield from _inputs(place, job)


def _code(place: Place, data: Any) -> Iterator[tuple[Place, Any, str]]:
    for inner in ((), ("trial",), ("component",), ("task",)):
        part = data
        for key in inner:
            part = mapping(part, key)
        if isinstance(part, Mapping):
            yield (*place, *inner, "code"), part.get("code"), "missing-code"


def _environment(place: Place, data: Mapping[str, Any]) -> Iterator[tuple[Place, Any, str]]:
    yield (*place, "conda_file"), data.get("conda_file"), "missing-path"
    build = mapping(data, "build")
    yield (*place, "build", "path"), build.get("path"), "missing-path"
    if isinstance(build.get("path"), str) and isinstance(build.get("dockerfile_path"), str):
        text = f"{build['path'].rstrip('/')}/{build['dockerfile_path']}"
        yield (*place, "build", "dockerfile_path"), text, "missing-path"


def _inputs(place: Place, data: Any) -> Iterator[tuple[Place, Any, str]]:
    for name, raw in mapping(data, "inputs").items():
        if isinstance(raw, Mapping) and "value" not in raw:
            yield (*place, "inputs", str(name), "path"), raw.get("path"), "missing-path"


def _scoring(doc: Document) -> list[Problem]:
    configuration = mapping(doc.data, "code_configuration")
    folder, script = local(doc, configuration.get("code")), configuration.get("scoring_script")
    if (
        folder is None
        or not folder.is_dir()
        or not isinstance(script, str)
        or keys.unfinished(script)
        or (folder / script).is_file()
    ):
        return []
    todo = choice(script, [p.name for p in folder.rglob("*.py")])
    place = ("code_configuration", "scoring_script")
    return [doc.problem(place, script, "is not in the code folder", todo, "missing-script")]
