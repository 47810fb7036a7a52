"""What is wrong with a graph, found before anything starts: azure-ai-ml's own validation passes most of these.

Source of what it passes: measured with azure-ai-ml 1.35.2, `load_*()._validate()`; see docs/pipelines.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.errors import Problem, nearest
from runtime.local.document import Document, Place
from runtime.local.expression import BINDING, harm, placeholders
from runtime.local.graph import DATA_TYPES, FromStep, Step, Value
from runtime.local.plan import code_folder, included
from runtime.local.references import is_remote
from runtime.local.shape import LITERAL_TYPES
from runtime.local.wrong import is_required, no_port, unbound

# Source: linux/binfmts.h, MAX_ARG_STRLEN is 131,072 for the whole text after `bash -c`.
VALUE_BYTES = 100_000
_PATTERNS = {
    "integer": re.compile(r"[+-]?\d+(\.0*)?"),
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
        doc.problem((key,), None, "is missing", f"add `{key}:`", "missing-key")
        for key in ("command", "environment")
        if not data.get(key)
    ]
    problems += code(doc)
    problems += [
        doc.problem(("additional_includes",), str(path), "does not exist", "name a path relative to this file")
        for path in included(doc)
        if not path.exists()
    ]
    inputs, outputs = data.get("inputs") or {}, data.get("outputs") or {}
    for name, port in inputs.items():
        problems += declaration(doc, ("inputs", name), port or {})
    return problems + command(doc, ("command",), inputs, outputs)


def code(doc: Document) -> list[Problem]:
    """What is wrong with the `code` of a component that is to run here."""
    folder, place = code_folder(doc), ("code",)
    if folder is None or folder.is_dir():
        return []
    text = doc.data["code"]
    if is_remote(text):
        what = "is not on this machine", "name a local folder"
    else:
        what = "is not a folder" if folder.exists() else "does not exist", "name a folder, relative to this file"
    return [doc.problem(place, text, *what, "missing-code")]


def declaration(doc: Document, place: Place, port: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the declaration of an input."""
    kind, known = port.get("type"), DATA_TYPES | LITERAL_TYPES
    if kind not in known:
        wrong = "is missing" if kind is None else "is not a type"
        return [doc.problem((*place, "type"), kind, wrong, nearest(str(kind), known), "bad-port-type")]
    for key in ("min", "max"):
        if port.get(key) is not None and _bound(port, key) is None:
            return [doc.problem((*place, key), port[key], "is not a number", "write a number", "bad-constraint")]
    low, high = _bound(port, "min"), _bound(port, "max")
    if low is not None and high is not None and low > high:
        todo = "exchange the two"
        return [
            doc.problem((*place, "min"), port["min"], f"is above the maximum {port['max']}", todo, "bad-constraint")
        ]
    if port.get("default") is not None and kind in LITERAL_TYPES:
        wrong_default = literal(port["default"], port)
        where = (*place, "default")
        return [doc.problem(where, port["default"], *wrong_default, "bad-default")] if wrong_default else []
    return []


def command(doc: Document, place: Place, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the `${{...}}` of the command at `place`."""
    data: Any = doc.data
    for key in place:
        data = data.get(key) if isinstance(data, Mapping) else None
    text = str(data or "")
    problems = []
    for match, (parts, _, inside) in zip(BINDING.finditer(text), placeholders(text), strict=True):
        wrong = _placeholder(parts, inside, inputs, outputs)
        if wrong:
            shown = "${{" + ".".join(parts) + "}}"
            line, column = doc.position(place, match[0])  # with the spaces that it has there
            problem = doc.problem(place, shown, *wrong)
            problems.append(at(problem, line, column))
    return problems


def at(problem: Problem, line: int, column: int) -> Problem:
    """The problem, pointing at another line and column of its file."""
    return replace(problem, spot=replace(problem.spot, line=line, column=column)) if problem.spot else problem


def _placeholder(
    parts: tuple[str, ...], inside: bool, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> tuple[str, str, str] | None:
    """What is wrong with one placeholder of a command, what to do, and the rule."""
    text = "${{" + ".".join(parts) + "}}"
    if parts[0] not in ("inputs", "outputs") or len(parts) < 2:
        return "is no placeholder of a command", "write ${{inputs.NAME}} or ${{outputs.NAME}}", "unknown-placeholder"
    known = inputs if parts[0] == "inputs" else outputs
    name = ".".join(parts[1:])
    if name not in known:
        known_part = len(parts) > 2 and parts[1] in known and parts[2:] == ("path",)
        return None if known_part else (f"{parts[0]} has no {name!r}", nearest(name, known), "unknown-placeholder")
    port = known[name] if isinstance(known[name], Mapping) else {}
    optional = port.get("optional") is True
    if parts[0] == "inputs" and optional and port.get("default") is None and not inside:
        return "is optional but stands outside $[[ ]]", f"write $[[--{name} {text}]]", "optional-outside"
    if parts[0] == "inputs" and inside and not optional:
        return "is required but stands inside $[[ ]]", "remove the brackets", "required-inside"
    return None


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
            if is_required(port):
                problems.append(step.pipeline.problem(step.place(name), None, *unbound(name)))
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
        missing = no_port(f"step {source.step!r}", "output", source.port, outputs)
        return [step.pipeline.problem(step.place(name), source.port, *missing)]
    given = str((outputs[source.port] or {}).get("type", "uri_folder"))
    if fits(given, kind):
        return []
    what = f"is a {given} of step {source.step!r}, and this input takes a {kind}"
    return [
        step.pipeline.problem(step.place(name), f"{source.step}.{source.port}", what, "bind an output of that type")
    ]


def fits(given: str, wanted: str) -> bool:
    """Whether an output of the type `given` can be bound to an input of the type `wanted`: a file is no folder."""
    if given in DATA_TYPES and wanted in DATA_TYPES:
        return (given == "uri_file") == (wanted == "uri_file")
    return given == wanted


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
