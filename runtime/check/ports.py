"""What a component or a command job can have wrong by itself: its ports and its command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runtime.check import keys, kinds
from runtime.errors import Problem
from runtime.local import check
from runtime.local.document import Document, Place
from runtime.local.graph import DATA_TYPES
from runtime.local.shape import LITERAL_TYPES

# Source: reference-yaml-component-command, `inputs.<input_name>`.
RESERVED = frozenset(["path", "ld_library_path", "user", "logname", "home", "pwd", "shell"])
# Source: azure-ai-ml 1.35.2, IOConstants.VALID_KEY_PATTERN.
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*(\.[a-zA-Z_][a-zA-Z0-9_]*)*")
_ENVIRONMENT = r"AZURE_?ML_(?:INPUT|OUTPUT|PARAMETER)_{0}\b"


def mapping(data: Any, key: str) -> Mapping[str, Any]:
    """The mapping at `key`; empty when there is none, which `keys.shape` reports."""
    found = data.get(key) if isinstance(data, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def declared(doc: Document) -> list[Problem]:
    """What is wrong with the inputs and outputs that a component declares."""
    problems = []
    for side in ("inputs", "outputs"):
        for name, port in mapping(doc.data, side).items():
            place = (side, str(name))
            problems += names(doc, place, name)
            if port is None and side == "outputs":
                continue
            if not isinstance(port, Mapping):
                if not keys.templated(port):
                    wrong = "is no declaration of a port"
                    problems.append(doc.problem(place, port, wrong, "write `type:` below it", "wrong-shape"))
                continue
            problems += keys.unknown(doc, place, port, "port")
            problems += _input(doc, place, port) if side == "inputs" else _output(doc, place, port)
    return problems


def names(doc: Document, place: Place, name: object) -> list[Problem]:
    """What is wrong with the name of a port."""
    if keys.templated(name):
        return []
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        todo = "use letters, digits and _, no digit first"
        return [doc.problem(place, name, "is not a name that a port can have", todo, "bad-port-name")]
    if name.lower() in RESERVED:
        wrong = "is a variable that the system needs"
        return [doc.problem(place, name, wrong, f"call it such as {name}_", "reserved-port-name")]
    return []


def _input(doc: Document, place: Place, port: Mapping[str, Any]) -> list[Problem]:
    enum = port.get("enum")
    if enum is not None and not isinstance(enum, list):
        return [doc.problem((*place, "enum"), enum, "is not a list", "write [a, b]", "bad-constraint")]
    if any(keys.templated(str(value)) for value in port.values()) or port.get("type") in ("path", "group"):
        return []
    return check.declaration(doc, place, port)


def _output(doc: Document, place: Place, port: Mapping[str, Any]) -> list[Problem]:
    problems = []
    if port.get("optional") is True:
        todo = "remove `optional:`, an output is always there"
        problems.append(doc.problem((*place, "optional"), True, "is not for outputs", todo, "optional-output"))
    kind = port.get("type")
    if kind is not None and kind not in DATA_TYPES | LITERAL_TYPES | {"path"} and not keys.templated(kind):
        todo = "use uri_folder or uri_file"
        problems.append(doc.problem((*place, "type"), kind, "is not a type", todo, "bad-port-type"))
    return problems


def command(doc: Document, place: Place, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a command: its placeholders, and line ends that are no line ends."""
    data: Any = doc.data
    for key in place:
        data = data.get(key) if isinstance(data, Mapping) else None
    if not isinstance(data, str):
        return []
    found = check.command(doc, place, inputs, outputs)
    # One whose end is missing runs on to the next, and has a finding of its own.
    return [p for p in found if not re.search(r"\{\{.*[{}].*\}\}", str(p.value))] + _continued(doc, place, data)


def _continued(doc: Document, place: Place, text: str) -> list[Problem]:
    line, _ = doc.position(place)
    span = doc.lines.get(place)
    ends = [n for n in range(line, (span.end if span else line) + 1) if doc.source[n - 1].rstrip().endswith("\\")]
    if not ends or not re.search(r"(?<!\\)\\[ \t]*[\n ]", text):
        return []
    problem = doc.problem(
        place,
        "\\",
        "at the end of a line is not supported",
        "write `command: >-`, and no backslashes",
        "line-continuation",
    )
    return [check.at(problem, ends[0], len(doc.source[ends[0] - 1].rstrip()))]


def unused(doc: Document, kind: str) -> list[Problem]:
    """Inputs that nothing in the file reads; outputs that its command does not name."""
    said = "\n".join(v for place, v in doc.scalars() if isinstance(v, str) and place[0] not in keys.FREE)
    if kind in kinds.PIPELINES and "jobs" not in doc.data:  # it is made from a component
        return []
    # A command that names none may read all of them from its environment (AZUREML_PARAMETER_...).
    if keys.templated(said) or (kind not in kinds.PIPELINES and not re.search(r"\$\{\{\s*(?:in|out)puts\.", said)):
        return []
    problems = [
        doc.problem(("inputs", name), None, "is not used", "use it, or remove it", "unused-input")
        for name in map(str, mapping(doc.data, "inputs"))
        if not _said(said, "inputs", name)
    ]
    for name, port in mapping(doc.data, "outputs").items() if kind not in kinds.PIPELINES else ():
        literal = isinstance(port, Mapping) and port.get("type") in LITERAL_TYPES
        if not literal and not _said(said, "outputs", str(name)):  # a literal is written by the MLflow client
            todo = "write ${{outputs." + str(name) + "}} into the command, or remove it"
            problems.append(doc.problem(("outputs", str(name)), None, "is not used", todo, "unused-output"))
    return problems


def _said(text: str, side: str, name: str) -> bool:
    name = re.escape(name)
    return bool(re.search(rf"\b{side}\.{name}\b", text) or re.search(_ENVIRONMENT.format(name), text, re.IGNORECASE))
