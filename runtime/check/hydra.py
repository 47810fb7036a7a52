"""The `key=value` words that a script of Hydra's takes: the keys of its configuration file, read as YAML."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import yaml

# `+key` adds, `++key` sets or adds, `~key` removes; only a plain `key=value` has to be there before.
# Source: hydra.cc/docs/advanced/override_grammar/basic
OTHER_CONFIG = ("--config-", "-cn", "-cp", "-cd")  # flags by which the command chooses another configuration
_WORD = re.compile(r"(?P<key>[A-Za-z_][\w.\-/]*)=")


def keys(tree: ast.Module, script: Path) -> dict[str, Any] | None:
    """The configuration of a script with `@hydra.main(config_path=..., config_name=...)`; None when it is not known."""
    found = [
        decorator
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in ("hydra.main", "main")
    ]
    if len(found) != 1 or "ConfigStore" in ast.unparse(tree):
        return None
    words = {k.arg: k.value.value for k in found[0].keywords if isinstance(k.value, ast.Constant)}
    folder, name = words.get("config_path"), words.get("config_name")
    if not isinstance(folder, str) or not isinstance(name, str):
        return None
    path = script.parent / folder / (name if name.endswith(".yaml") else f"{name}.yaml")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    return _with_defaults(data, path.parent) if isinstance(data, dict) else None


def _with_defaults(data: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """The keys with the groups of the defaults list, whose own keys are not looked into; None where all is open."""
    for entry in data.pop("defaults", None) or ():
        if entry == "_self_":
            continue
        if not isinstance(entry, dict):
            return None
        for group in entry:
            name = str(group).removeprefix("override ").removeprefix("optional ").partition("@")[0].strip("/")
            files = list((folder / name).glob("*.yaml"))
            # A group from elsewhere, or one that writes to the root, can bring any key.
            if not files or any("_global_" in file.read_text(encoding="utf-8", errors="replace") for file in files):
                return None
            data[name.partition("/")[0]] = None
    return data


def unknown(config: dict[str, Any], word: str) -> str | None:
    """The key of `key=value` when the configuration does not have it."""
    match = _WORD.match(word)
    if match is None or match["key"].startswith("hydra") or "/" in match["key"]:
        return None
    data: Any = config
    for part in match["key"].split("."):
        if not isinstance(data, dict):
            return None
        if part not in data:
            return match["key"]
        data = data[part]
    return None


def dotted(config: dict[str, Any], before: str = "") -> list[str]:
    """All keys of a configuration, as they are written in an override."""
    found = []
    for key, value in config.items():
        found.append(f"{before}{key}")
        found += dotted(value, f"{before}{key}.") if isinstance(value, dict) else []
    return found
