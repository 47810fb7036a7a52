"""A child program: print the schema of one TAO network, as nvidia-tao-core declares it, as JSON.

`python schema_dump.py FOLDER NETWORK`, where FOLDER holds `nvidia_tao_core/`. Needs omegaconf and no torch. Nothing of
NVIDIA's is copied into ngcrun: it is read where it is installed.

Source: nvidia-tao-core 7.3.0, config/<network>/default_config.py and config/utils/types.py (the fields' metadata).
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

SCALARS = {int: "int", float: "float", str: "str", bool: "bool"}
META = {"valid_min": "min", "valid_max": "max", "valid_options": "options", "math_cond": "math",
        "depends_on": "depends", "regex": "regex", "description": "description"}  # fmt: skip


def main(folder: str, network: str) -> int:
    """Print the tree; exit status 3 when nvidia-tao-core has no such network or does not import."""
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(f"nvidia_tao_core.config.{network}.default_config")
    except ImportError as error:
        print(error, file=sys.stderr)
        return 3
    # clip's root class has a name of its own. Source: nvidia-tao-core 7.3.0.
    root = getattr(module, "ExperimentConfig", None) or getattr(module, "CLIPExperimentConfig", None)
    if root is None:
        print(f"{module.__name__} has no ExperimentConfig", file=sys.stderr)
        return 3
    print(json.dumps(section(root, root()), default=str))
    return 0


def section(cls: Any, instance: Any) -> dict[str, Any]:
    """A dataclass: its fields by name, with the defaults that an instance has."""
    hints = typing.get_type_hints(cls)
    fields = {}
    for field in dataclasses.fields(cls):
        default = getattr(instance, field.name, None)
        node = kind(hints[field.name], default)
        meta: Mapping[str, Any] = field.metadata
        node |= {ours: meta[theirs] for theirs, ours in META.items() if meta.get(theirs) not in (None, "")}
        if str(meta.get("required", "")).lower() == "yes":
            node["required"] = True
        fields[field.name] = node
    return {"kind": "section", "fields": fields}


def kind(hint: Any, default: Any) -> dict[str, Any]:
    """One type as {"kind", "optional", "default", "fields" | "item"}."""
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [a for a in typing.get_args(hint) if a is not type(None)]
        optional = len(rest) < len(typing.get_args(hint))
        if len(rest) > 1:
            names = [SCALARS.get(a, "any") for a in rest]
            return {"kind": "union", "of": names, "optional": optional, "default": plain(default)}
        hint = rest[0]
    node = {**_inner(hint, default), "optional": optional}
    if "fields" not in node or default is None:
        node["default"] = plain(default)
    return node


def _inner(hint: Any, default: Any) -> dict[str, Any]:
    origin = typing.get_origin(hint) or hint
    if dataclasses.is_dataclass(hint):
        return section(hint, default if dataclasses.is_dataclass(default) else _instance(hint))
    if origin in SCALARS:
        return {"kind": SCALARS[origin]}
    arguments = typing.get_args(hint)
    if origin in (list, tuple):
        item = arguments[0] if arguments and origin is list else Any
        return {"kind": "list", "item": kind(item, None)}
    if origin is dict:
        return {"kind": "dict", "item": kind(arguments[1] if arguments else Any, None)}
    return {"kind": "any"}


def _instance(cls: Any) -> Any:
    try:
        return cls()
    except TypeError:  # a field without a default
        return None


def plain(value: Any) -> Any:
    """A default as JSON: nested dataclasses become mappings, the rest that JSON lacks becomes text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
