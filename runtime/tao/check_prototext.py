"""Check a protobuf text spec against its message: everything that is wrong at once, each with its line and column.

The messages are NVIDIA's own, compiled, in the wheel nvidia-tao-deploy; a child reads them (runtime/tao/proto_dump.py),
and their tree is plain JSON that may be kept. An error stands exactly where `google.protobuf.text_format.Merge`, which
TAO calls, refuses the spec (compared with protobuf 7.36.2), and a warning where it takes it without doing what it says.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.errors import ToolFailed, nearest
from runtime.tao.finding import Finding, error, warning
from runtime.tao.prototext_tree import Field, ProtoTextError, Value, bad_escape, parse, position, unquote

DUMP = Path(__file__).with_name("proto_dump.py")
TIMEOUT_S = 60
Tree = Mapping[str, Any]
_INTEGERS = {
    **dict.fromkeys(("int32", "sint32", "sfixed32"), (-(2**31), 2**31 - 1)),
    **dict.fromkeys(("int64", "sint64", "sfixed64"), (-(2**63), 2**63 - 1)),
    **dict.fromkeys(("uint32", "fixed32"), (0, 2**32 - 1)),
    **dict.fromkeys(("uint64", "fixed64"), (0, 2**64 - 1)),
}
_BOOLS = ("true", "t", "1", "True", "false", "f", "0", "False")  # Source: text_format.ParseBool
# Specs made for TAO 3.22 hold a fraction (0.05) here, TAO 5 takes a count of boxes: the value cannot be carried over.
# Source: nvidia-tao-deploy 7.3.0, detectnet_v2/proto/postprocessing_config_pb2.py (int32), and specs made for 3.22.05.
CHANGED = {"dbscan_min_samples": "specs for TAO 3.22 hold a fraction"}


def descriptor(network: str, folder: Path, message: str = "experiment_pb2.Experiment") -> Tree:
    """The tree of one message of a network; `folder` holds `nvidia_tao_deploy`. Plain JSON, so it can be kept.

    Raises `ToolFailed` when the messages cannot be loaded.
    """
    tree: Tree = json.loads(_child(["--", network, message], folder))
    return tree


def real_verdict(network: str, folder: Path, message: str, text: str) -> str | None:
    """What the real `text_format.Merge`, which TAO calls, says against a spec; None when it takes it."""
    answer: str | None = json.loads(_child(["--parse", network, message], folder, text))["error"]
    return answer


def _child(words: list[str], folder: Path, text: str = "") -> str:
    mode, *rest = words
    argv = [sys.executable, "-I", str(DUMP), *([] if mode == "--" else [mode]), str(folder), *rest]
    done = subprocess.run(argv, input=text.encode(), capture_output=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace")
        raise ToolFailed(f"the messages of {rest[0]} cannot be loaded from {folder}", tail=said)
    return done.stdout.decode()


def check(tree: Tree, text: str) -> list[Finding]:
    """Everything that is wrong with a spec, in the order of its lines; a syntax error is the only finding."""
    try:
        root = parse(text)
    except ProtoTextError as failure:
        return [Finding(problem) for problem in failure.problems]
    return list(_message(tree, root, text, "", _places(tree, "")))


def _places(tree: Tree, above: str) -> dict[str, str]:
    """Each key of the whole message: the path of a message that has it."""
    found: dict[str, str] = dict.fromkeys(tree["fields"], above.rstrip("."))
    for name, told in tree["fields"].items():
        for key, place in _places(told["message"], f"{above}{name}.").items() if "message" in told else ():
            found.setdefault(key, place)
    return found


def _message(tree: Tree, message: Value, text: str, above: str, places: Mapping[str, str]) -> Iterator[Finding]:
    seen: dict[str, str] = {}  # field or oneof: where it stands
    counts: dict[str, int] = {}
    times = Counter(field.name for field in message.fields)
    for field in message.fields:
        told = tree["fields"].get(field.name)
        at = "line {}:{}".format(*position(text, field.start))
        if told is None:
            yield _unknown(tree, field, f"{above}{field.name}", at, places)
            continue
        nth = counts[field.name] = counts.get(field.name, -1) + 1
        path = f"{above}{field.name}[{nth}]" if told["repeated"] and times[field.name] > 1 else f"{above}{field.name}"
        yield from _twice(told, field, path, at, seen)
        yield from _form(told, field, path, at)
        for value in field.values:
            yield from _value(told, value, text, path, places)


def _unknown(tree: Tree, field: Field, path: str, at: str, places: Mapping[str, str]) -> Finding:
    """A key that the message lacks: where it belongs if another one has it, else the nearest of this one's."""
    first = field.values[0] if field.values else None
    value = field.name if first is None or first.kind == "message" else first.raw
    value = unquote(value) if first is not None and first.kind == "text" else value
    names = list(tree["fields"])
    todo = nearest(field.name, names).replace("see `ngcrun show`", f"it has {len(names)} keys, see TAO's documentation")
    if field.name in places and "did you mean" not in todo:
        todo = f"move it into {places[field.name]}" if places[field.name] else "move it out, to the top of the spec"
    return error(path, value, f"{at}: {field.name!r} is not a key of {tree['name']}", todo)


def _twice(told: Tree, field: Field, path: str, at: str, seen: dict[str, str]) -> Iterator[Finding]:
    """A single field given again, or two members of one oneof."""
    if told["repeated"]:
        return
    group = told.get("oneof")
    if group and seen.get(f"oneof {group}", field.name) != field.name:
        wrong = f"{at}: TAO drops {seen[f'oneof {group}']!r} for it: only one of them may be given"
        yield warning(path, field.name, wrong, "remove one of them")
    elif field.name in seen and told["type"] == "message":
        yield warning(path, field.name, f"{at}: TAO adds it to the one on {seen[field.name]}", "make one of the two")
    elif field.name in seen:
        yield warning(path, field.name, f"{at}: TAO takes it, not the one on {seen[field.name]}", "keep one of them")
    seen[field.name] = at
    if group:
        seen[f"oneof {group}"] = field.name


def _form(told: Tree, field: Field, path: str, at: str) -> Iterator[Finding]:
    """Brackets around a field that is not repeated, a scalar without its colon."""
    if field.bracketed and not told["repeated"]:
        yield error(path, "[...]", f"{at}: takes one value, not a list", "remove the brackets")
    elif field.bracketed and told["type"] != "message" and not field.colon:
        yield error(path, field.name, f"{at}: has no ':' behind its name", f"write `{field.name}: VALUE`")


def _value(told: Tree, value: Value, text: str, path: str, places: Mapping[str, str]) -> Iterator[Finding]:
    line, column = position(text, value.start)
    if (told["type"] == "message") == (value.kind == "message"):
        if value.kind == "message":
            yield from _message(told["message"], value, text, path + ".", places)
        else:
            wrong, todo = _scalar(told, value, path)
            if wrong:
                shown = unquote(value.raw) if value.kind == "text" else value.raw
                yield error(path, shown, f"line {line}:{column}: {wrong}", todo)
    elif value.kind == "message":
        wrong = f"line {line}:{column}: is a {told['type']}, not a message"
        yield error(path, "{...}", wrong, f"write `{path.rpartition('.')[2]}: VALUE`")
    else:
        fields = ", ".join(list(told["message"]["fields"])[:8])
        wrong = f"line {line}:{column}: is a message ({told['message']['name']}), not one value"
        yield error(path, value.raw, wrong, f"write `{path.rpartition('.')[2]} {{ ... }}` with some of: {fields}")


def _string(kind: str, value: Value) -> tuple[str, str]:
    if value.kind != "text":
        return "is a string in TAO and must stand in quotes", f'write "{value.raw}"'
    bad = bad_escape(value.raw, utf8=kind == "string")
    return (f"{bad} is no text that protobuf can read", "write a backslash as \\\\") if bad else ("", "")


def _scalar(told: Tree, value: Value, path: str) -> tuple[str, str]:
    """What is wrong with a plain value and what to do; two empty strings when nothing is."""
    kind = told["type"]
    if kind in ("string", "bytes"):
        return _string(kind, value)
    if value.kind == "text" and kind != "enum":
        return f"is a string; TAO wants {_WANTED.get(kind, kind)}", "remove the quotes, or give another value"
    if kind in _INTEGERS:
        return _whole(kind, value.raw, path)
    if kind in ("float", "double"):
        return ("", "") if _float(value.raw) is not None else ("is not a number", "write it as 0.5 or 5e-4")
    if kind == "bool":
        return ("", "") if value.raw in _BOOLS else ("is not a yes or no", "write true or false")
    return _option(told, value)


_WANTED = {
    **{kind: f"a whole number ({kind})" for kind in _INTEGERS},
    "float": "a number",
    "double": "a number",
    "bool": "true or false",
}


def _whole(kind: str, raw: str, path: str) -> tuple[str, str]:
    low, high = _INTEGERS[kind]
    number = _integer(raw)
    if number is None:
        name = path.rpartition(".")[2].partition("[")[0]
        if _float(raw) is None:
            return f"is not a whole number ({kind})", "write it as 8"
        why = f"; {CHANGED[name]}" if name in CHANGED else ""
        todo = f"a cast would guess: `ngcrun tao migrate` takes the value that you decide on, as {name}=VALUE"
        return f"is a fraction, and TAO 5 takes a whole number here ({kind}){why}", todo
    if not low <= number <= high:
        return f"is out of range for {kind}", f"give a number from {low} to {high}"
    return "", ""


def _integer(raw: str) -> int | None:
    octal = re.fullmatch(r"(-?)0(\d+)", raw)
    try:
        return int(f"{octal[1]}0o{octal[2]}" if octal else raw, 0)
    except ValueError:
        return None


def _float(raw: str) -> float | None:
    """A float as text_format.ParseFloat takes it; None when it does not."""
    if re.match(r"-?0[0-9]+", raw):  # it refuses what looks octal
        return None
    try:
        return float(raw)
    except ValueError:
        pass
    if re.match(r"-?inf(?:inity)?f?$", raw, re.IGNORECASE):
        return float("-inf" if raw.startswith("-") else "inf")
    try:
        return float("nan") if re.match(r"nanf?$", raw, re.IGNORECASE) else float(raw.rstrip("fF"))
    except ValueError:
        return None


def _option(told: Tree, value: Value) -> tuple[str, str]:
    options = told["options"]
    number = None
    try:
        number = int(value.raw, 0)
    except ValueError:
        if value.raw in options:
            return "", ""
    if number is not None and (number in options.values() or (not told["closed"] and -(2**31) <= number < 2**31)):
        return "", ""
    bare = unquote(value.raw) if value.kind == "text" else value.raw
    if value.kind == "text" and bare in options:
        return "is an option of TAO and must stand without quotes", f"write {bare}"
    return "is not an option", nearest(bare, options).replace("see `ngcrun show`", f"known: {', '.join(options)}")
