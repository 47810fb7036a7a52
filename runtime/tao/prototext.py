"""Edit a protobuf text by dotted key and leave every other byte as it is: comments, order, tabs and line ends stay.

A key is `training_config.num_epochs`; `data_sources[1].tfrecords_path` where a field is repeated, and `data_sources[+]`
for one more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.errors import BadInput, nearest
from runtime.tao.prototext_tree import Field, Value, parse, quote, unquote

Tree = Mapping[str, Any]  # what runtime/tao/check_prototext.py's `descriptor` returns
_STEP = re.compile(r"(\w+)(?:\[(\d+|\+)\])?")
_REST_OF_LINE = re.compile(r"[^\S\n]*[,;]?[^\S\n]*(?:#[^\n]*)?(?=\n|\Z)")


class Word(str):
    """A value that is written bare, as the options of an enum are."""

    __slots__ = ()


@dataclass(frozen=True)
class _Step:
    name: str
    index: int | None = None
    append: bool = False


@dataclass(frozen=True)
class _Spot:
    """One value, the field it stands in, and the message around both."""

    field: Field
    value: Value


def get(text: str, key: str) -> Any:
    """The value at `key` as Python has it (a message as a dict); raises `BadInput` when there is none."""
    message = parse(text)
    spot: _Spot | None = None
    for step in _steps(key):
        spot = _find(message, step, key)
        if spot is None:
            raise _absent(key, step, message)
        message = spot.value
    return _python(message, None)


def set_value(text: str, key: str, value: Any, tree: Tree | None = None) -> str:
    """The text with `value` at `key`; a key that is absent is added behind its siblings, indented like them.

    A list replaces all occurrences of a repeated field. With `tree`, the descriptor tree, a new string becomes a quoted
    string, a number or an option as the field's type says; without it a string takes the kind of the value it replaces.
    """
    if isinstance(value, list | tuple):
        return _set_list(text, key, list(value), tree)
    message = parse(text)
    steps = _steps(key)
    for depth, step in enumerate(steps):
        spot = None if step.append else _find(message, step, key)
        if spot is None:
            return _insert(text, message, steps[depth:], _literal(value, _type_of(tree, steps), None))
        message = spot.value
        if depth + 1 < len(steps) and message.kind != "message":
            raise BadInput.of(key, message.raw, f"{step.name} is a plain value", f"set {step.name} itself")
    if message.kind == "message":
        raise BadInput.of(key, value, "is a message with fields of its own", "name one of its fields")
    return text[: message.start] + _literal(value, _type_of(tree, steps), message) + text[message.end :]


def remove(text: str, key: str) -> str:
    """The text without the field at `key`; its line goes too when nothing else stands on it."""
    message = parse(text)
    spot: _Spot | None = None
    for step in _steps(key):
        spot = _find(message, step, key)
        if spot is None:
            raise BadInput.of(
                key, step.name, "is not in the spec", nearest(step.name, {f.name for f in message.fields})
            )
        message = spot.value
    if spot is None:
        raise BadInput.of("key", key, "is empty", "name a field")
    if spot.field.bracketed and len(spot.field.values) > 1:
        values = spot.field.values
        at = values.index(spot.value)
        start, end = (values[at - 1].end, spot.value.end) if at else (spot.value.start, values[1].start)
        return text[:start] + text[end:]
    line_start = text.rfind("\n", 0, spot.field.start) + 1
    rest = _REST_OF_LINE.match(text, spot.field.tail)
    if rest and not text[line_start : spot.field.start].strip():
        end = rest.end()
        if text[end : end + 1] == "\n":
            return text[:line_start] + text[end + 1 :]
        return text[:line_start].removesuffix("\n").removesuffix("\r") + text[end:]
    return text[: spot.field.start] + text[spot.field.tail :]


def to_dict(text: str, tree: Tree | None = None) -> dict[str, Any]:
    """The spec as nested dicts; a field is a list where it is given twice, in brackets, or `tree` calls it repeated."""
    return _dict(parse(text), tree)


def _dict(message: Value, tree: Tree | None) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    many: set[str] = set()
    for field in message.fields:
        told = (tree or {}).get("fields", {}).get(field.name, {})
        values = found.setdefault(field.name, [])
        if field.bracketed or told.get("repeated") or values:
            many.add(field.name)
        values += [_python(value, told) for value in field.values]
    return {name: values if name in many else values[0] for name, values in found.items()}


def _python(value: Value, told: Mapping[str, Any] | None) -> Any:
    told = told or {}
    if value.kind == "message":
        return _dict(value, told.get("message"))
    if value.kind == "text":
        return unquote(value.raw)
    if told.get("type") == "bool" or value.raw in ("true", "True", "false", "False"):
        return value.raw in ("true", "True", "t", "1")
    if value.kind == "word" and value.raw.lower() not in ("inf", "infinity", "nan"):
        return value.raw
    return number(value.raw, whole=told.get("type") not in ("float", "double"))


def number(raw: str, *, whole: bool = True) -> int | float | str:
    """A number as text_format reads it (`0x10`, `010` octal, `1.5f`, `-inf`); text that is none comes back as it is."""
    octal = re.fullmatch(r"(-?)0([0-7]+)", raw)
    try:
        if whole:
            return int(f"{octal[1]}0o{octal[2]}" if octal else raw, 0)
    except ValueError:
        pass
    try:
        return float(raw.rstrip("fF") if raw[-1:] in "fF" and raw[-3:].lower() != "inf" else raw)
    except ValueError:
        return raw


def _absent(key: str, step: _Step, message: Value) -> BadInput:
    todo = nearest(step.name, {field.name for field in message.fields}).replace(
        "see `ngcrun show`", "look into the spec"
    )
    return BadInput.of(key, step.name, "is not in the spec", todo)


def _steps(key: str) -> list[_Step]:
    steps = []
    for part in key.split("."):
        match = _STEP.fullmatch(part)
        if match is None:
            raise BadInput.of("key", key, f"{part!r} is no field", "write field.field, field[0].field or field[+]")
        index = None if match[2] in (None, "+") else int(match[2])
        steps.append(_Step(match[1], index, match[2] == "+"))
    return steps


def _find(message: Value, step: _Step, key: str) -> _Spot | None:
    spots = [_Spot(field, value) for field in message.fields if field.name == step.name for value in field.values]
    if step.index is None and len(spots) > 1:
        todo = f"say which: {step.name}[0] to {step.name}[{len(spots) - 1}], or {step.name}[+] for one more"
        raise BadInput.of("key", key, f"{step.name} is given {len(spots)} times", todo)
    if (step.index or 0) < len(spots) and not step.append:
        return spots[step.index or 0]
    if step.index is not None and step.index > len(spots):
        raise BadInput.of(
            "key", key, f"{step.name} is given {len(spots)} times", f"the next is {step.name}[{len(spots)}]"
        )
    return None


def _set_list(text: str, key: str, values: list[Any], tree: Tree | None) -> str:
    *parents, last = _steps(key)
    if last.index is not None or last.append:
        raise BadInput.of("key", key, "is one value, the new one is a list", f"leave out the index of {last.name}")
    stem = key[: -len(last.name)]
    message = parse(text)
    for step in parents:
        spot = _find(message, step, key)
        message = spot.value if spot else Value("message", 0, 0, "")
    had = sum(len(field.values) for field in message.fields if field.name == last.name)
    for index in range(had - 1, len(values) - 1, -1):
        text = remove(text, f"{stem}{last.name}[{index}]")
    for index, value in enumerate(values):
        text = set_value(text, f"{stem}{last.name}[{index}]", value, tree)
    return text


def _type_of(tree: Tree | None, steps: list[_Step]) -> str:
    """The type of the field that the steps lead to: `int32`, `string`, `enum` ...; empty when it is not known."""
    told: Mapping[str, Any] = {}
    for step in steps:
        told = (tree or {}).get("fields", {}).get(step.name, {})
        tree = told.get("message")
    return str(told.get("type", ""))


def _literal(value: Any, type_: str, old: Value | None) -> str:
    """How `value` is written in the text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value == int(value if abs(value) < 1e15 else 0):
        return f"{value:.1f}"
    if not isinstance(value, str) or isinstance(value, Word):
        quoted = type_ == "string" or (not type_ and old is not None and old.kind == "text")
        return f'"{value}"' if quoted and not isinstance(value, Word) else str(value)
    mark = old.raw[0] if old is not None and old.kind == "text" else '"'
    bare = type_ not in ("", "string", "bytes") or (not type_ and old is not None and old.kind != "text")
    return value if bare and re.fullmatch(r"[\w.+-]+", value) else quote(value, mark)


def _insert(text: str, message: Value, steps: list[_Step], literal: str) -> str:
    """The text with a new field behind its siblings, or behind the last of its own name."""
    eol = "\r\n" if "\r\n" in text else "\n"
    own = [field for field in message.fields if field.name == steps[0].name]
    if own and own[-1].bracketed and len(steps) == 1:
        values = own[-1].values
        end = values[-1].end if values else own[-1].end - 1  # before the ']'
        return text[:end] + (", " if values else "") + literal + text[end:]
    root = message.start == 0 and message.end == len(text)
    sibling = (own or list(message.fields))[-1:]
    at = sibling[0].tail if sibling else message.start + (0 if root else 1)
    rest = _REST_OF_LINE.match(text, at)
    if rest is None:  # `{ a: 1 }`: the brace closes on the same line
        return text[:at] + " " + _inline(steps, literal) + ("" if text[at : at + 1].isspace() else " ") + text[at:]
    indent = _indent(text, sibling[0].start) if sibling else ""
    if not sibling and not root:
        indent = _indent(text, message.start) + _unit(text)
    lines = _lines(steps, literal, indent, _unit(text))
    end = rest.end() - (1 if text[at : rest.end()].endswith("\r") else 0)
    if not text[:at].strip() and root:  # a spec that says nothing yet
        return text + ("" if not text or text.endswith("\n") else eol) + eol.join(lines) + eol
    return text[:end] + eol + eol.join(lines) + text[end:]


def _inline(steps: list[_Step], literal: str) -> str:
    if len(steps) == 1:
        return f"{steps[0].name}: {literal}"
    return f"{steps[0].name} {{ {_inline(steps[1:], literal)} }}"


def _lines(steps: list[_Step], literal: str, indent: str, unit: str) -> list[str]:
    if len(steps) == 1:
        return [f"{indent}{steps[0].name}: {literal}"]
    inner = _lines(steps[1:], literal, indent + unit, unit)
    return [f"{indent}{steps[0].name} {{", *inner, f"{indent}}}"]


def _indent(text: str, offset: int) -> str:
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    return line[: len(line) - len(line.lstrip())]


def _unit(text: str) -> str:
    """One step of indentation: what the first indented line has; two spaces when none has any."""
    match = re.search(r"^([ \t]+)[^\s#]", text, re.MULTILINE)
    return "\t" if match and match[1].startswith("\t") else (match[1] if match else "  ")
