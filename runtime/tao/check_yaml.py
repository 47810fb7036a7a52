"""A YAML spec against TAO's schema: every unknown key, wrong type, range, option, condition and gap, all at once.

Unknown keys and wrong types stop TAO, so they are errors. It enforces no range and no option, and NVIDIA's own defaults
break some, so those are warnings. Source: nvidia-tao-core 7.3.0 with omegaconf 2.3 and 2.4, measured in docs/tao.md.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.tao import finding, yaml_edit
from runtime.tao.finding import Finding
from runtime.tao.schema import Tree, at, defaults

Key = tuple[str, ...]
MISSING = "???"
# Sections that belong to one action each: what is missing there matters to that action only.
ACTION_SECTIONS = frozenset(
    ("train", "evaluate", "inference", "export", "prune", "quantize", "distill", "gen_trt_engine", "dataset_convert")
) | {"convert", "grit_score"}
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "list": "a list",
          "dict": "a mapping", "section": "a section", "union": "one of several kinds"}  # fmt: skip
_TRUE_FALSE = {"yes", "y", "on", "true", "1", "no", "n", "off", "false", "0"}


@dataclass(frozen=True)
class Spec:
    """A spec as read: its text, its values, and the line of each key (none for one that was made, not read)."""

    text: str
    values: dict[str, Any]
    lines: Mapping[Key, int]

    def where(self, key: Key) -> str:
        """The key as a port's name, with its line."""
        line = self.lines.get(key)
        return ".".join(key) + (f" (line {line})" if line else "")


def read(text: str) -> Spec:
    """Read a spec as TAO does; raises `BadInput` for text that is no YAML mapping."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from runtime.errors import BadInput

    tree = yaml_edit.parse(text)
    twice = yaml_edit.duplicates(tree)
    if twice:
        todo = "keep one of them; TAO refuses a key that stands twice"
        raise BadInput(finding.error(".".join(k), f"line {n}", "stands twice", todo).problem for k, n in twice)
    try:
        values = OmegaConf.to_container(OmegaConf.create(text or "{}"), resolve=False)
    except (OmegaConfBaseException, YAMLError) as error:
        first = str(error).splitlines()[0]
        raise BadInput.of("spec", first[:80], "is not a spec that TAO can read", "mend the value") from error
    mapping = {str(k): v for k, v in values.items()} if isinstance(values, dict) else {}
    return Spec(text, mapping, yaml_edit.lines_of(tree))


def check(tree: Tree, spec: Spec, action: str = "") -> list[Finding]:
    """All that is wrong with a spec; `action` also says which section may have no gaps."""
    found = list(_walk(tree, spec.values, (), spec, tree))
    merged = merge(defaults(tree), spec.values)
    found += _gaps(tree, merged, action)
    found += _conditions(tree, spec, merged)
    return found


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merged key by key, `over` wins; lists are replaced, as OmegaConf does."""
    merged = dict(base)
    for key, value in over.items():
        mine = merged.get(key)
        merged[key] = merge(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return merged


def lookup(values: Any, key: Key) -> Any:
    """The value of a key in nested mappings and lists; None where there is none."""
    for part in key:
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values


def is_open(value: Any) -> bool:
    """Whether a value is only known when TAO runs: an interpolation, or missing on purpose."""
    return isinstance(value, str) and ("${" in value or value == MISSING)


def _walk(node: Tree, value: Any, key: Key, spec: Spec, root: Tree) -> Iterator[Finding]:
    if is_open(value):
        yield from _dangling(value, spec.where(key), spec, root)
        return
    if value is None:
        if not node.get("optional", True) and node["kind"] != "any":
            yield finding.error(spec.where(key), None, "may not be null", f"give {_KINDS[node['kind']]}")
        return
    kind = node["kind"]
    if kind == "any":
        return
    wrong = not _fits(kind, value, node)
    if wrong:
        todo = f"write {_KINDS[kind]}" + (f", such as {node['default']!r}" if _has_default(node) else "")
        yield finding.error(spec.where(key), value, f"is not {_KINDS[kind]}", todo)
        return
    if kind == "section":
        for name, inner in value.items():
            path = (*key, str(name))
            if str(name) not in node["fields"]:
                todo = _nearest(str(name), path, node, root)
                yield finding.error(spec.where(path), _short(inner), "is not a key of this spec", todo)
            else:
                yield from _walk(node["fields"][str(name)], inner, path, spec, root)
    elif kind in ("list", "dict"):
        pairs = value.items() if kind == "dict" else enumerate(value)
        for name, inner in pairs:
            yield from _walk(node["item"], inner, (*key, str(name)), spec, root)
    yield from _limits(node, value, spec.where(key))


def _dangling(value: str, where: str, spec: Spec, root: Tree) -> Iterator[Finding]:
    """A `${key}` that names nothing: TAO would stop when it reads the value. Resolvers (`${oc.env:X}`) are left."""
    for name in re.findall(r"\$\{([\w.]+)\}", value):
        key = tuple(name.split("."))
        if not name.startswith(".") and lookup(spec.values, key) is None and at(root, key) is None:
            yield finding.error(where, value, f"refers to {name}, which is not in the spec", "name a key that is there")


def _fits(kind: str, value: Any, node: Tree) -> bool:
    """Whether OmegaConf would take `value` for a field of this kind, conversions included."""
    if kind in ("section", "dict"):
        return isinstance(value, dict)
    if kind == "list":
        return isinstance(value, list)
    if kind == "union":
        return any(_is_exactly(name, value) for name in node["of"])
    if isinstance(value, dict | list):
        return False
    return _converts(kind, value)


def _converts(kind: str, value: Any) -> bool:
    if kind == "int":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d+(_\d+)*\s*", value) is not None
        )  # fmt: skip
    if kind == "float":
        return not isinstance(value, bool) and _as_float(value) is not None
    if kind == "bool":
        return isinstance(value, bool | int) or (
            isinstance(value, str) and (value.lower() in _TRUE_FALSE or re.fullmatch(r"[-+]?\d+", value) is not None)
        )
    return True


def _is_exactly(name: str, value: Any) -> bool:
    kinds = {"int": int, "float": float, "str": str, "bool": bool}
    return name == "any" or (type(value) is kinds[name])


def _as_float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _has_default(node: Tree) -> bool:
    return node.get("default") not in (None, "", MISSING) and not isinstance(node.get("default"), dict)


def _short(value: Any) -> Any:
    return "{...}" if isinstance(value, dict) else value


def _nearest(name: str, key: Key, node: Tree, root: Tree) -> str:
    """The closest sibling; else the same name elsewhere in the spec; else what there is."""
    close = difflib.get_close_matches(name, node["fields"], n=1, cutoff=0.6)
    if close:
        return f"did you mean {'.'.join((*key[:-1], close[0]))!r}?"
    elsewhere = [".".join(k) for k, _ in leaves(root) if k[-1] == name]
    if elsewhere:
        return f"did you mean {elsewhere[0]!r}?"
    names = sorted(node["fields"])
    section = ".".join(key[:-1]) or "the top level"
    return f"{section} has: {', '.join(names[:15])}{', ...' if len(names) > 15 else ''}"


def leaves(node: Tree, key: Key = ()) -> Iterator[tuple[Key, Tree]]:
    """Every field and section of a schema tree with its key, sections before what is in them."""
    for name, inner in node.get("fields", {}).items():
        yield (*key, name), inner
        yield from leaves(inner, (*key, name))


# --- ranges, options, conditions ----------------------------------------------------------------------------------


def _limits(node: Tree, value: Any, where: str) -> Iterator[Finding]:
    # "a,b", "['a', 'b']" and "KL (KL divergence), CE (...)" all stand in NVIDIA's metadata
    options = [o.partition(" (")[0].strip(" '\"\n") for o in str(node.get("options", "")).strip("[]").split(",")]
    options = [option for option in options if option]
    if options and not isinstance(value, dict | list) and str(value) not in options:
        close = difflib.get_close_matches(str(value), options, n=1)
        todo = f"did you mean {close[0]!r}? " if close else ""
        yield finding.warning(where, value, "is none of TAO's options", f"{todo}options: {', '.join(options)}")
    number = None if isinstance(value, bool | dict | list) else _as_float(value)
    if number is None:
        return
    low, high = _as_float(node.get("min")), _as_float(node.get("max"))
    if low is not None and number < low:
        yield finding.warning(where, value, f"is below TAO's minimum {low:g}", f"give {low:g} or more")
    if high is not None and number > high:
        yield finding.warning(where, value, f"is above TAO's maximum {high:g}", f"give {high:g} or less")


_CONDITION = re.compile(r"(>=|<=|!=|==|>|<|/)\s*(-?[\d.]+(?:e-?\d+)?|depends_on)", re.IGNORECASE)


def _conditions(tree: Tree, spec: Spec, merged: Mapping[str, Any]) -> Iterator[Finding]:
    """The `math_cond` of every value that the spec itself gives: `> 0.0`, `/ 8`, `> depends_on`."""
    for key, node in leaves(tree):
        value = lookup(spec.values, key)
        if "math" not in node or isinstance(value, bool) or _as_float(value) is None:
            continue
        for sign, bound in _CONDITION.findall(str(node["math"])):
            for name, limit in _bounds(bound, node, key, merged):
                if not _holds(float(value), sign, limit):
                    wrong = f"is not {'a multiple of' if sign == '/' else sign} {name}"
                    yield finding.warning(spec.where(key), value, wrong, f"TAO's schema says {node['math']}")


def _bounds(bound: str, node: Tree, key: Key, merged: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    if bound != "depends_on":
        yield f"{float(bound):g}", float(bound)
        return
    for other in str(node.get("depends", "")).split(","):
        dotted = tuple(other.strip().split("."))
        number = _as_float(lookup(merged, dotted)) if other else None
        number = _as_float(lookup(merged, (*key[:-1], dotted[-1]))) if number is None else number
        if number is not None:
            yield f"{other.strip()} ({number:g})", number


def _holds(value: float, sign: str, limit: float) -> bool:
    if sign == "/":
        return limit == 0 or value % limit == 0
    return {">": value > limit, ">=": value >= limit, "<": value < limit, "<=": value <= limit,
            "!=": value != limit, "==": value == limit}[sign]  # fmt: skip


def _gaps(tree: Tree, merged: Mapping[str, Any], action: str) -> Iterator[Finding]:
    """Values that TAO demands and nobody gave, in the action's own section and in those that all actions share."""
    for key, node in leaves(tree):
        if "fields" in node or (key[0] in ACTION_SECTIONS and key[0] != action) or "calibration" in key:
            continue
        value = lookup(merged, key)
        if key[-1] == "trt_engine" and key[0] != "gen_trt_engine":
            continue  # instead of a checkpoint
        empty = value == MISSING or (node.get("required") and value in (None, "") and key[-1] != "results_dir")
        if empty:
            description = str(node.get("description") or "TAO has no default").split("\n")[0].strip().rstrip(".")
            make = finding.error if key[0] == action else finding.warning
            yield make(".".join(key), None, "is missing", f"give {'.'.join(key)}=VALUE: {description}")
