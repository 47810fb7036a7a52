"""Every component there is, found from the folders: `runtime/<area>/<verb>.py` declares `<area>_<verb>`."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

from runtime.component import Component
from runtime.errors import BadInput, nearest

AREAS = ("rapids", "triton", "tao", "data")


@functools.cache
def components() -> dict[str, Component]:
    """All components by name, sorted. A module counts if it has a `Component` named after its place."""
    found = {}
    for area in AREAS:
        for path in sorted((Path(__file__).parent / area).glob("*.py")):
            name = f"{area}_{path.stem}"
            if "@component(" not in path.read_text(encoding="utf-8"):
                continue
            module = importlib.import_module(f"runtime.{area}.{path.stem}")
            declared = [v for v in vars(module).values() if isinstance(v, Component) and v.name == name]
            if not declared:
                raise TypeError(f"runtime/{area}/{path.name} declares no component named {name}")
            found[name] = declared[0]
    return found


def find(name: str) -> Component:
    """The component `name`; raises `BadInput` with the nearest name."""
    known = components()
    if name not in known:
        raise BadInput.of("component", name, "is not a component", nearest(name, known))
    return known[name]
