"""Whether what a step is given has the type that its input takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.check import keys
from runtime.check.interface import Interface
from runtime.check.ports import mapping
from runtime.local.check import fits, literal
from runtime.local.expression import BINDING, binding_of
from runtime.local.graph import DATA_TYPES
from runtime.local.references import is_remote
from runtime.local.shape import LITERAL_TYPES

Wrong = tuple[str, str, str]
_TYPES = DATA_TYPES | LITERAL_TYPES


def mismatch(
    inputs: Mapping[str, Any], steps: Mapping[str, Interface], raw: Any, wanted: Mapping[str, Any]
) -> Wrong | None:
    """What is wrong with `raw`, given to an input declared as `wanted`: text, what to do, rule."""
    kind = wanted.get("type")
    if kind not in _TYPES:
        return None
    value = raw.get("path", raw.get("value")) if isinstance(raw, Mapping) else raw
    parts = binding_of(value)
    if parts is None:
        if keys.unfinished(value) or (isinstance(value, str) and BINDING.search(value)):
            return None
        return _literal(raw, wanted, str(kind))
    match parts:
        case ("parent", "inputs", name) if name in inputs:
            return _from_input(inputs[name], name, wanted, str(kind))
        case ("parent", "jobs", job, "outputs", port) if job in steps and port in steps[job].outputs:
            return _edge(steps[job], job, port, str(kind))
    return None


def _literal(raw: Any, wanted: Mapping[str, Any], kind: str) -> Wrong | None:
    if isinstance(raw, Mapping):
        given = raw.get("type")
        if kind in LITERAL_TYPES and "path" in raw:
            return f"is data, and this input takes {_a(kind)}", "write a literal", "type-mismatch"
        if given in _TYPES and kind in DATA_TYPES and not fits(str(given), kind):
            return (
                f"is {_a(str(given))}, and this input takes {_a(kind)}",
                f"write `type: {kind}`",
                _rule(str(given), kind),
            )
        return None
    if kind in DATA_TYPES:
        if isinstance(raw, str) and is_remote(raw):
            return None
        return (
            f"is a literal, and this input takes {_a(kind)}",
            "write {type: " + kind + ", path: ...}",
            "type-mismatch",
        )
    wrong = literal(raw, wanted)
    return (*wrong, "bad-literal") if wrong else None


def _from_input(declared: Any, name: str, wanted: Mapping[str, Any], kind: str) -> Wrong | None:
    if declared is None or keys.unfinished(declared):
        return None
    if not isinstance(declared, Mapping):
        text = isinstance(declared, str) and is_remote(declared)
        if kind in DATA_TYPES:
            todo = "write {type: " + kind + ", path: ...} there"
            return (
                None
                if text
                else (f"is the literal {declared!r}, and this input takes {_a(kind)}", todo, "type-mismatch")
            )
        wrong = literal(declared, wanted)
        return (f"is {declared!r}, which {wrong[0]}", wrong[1], "bad-literal") if wrong else None
    given = declared.get("type", "uri_folder" if "path" in declared else None)
    if given not in _TYPES or _goes(str(given), kind):
        value = declared.get("value", declared.get("default"))
        if given in LITERAL_TYPES and value not in (None, "") and not keys.unfinished(value):
            wrong = literal(value, wanted) if kind in LITERAL_TYPES else None
            return (f"is {value!r}, which {wrong[0]}", wrong[1], "bad-literal") if wrong else None
        return None
    todo = f"declare the pipeline's {name} as {kind}"
    return f"is {_a(str(given))} of the pipeline, and this input takes {_a(kind)}", todo, _rule(str(given), kind)


def _edge(step: Interface, job: str, port: str, kind: str) -> Wrong | None:
    declared = step.outputs[port]
    given = declared.get("type", "uri_folder") if isinstance(declared, Mapping) else None
    if not step.known or given not in _TYPES or (not step.own and given is None) or _goes(str(given), kind):
        return None
    if given in LITERAL_TYPES and kind == "uri_file":  # AzureML keeps a literal output in a file
        return None
    todo = "bind an output of that type"
    return f"is {_a(str(given))} of step {job!r}, and this input takes {_a(kind)}", todo, _rule(str(given), kind)


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "integer" else f"a {kind}"


def _rule(given: str, kind: str) -> str:
    return "file-or-folder" if {given, kind} <= DATA_TYPES else "type-mismatch"


def _goes(given: str, kind: str) -> bool:
    """Literals of all kinds can be put into a text; a whole number is a number."""
    return fits(given, kind) or (given in LITERAL_TYPES and kind == "string") or (given, kind) == ("integer", "number")


def value_of(inputs: Mapping[str, Any], raw: Any) -> Any:
    """A literal, seen through a binding to the pipeline's own inputs; None when it is not known here."""
    parts = binding_of(raw)
    if parts is None:
        return None if isinstance(raw, str) and (BINDING.search(raw) or keys.unfinished(raw)) else raw
    declared = inputs.get(parts[2]) if parts[:2] == ("parent", "inputs") and len(parts) == 3 else None
    if isinstance(declared, Mapping):
        return mapping(inputs, parts[2]).get("value", declared.get("default"))
    return declared
