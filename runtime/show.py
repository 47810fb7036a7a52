"""What a component looks like on a screen: `ngcrun show NAME`, `python -m runtime.<area>.<verb> --help`."""

from __future__ import annotations

import dataclasses
from typing import Any

from runtime.component import Component, Group, Input, Output, Param, Port


def text_of(component: Component) -> str:
    """A short manual page as plain text: what it does, its ports, its groups, one example."""
    ports = component.all_ports()
    lines = [f"{component.name} {component.version} (image {component.image})", "", component.doc, ""]
    for title, kind in (("inputs", Input), ("settings", (Param, Group)), ("outputs", Output)):
        chosen = {n: p for n, p in ports.items() if isinstance(p.marker, kind)}
        if chosen:
            lines += [title, *(_row(n, p) for n, p in chosen.items()), ""]
    for name, port in ports.items():
        if isinstance(port.marker, Group):
            for option, node in port.marker.options.items():
                lines += [f"{name}={option}", *(_field(name, f, node) for f in dataclasses.fields(node)), ""]
    required = " ".join(f"{n}=..." for n, p in ports.items() if p.required)
    lines += ["example", f"  ngcrun run {component.name} {required}".rstrip()]
    lines += [f"  python -m {component.module} {required}".rstrip()]
    return "\n".join(lines)


def _row(name: str, port: Port) -> str:
    return f"  {name:<18} {_kind(port):<26} {port.marker.description}"


def _kind(port: Port) -> str:
    if isinstance(port.marker, Input | Output):
        return port.marker.type + (", optional" if port.optional else "")
    if isinstance(port.marker, Group):
        return f"{'|'.join(port.marker.options)} = {port.default}"
    kind = "|".join(port.marker.choices) or port.python.__name__
    low, high = port.marker.minimum, port.marker.maximum
    if low is not None or high is not None:
        kind += f" {'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'}"
    return kind if port.required else f"{kind} = {'null' if port.default is None else port.default}"


def _field(group: str, field: dataclasses.Field[Any], node: Any) -> str:
    kind = field.type if isinstance(field.type, str) else field.type.__name__
    value = getattr(node() if isinstance(node, type) else node, field.name)
    return f"  {group + '.' + field.name:<32} {kind:<12} = {value!r}"
