"""A spec to start from: the network's template, then every other key as a comment with TAO's default and what it means.

The descriptions, ranges and options are read from the nvidia-tao-core that is installed, when they are asked for.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from runtime.tao import check_yaml, schema, yaml_edit
from runtime.tao.check_yaml import ACTION_SECTIONS
from runtime.tao.network import Action, Network
from runtime.tao.schema import Tree

WIDTH = 110


def text_of(network: Network, action: Action) -> str:
    """The commented spec as YAML (it passes the check); a TF1 network gives its template, comments and all."""
    template = action.spec or network.spec
    if network.dialect == "prototext" or not network.schema:
        return template
    tree = schema.read(network.schema)
    given = check_yaml.read(template).values
    section = action.runs or action.name
    shown = {n: f for n, f in tree["fields"].items() if n not in ACTION_SECTIONS or n == section}
    wanted = _with_sets(given, action, tree)
    head = (
        f"# {network.name} {action.name}: {network.task}\n"
        "# Lines that are no comment differ from TAO's defaults; ${...} stands for what the run is given.\n"
    )
    return head + "\n".join(_section({"fields": shown}, wanted, 0)) + "\n"


def _with_sets(given: Mapping[str, Any], action: Action, tree: Tree) -> dict[str, Any]:
    values: dict[str, Any] = dict(given)
    for key, value in action.set.items():
        path = tuple(key.split("."))
        if schema.at(tree, path) is not None:
            nested: Any = value
            for part in reversed(path):
                nested = {part: nested}
            values = check_yaml.merge(values, nested)
    return values


def _section(node: Tree, given: Mapping[str, Any], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, inner in node["fields"].items():
        mine = given.get(name)
        if "fields" in inner and not (mine is None and inner.get("optional") and inner.get("default", 0) is None):
            lines = list(_section(inner, mine if isinstance(mine, Mapping) else {}, depth + 1))
            open_ = any(not line.lstrip().startswith("#") for line in lines)
            yield f"{indent}{name}:" if open_ else f"{indent}# {name}:"
            yield from lines
            continue
        yield from (f"{indent}# {line}" for line in _about(inner))
        value = inner.get("default") if mine is None else mine
        line = f"{name}: {yaml_edit.render(value)}"
        yield f"{indent}{line}" if mine is not None else f"{indent}# {line}"


def _about(node: Tree) -> list[str]:
    """Description, kind, range and options, wrapped."""
    text = " ".join(str(node.get("description", "")).replace(":code:", "").split())
    facts = [str(node["kind"])]
    if "min" in node or "max" in node:
        facts.append(f"{node.get('min', '')}..{node.get('max', '')}")
    facts += [f"one of {node['options']}"] if "options" in node else []
    facts += [f"must be {node['math']}"] if "math" in node else []
    return textwrap.wrap(f"{text} ({', '.join(facts)})".strip(), WIDTH)
