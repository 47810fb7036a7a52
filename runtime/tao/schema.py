"""The schema of a network, read from the installed nvidia-tao-core by a child process and kept as JSON.

Reading takes a tenth of a second; what was read is kept in the cache, by the version and place of the package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.cache import cache_folder
from runtime.errors import BadInput
from runtime.tao import env

Tree = dict[str, Any]
DUMP = Path(__file__).with_name("schema_dump.py")


def package_folder(environ: Mapping[str, str] = os.environ, package: str = "nvidia_tao_core") -> Path:
    """The folder that holds NVIDIA's packages: named by a variable, this Python's own (in an image), TAO's, the cache.

    Made in the cache the first time that nothing else is there.
    """
    if not environ.get(env.VARIABLES["schema"]):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations))).parent
    return env.make("schema", environ)


def version_of(folder: Path, package: str = "nvidia_tao_core") -> str:
    """The version of the package in `folder`; empty when it has no metadata."""
    found = sorted(folder.glob(f"{package}-*.dist-info"))
    return found[-1].name.removeprefix(f"{package}-").removesuffix(".dist-info") if found else ""


def read(network: str, environ: Mapping[str, str] = os.environ) -> Tree:
    """The schema tree of a network's spec: sections of fields with kind, default, range, options, description.

    Raises:
        BadInput: the installed nvidia-tao-core does not know the network.
    """
    folder = package_folder(environ)
    version = version_of(folder)
    key = hashlib.sha256(f"{folder.resolve()}\0{DUMP.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    kept = cache_folder(environ) / "tao-schemas" / f"{version}-{key}" / f"{network}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    answer = subprocess.run(
        [sys.executable, "-I", str(DUMP), str(folder), network], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        why = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        todo = f"use a TAO that has it (here: nvidia-tao-core {version or 'unknown'})"
        raise BadInput.of("network", network, f"nvidia-tao-core has no schema for it ({why})", todo)
    _keep(kept, answer.stdout)
    return dict(json.loads(answer.stdout))


def _keep(path: Path, text: str) -> None:
    """Keep it for the next time; a cache that cannot be written is no reason to fail."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError:
        return


def at(tree: Tree, key: tuple[str, ...]) -> Tree | None:
    """The node of a key, through sections, lists (any index) and dictionaries; None where the schema has none."""
    node: Tree | None = tree
    for part in key:
        if node is None:
            return None
        node = node["fields"].get(part) if "fields" in node else node.get("item")
    return node


def defaults(tree: Tree) -> dict[str, Any]:
    """Every default as nested plain values; `???` where TAO has none."""
    return {name: _default(node) for name, node in tree["fields"].items()}


def _default(node: Tree) -> Any:
    return defaults(node) if "fields" in node and "default" not in node else node.get("default")
