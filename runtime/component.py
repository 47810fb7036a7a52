"""Declaring a component: a dataclass of typed ports, and one function that runs on them.

Everything else (command line, AzureML spec, documentation, checks) is derived from the declaration here.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from runtime.metrics import Metrics

DataType = Literal["uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model"]
Scalar = str | int | float | bool | Path | None

# AzureML: names must be Python identifiers, and these are taken.
# Source: MicrosoftDocs/azure-ai-docs, reference-yaml-component-command.
RESERVED = frozenset({"path", "ld_library_path", "user", "logname", "home", "pwd", "shell"})
OVERRIDES = "overrides"


@dataclass(frozen=True)
class Input:
    """A file or folder that is read and never written.

    `remote`: it may be an address in storage, which the step reads in place (runtime/remote_path.py).
    """

    description: str
    type: DataType = "uri_folder"
    remote: bool = False


@dataclass(frozen=True)
class Output:
    """A file or folder that appears whole or not at all.

    `kept`: a folder that is written in place and survives a failure, so that the next start can go on from it. Where it
    is not bound, it stands beside the first output and is removed when the component has succeeded.
    """

    description: str
    type: DataType = "uri_folder"
    kept: bool = False


@dataclass(frozen=True)
class Param:
    """A literal. `minimum` and `maximum` are inclusive; `choices` lists all that is allowed."""

    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """A Hydra config group: the port holds the name of one option, the run function gets that option's dataclass.

    `options` maps each name to a dataclass (a type, or an instance that carries the defaults). A field of the chosen
    option is set with `port.field=value`. On AzureML the port is an enum of the names, and the component gets one more
    optional input, `overrides`, for the fields.
    """

    description: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


Marker = Input | Output | Param | Group


@dataclass(frozen=True)
class Port:
    """One port as declared: `python` is its type without `Optional`; `default` is `dataclasses.MISSING` if required."""

    name: str
    marker: Marker
    python: Any
    optional: bool
    default: Any

    @property
    def required(self) -> bool:
        """Whether a caller has to bind it."""
        return self.default is dataclasses.MISSING and not isinstance(self.marker, Output)


@dataclass(frozen=True)
class Component:
    """One step: `run(ports, metrics)` does the work; `module` is where `python -m` finds it.

    `also`: other images that it can run in; each gets a spec of its own (see runtime/spec.py).
    """

    name: str
    version: str
    image: str
    ports: type[Any]
    run: Callable[[Any, Metrics], None]
    module: str
    is_deterministic: bool = True
    also: tuple[str, ...] = ()

    @property
    def doc(self) -> str:
        """First paragraph of the ports' docstring: what the component does."""
        return " ".join((self.ports.__doc__ or "").strip().split("\n\n")[0].split())

    def all_ports(self) -> dict[str, Port]:
        """Every declared port by name, in the order of the dataclass."""
        return ports_of(self.ports)


def component(
    *, name: str, version: str, image: str, is_deterministic: bool = True, also: tuple[str, ...] = ()
) -> Callable[[Callable[[Any, Metrics], None]], Component]:
    """Make a `Component` of a function `(ports: Ports, metrics: Metrics) -> None`; `image` is a row of images.yaml."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,254}", name):  # Source: as RESERVED
        raise ValueError(f"component name {name!r} is not lower case letters, digits and _")

    def wrap(run: Callable[[Any, Metrics], None]) -> Component:
        # A dataclass in a module that uses `from __future__ import annotations` still resolves: the function's globals.
        ports = next(iter(get_type_hints(run).values()))
        module = run.__module__ if run.__module__ != "__main__" else _module_of_main()
        return Component(name, version, image, ports, run, module, is_deterministic, also)

    return wrap


def _module_of_main() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else "__main__"


def ports_of(cls: type[Any]) -> dict[str, Port]:
    """Read the ports of a dataclass; a field without a marker, or with a type that no shell can carry, is our bug."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: _port(cls, f, hints[f.name]) for f in dataclasses.fields(cls)}


def _port(cls: type[Any], field: dataclasses.Field[Any], hint: Any) -> Port:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{cls.__qualname__}.{field.name} carries no Input, Param, Output or Group")
    kind, marker = get_args(hint)[:2]
    if field.name in RESERVED or field.name == OVERRIDES:
        raise TypeError(f"{cls.__qualname__}.{field.name}: the name is reserved")
    inner, optional = _without_none(kind)
    if not isinstance(marker, Group) and inner not in (str, int, float, bool, Path):
        raise TypeError(f"{cls.__qualname__}.{field.name}: {inner} is not str, int, float, bool or Path")
    default = field.default
    if isinstance(marker, Group) and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if isinstance(marker, Group) and default is not dataclasses.MISSING and default is not None:
        default = _option_name(marker, default)
    return Port(field.name, marker, inner, optional, default)


def _option_name(group: Group, value: Any) -> str:
    for name, option in group.options.items():
        if value == (option() if isinstance(option, type) else option):
            return name
    raise TypeError(f"the default {value!r} is not one of the group's options")


def _without_none(kind: Any) -> tuple[Any, bool]:
    if get_origin(kind) not in (Union, types.UnionType):
        return kind, False
    rest = [a for a in get_args(kind) if a is not type(None)]
    return (rest[0] if len(rest) == 1 else kind), len(rest) < len(get_args(kind))
