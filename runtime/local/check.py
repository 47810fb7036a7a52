"""What is wrong with a graph, found before anything starts: azure-ai-ml's own validation passes most of these.

Source of what it passes: measured with azure-ai-ml 1.35.2, `load_*()._validate()`; see docs/pipelines.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import Problem, nearest
from runtime.local.document import Document, Place
from runtime.local.expression import harm, placeholders
from runtime.local.graph import DATA_TYPES, FromStep, Step, Value
from runtime.local.plan import code_folder, included

# Source: linux/binfmts.h, MAX_ARG_STRLEN is 131,072 for the whole text after `bash -c`.
VALUE_BYTES = 100_000
LITERAL_TYPES = {"string", "integer", "number", "boolean"}
_PATTERNS = {
    "integer": re.compile(r"[+-]?\d+"),
    "number": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    "boolean": re.compile(r"true|false", re.IGNORECASE),
}


def steps(graph: Mapping[str, Step]) -> list[Problem]:
    """Every problem of every step, each component's own problems once."""
    problems: list[Problem] = []
    seen: set[tuple[Path, Place]] = set()
    for step in graph.values():
        place = (step.component.path, step.component.inside)
        if place not in seen:
            seen.add(place)
            problems += component(step.component)
        problems += bindings(step, graph)
    return problems


def component(doc: Document) -> list[Problem]:
    """What is wrong with a command component by itself."""
    data = doc.data
    problems = [
        doc.problem((key,), None, "is missing", f"add `{key}:`")
        for key in ("command", "environment")
        if not data.get(key)
    ]
    problems += _code(doc)
    problems += [
        doc.problem(("additional_includes",), str(path), "does not exist", "name a path relative to this file")
        for path in included(doc)
        if not path.exists()
    ]
    inputs, outputs = data.get("inputs") or {}, data.get("outputs") or {}
    for name, port in inputs.items():
        problems += _declaration(doc, name, port or {})
    for parts, _, inside in placeholders(str(data.get("command", ""))):
        problems += _placeholder(doc, parts, inside, inputs, outputs)
    return problems


def _code(doc: Document) -> list[Problem]:
    folder, place = code_folder(doc), ("code",)
    if folder is None or folder.is_dir():
        return []
    text = doc.data["code"]
    if "://" in text or text.startswith("azureml:"):
        what = "is not on this machine", "name a local folder"
    else:
        what = "is not a folder" if folder.exists() else "does not exist", "name a folder, relative to this file"
    return [doc.problem(place, text, *what)]


def _declaration(doc: Document, name: str, port: Mapping[str, Any]) -> list[Problem]:
    place, kind = ("inputs", name), port.get("type")
    if kind not in DATA_TYPES | LITERAL_TYPES:
        return [doc.problem((*place, "type"), kind, "is not a type", nearest(str(kind), DATA_TYPES | LITERAL_TYPES))]
    for key in ("min", "max"):
        if port.get(key) is not None and _bound(port, key) is None:
            return [doc.problem((*place, key), port[key], "is not a number", "write a number")]
    if port.get("default") is not None and kind in LITERAL_TYPES:
        wrong = literal(port["default"], port)
        return [doc.problem((*place, "default"), port["default"], *wrong)] if wrong else []
    return []


def _placeholder(
    doc: Document, parts: tuple[str, ...], inside: bool, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> list[Problem]:
    text = "${{" + ".".join(parts) + "}}"
    match parts:
        case ("inputs", name) if name in inputs:
            optional = bool((inputs[name] or {}).get("optional"))
            if optional and not inside:
                return [
                    doc.problem(
                        ("command",), text, "is optional but stands outside $[[ ]]", f"write $[[--{name} {text}]]"
                    )
                ]
            if inside and not optional:
                return [doc.problem(("command",), text, "is required but stands inside $[[ ]]", "remove the brackets")]
            return []
        case ("outputs", name) if name in outputs:
            return []
        case ("inputs" | "outputs", name):
            known = inputs if parts[0] == "inputs" else outputs
            return [doc.problem(("command",), text, f"{parts[0]} has no {name!r}", nearest(name, known))]
    return [
        doc.problem(("command",), text, "is no placeholder of a command", "write ${{inputs.NAME}} or ${{outputs.NAME}}")
    ]


def bindings(step: Step, graph: Mapping[str, Step]) -> list[Problem]:
    """What is wrong with what the pipeline hands to one step."""
    problems = []
    declared = step.spec.get("inputs") or {}
    for name, given in declared.items():
        port = given or {}
        source = step.inputs.get(name)
        if step.sweep is not None and name in (step.sweep.get("search_space") or {}):
            continue
        if source is None:
            if not port.get("optional") and port.get("default") is None:
                todo = f"add `{name}:` below `inputs:`"
                problems.append(step.pipeline.problem(step.place(name), None, "is required and not bound", todo))
        elif isinstance(source, FromStep):
            problems += _edge(step, name, str(port.get("type")), source, graph)
        else:
            problems += _value(step, name, port, source)
    return problems


def _edge(step: Step, name: str, kind: str, source: FromStep, graph: Mapping[str, Step]) -> list[Problem]:
    if source.step not in graph:  # the step that writes it has problems of its own
        return []
    outputs = graph[source.step].spec.get("outputs") or {}
    if source.port not in outputs:
        todo = nearest(source.port, outputs)
        return [step.pipeline.problem(step.place(name), source.port, f"step {source.step!r} has no such output", todo)]
    given = str((outputs[source.port] or {}).get("type", "uri_folder"))
    if given == kind or (kind in DATA_TYPES and _is_folder(given) == _is_folder(kind)):
        return []
    what = f"is a {given} of step {source.step!r}, and this input takes a {kind}"
    return [
        step.pipeline.problem(step.place(name), f"{source.step}.{source.port}", what, "bind an output of that type")
    ]


def _is_folder(kind: str) -> bool:
    return kind != "uri_file"


def _value(step: Step, name: str, port: Mapping[str, Any], source: Value) -> list[Problem]:
    kind, value = str(port.get("type")), source.value
    wrong: tuple[str, str] | None = None
    if (kind in DATA_TYPES) != (source.type in DATA_TYPES):
        todo = "write {type: " + kind + ", path: ./...}" if kind in DATA_TYPES else "write a literal"
        wrong = f"is a {source.type}, and this input takes a {kind}", todo
    elif kind in DATA_TYPES:
        elsewhere = value is None or source.remote or source.direct  # None: where it was bound, it was refused
        wrong = None if elsewhere else _data(Path(value), kind)
    else:
        wrong = literal(value, port) or _too_long(str(value)) or _shell(step, name, str(value))
    return [step.pipeline.problem(step.place(name), value, *wrong)] if wrong else []


def _data(path: Path, kind: str) -> tuple[str, str] | None:
    if not path.exists():
        return "does not exist", f"name an existing {kind.removeprefix('uri_')}"
    if path.is_dir() and kind == "uri_file":
        return "is a folder", "name a file"
    if path.is_dir() and not any(path.iterdir()):
        return "is an empty folder", "name a folder that holds the data"
    return None


def literal(value: Any, port: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with a literal for a declared input, and what to do; None when it fits."""
    kind, text = port.get("type"), str(value)
    if isinstance(value, dict | list):
        return "is not a literal", "write one value"
    pattern = _PATTERNS.get(str(kind))
    if pattern and not pattern.fullmatch(text.strip()):
        return (
            f"is not {'an' if kind == 'integer' else 'a'} {kind}",
            f"write {'an' if kind == 'integer' else 'a'} {kind}",
        )
    choices = [str(choice) for choice in port.get("enum") or ()]
    if choices and text not in choices:
        return "is not a choice", nearest(text, choices)
    if kind in ("integer", "number"):
        low, high = _bound(port, "min"), _bound(port, "max")
        if low is not None and float(text) < low:
            return f"is below the minimum {port['min']}", "give a larger number"
        if high is not None and float(text) > high:
            return f"is above the maximum {port['max']}", "give a smaller number"
    return None


def _too_long(value: str) -> tuple[str, str] | None:
    size = len(value.encode("utf-8", "surrogateescape"))
    return (f"is {size} bytes long, too much for a command line", "put it into a file") if size > VALUE_BYTES else None


def _bound(port: Mapping[str, Any], key: str) -> float | None:
    return float(port[key]) if _PATTERNS["number"].fullmatch(str(port.get(key))) else None


def _shell(step: Step, name: str, value: str) -> tuple[str, str] | None:
    """A literal that the shell would change where the command puts it; on AzureML it would do so too."""
    for parts, quote, _ in placeholders(str(step.spec.get("command", ""))):
        character = harm(value, quote) if parts == ("inputs", name) else ""
        if character:
            where = f"inside {quote}...{quote}" if quote else "without quotes"
            todo = "remove it" if quote == "'" else "write '${{inputs." + name + "}}' in the component's command"
            return f"holds {character!r}, which the shell of the command changes {where}", todo
    return None
