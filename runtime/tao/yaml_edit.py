"""Changing single values of a YAML text by key: every byte that was not asked for stays as it was.

PyYAML says where each node begins and ends; the new value is spliced in there. What comes out is read again and
compared with what was asked for, so that an edit is right or refused.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

from runtime.errors import BadInput

Key = tuple[str, ...]
_PLAIN = re.compile(r"[A-Za-z_/.][\w./+@%=-]*")  # text that YAML reads as text without quotes, in block and in flow
# What YAML takes only as an escape, and its line breaks
_UNPRINTABLE = re.compile(yaml.reader.Reader.NON_PRINTABLE.pattern + "|[\x85\u2028\u2029]")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "~", ".", ".nan", ".inf"}


def split_key(dotted: str) -> Key:
    """`a.b[0].c` and `a.b.0.c` as ("a", "b", "0", "c"), `"a.b".c` as ("a.b", "c"); `BadInput` for an empty part."""
    whole = re.sub(r'"([^"]*)"', lambda match: match[1].replace(".", "\0"), dotted)
    parts = tuple(p.replace("\0", ".") for p in re.sub(r"\[(\d+)\]", r".\1", whole).split("."))
    if not all(parts):
        raise BadInput.of("key", dotted, "has an empty part", "write it like train.num_epochs")
    return parts


def parse(text: str) -> yaml.Node | None:
    """The node tree of a text (None when it is empty); raises `BadInput` with line and column."""
    try:
        node: yaml.Node | None = yaml.compose(text.removeprefix("\ufeff"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise BadInput.of("spec", where, f"is not YAML: {error.problem}", "mend the file there") from error
    except yaml.YAMLError as error:  # a control character
        raise BadInput.of("spec", "text", f"is not YAML: {str(error).splitlines()[0]}", "mend the file") from error
    if node is not None and not isinstance(node, yaml.MappingNode):
        raise BadInput.of("spec", f"line {node.start_mark.line + 1}", "is no mapping", "a spec is lines of key: value")
    return node


def lines_of(node: yaml.Node | None, before: Key = ()) -> dict[Key, int]:
    """The line (from 1) of every key in a tree, lists by index."""
    found: dict[Key, int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*before, str(key.value))
            found[path] = key.start_mark.line + 1
            found |= {k: v for k, v in lines_of(value, path).items() if k not in found}
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found |= {(*before, str(index)): value.start_mark.line + 1, **lines_of(value, (*before, str(index)))}
    return found


def duplicates(node: yaml.Node | None, before: Key = ()) -> list[tuple[Key, int]]:
    """Keys that stand twice in one mapping, with the line of the second: YAML takes the last, OmegaConf refuses."""
    found: list[tuple[Key, int]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            path = (*before, str(key.value))
            found += [(path, key.start_mark.line + 1)] if key.value in seen else []
            seen.add(key.value)
            found += duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found += duplicates(value, (*before, str(index)))
    return found


def set_value(text: str, dotted: str, value: Any) -> str:
    """The text with one value changed, or added where it is missing.

    Raises:
        BadInput: a part of the key is a scalar or a list where a mapping would be needed, or an index is out of range.
    """
    bom = "\ufeff" if text.startswith("\ufeff") else ""
    body, key = text.removeprefix(bom), split_key(dotted)
    root = parse(body)
    changed = _append_root(body, key, value) if root is None else _set_in(body, root, key, value, dotted)
    expected = copy.deepcopy(yaml.safe_load(body) or {})
    _put(expected, key, value)
    if _loose(yaml.safe_load(changed)) != _loose(expected):
        raise BadInput.of(
            dotted, value, "cannot be changed in this text without touching more", "edit the file by hand"
        )
    return bom + changed


def _loose(value: Any) -> Any:
    """A value for comparing what was asked with what is read: YAML 1.1 reads 1e-5 as text, OmegaConf as a number."""
    return json.loads(json.dumps(value, default=str, sort_keys=True))


def _put(document: Any, key: Key, value: Any) -> None:
    for part in key[:-1]:
        step: Any = int(part) if isinstance(document, list) else _as_in(document, part)
        if not isinstance(document, list) and document.get(step) is None:
            document[step] = {}
        document = document[step]
    last: Any = int(key[-1]) if isinstance(document, list) else _as_in(document, key[-1])
    document[last] = value


def _as_in(mapping: dict[Any, Any], part: str) -> Any:
    """The key as the mapping has it: `0:` is a number in YAML."""
    return next((k for k in mapping if str(k) == part), part)


def _set_in(text: str, node: yaml.Node, key: Key, value: Any, dotted: str) -> str:
    found = _child(node, key[0])
    if found is None:
        if not isinstance(node, yaml.MappingNode):
            raise BadInput.of(dotted, value, f"{key[0]!r} is not in the list", "give an index that is there")
        return _insert(text, node, key, value)
    name, child = found
    after = text.index(":", name.end_mark.index) + 1 if name is not None else child.start_mark.index
    if len(key) == 1:
        return _replace(text, after, child, render(value))
    if isinstance(child, yaml.ScalarNode) and child.tag == "tag:yaml.org,2002:null" and name is not None:
        return _replace(text, after, child, render(_nest(key[1:], value)))
    if isinstance(child, yaml.ScalarNode):
        raise BadInput.of(dotted, value, f"{key[0]!r} is {child.value!r}, not a section", "leave out what follows it")
    if child.start_mark.index < after and name is not None:
        raise BadInput.of(dotted, value, f"{key[0]!r} is an alias of another section", "edit the section it names")
    return _set_in(text, child, key[1:], value, dotted)


def _child(node: yaml.Node, part: str) -> tuple[yaml.Node | None, yaml.Node] | None:
    """The key node (None in a list) and value node of one part; of two equal keys the last, as YAML does."""
    if isinstance(node, yaml.SequenceNode):
        index = int(part) if part.isdigit() else -1
        return (None, node.value[index]) if 0 <= index < len(node.value) else None
    assert isinstance(node, yaml.MappingNode)  # noqa: S101 - scalars are refused by the caller; narrows for mypy
    pairs = [(k, v) for k, v in node.value if str(k.value) == part]
    return pairs[-1] if pairs else None


def _nest(key: Sequence[str], value: Any) -> Any:
    for part in reversed(key):
        value = {part: value}
    return value


def _replace(text: str, after: int, node: yaml.Node, new: str) -> str:
    """Splice `new` where the value of a key stands; `after` is just behind the colon (in a list: where it begins)."""
    if node.start_mark.index < after:  # an alias: the node it stands for is elsewhere
        alias = re.compile(r"\s*\*[^\s,\]}]+").match(text, after)
        assert alias is not None  # noqa: S101 - the only way for a value to stand before its key
        return f"{text[:after]} {new}{text[alias.end() :]}"
    begin, end = node.start_mark.index, _end(node, text)
    if end == begin:
        return f"{text[:after]} {new}{text[after:]}"
    if "\n" in text[after:begin] or _is_block(node, text):
        gap = "" if after == begin else " "
        return f"{text[:after]}{gap}{new}{text[end:]}"
    return text[:begin] + new + text[end:]


def _is_block(node: yaml.Node, text: str) -> bool:
    if isinstance(node, yaml.ScalarNode):
        return text[node.start_mark.index : node.start_mark.index + 1] in "|>"
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _end(node: yaml.Node, text: str) -> int:
    """Index behind the last character of a node; PyYAML puts a block's end where the next token begins."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        key, value = node.value[-1]
        return max(_end(value, text), int(key.end_mark.index) + 1)
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1], text)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        begin, end = node.start_mark.index, node.end_mark.index
        return int(begin + len(text[begin:end].rstrip()))
    return int(node.end_mark.index)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _insert(text: str, node: yaml.MappingNode, key: Key, value: Any) -> str:
    """Add a key that is missing, behind the last one of its section, with that section's indentation."""
    if node.flow_style:
        end = int(node.end_mark.index) - 1
        body = render(_nest(key, value))[1:-1]
        return f"{text[:end].rstrip() if node.value else text[:end]}{', ' if node.value else ''}{body}{text[end:]}"
    column = node.value[0][0].start_mark.column
    newline = _newline(text)
    end = text.find("\n", _end(node, text))
    end = len(text) if end < 0 else end + 1
    head = text[:end] if text[:end].endswith("\n") else text[:end] + newline
    added = _block(key, value, column, newline)
    return head + (added if text[end:] or text.endswith("\n") else added.removesuffix(newline)) + text[end:]


def _append_root(text: str, key: Key, value: Any) -> str:
    newline = _newline(text)
    head = text if not text or text.endswith("\n") else text + newline
    return head + _block(key, value, 0, newline)


def _block(key: Key, value: Any, column: int, newline: str) -> str:
    lines = [f"{' ' * (column + 2 * depth)}{_text(part)}:" for depth, part in enumerate(key)]
    return newline.join(lines) + " " + render(value) + newline


def render(value: Any) -> str:
    """A value as YAML on one line, the same for YAML 1.1 and OmegaConf."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(render(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(str(k))}: {render(v)}" for k, v in value.items()) + "}"
    return _text(str(value))


def _number(value: float) -> str:
    """With a point, always: YAML 1.1 takes 1e-05 for text."""
    text = repr(value)
    if text in ("inf", "-inf", "nan"):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}[text]
    mantissa, exponent, power = text.partition("e")
    return (mantissa if "." in mantissa else f"{mantissa}.0") + exponent + power


def _text(value: str) -> str:
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS and not re.fullmatch(r"[.\d_+-][\d._eE+-]*", value)
    if plain:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda m: f"\\U{ord(m[0]):08x}", quoted)
