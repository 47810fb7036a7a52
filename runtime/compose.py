"""From a command line to a filled dataclass of ports, by Hydra.

Two forms of the same thing: `--port=value` takes the value verbatim, which is what the AzureML specs use because no
grammar can misread it; `port=value` and `group.field=value` are Hydra overrides.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.component import OVERRIDES, Component, Group, Input, Port
from runtime.convert import convert
from runtime.errors import BadInput, Problem, nearest
from runtime.remote_path import as_remote

_OVERRIDE = re.compile(r"(?P<key>[A-Za-z_][\w.]*)=(?P<value>.*)", re.DOTALL)
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


@dataclass
class Request:
    """A command line as read: the text of each port, the overrides inside groups, and the words that are neither."""

    values: dict[str, str | None] = field(default_factory=dict)
    inner: list[str] = field(default_factory=list)
    config_dir: Path | None = None
    show_config: bool = False
    problems: list[Problem] = field(default_factory=list)


def parse(component: Component, argv: Sequence[str]) -> Request:
    """Read `argv`; what is no port, no field of a group and no option is kept in `problems` for `compose` to raise."""
    request, words = Request(), list(argv)
    ports = component.all_ports()
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            name, has_value, text = word[2:].partition("=")
            if not has_value:
                if not words:
                    request.problems.append(Problem(name, None, "has no value", f"write --{name}=VALUE"))
                    continue
                text = words.pop(0)
            request.problems += _take_flag(request, ports, name, text)
        else:
            request.problems += _take_override(request, ports, word)
    return request


def _take_flag(request: Request, ports: Mapping[str, Port], name: str, text: str) -> list[Problem]:
    if name == "config-dir":
        request.config_dir = Path(text)
    elif name == "cfg":
        request.show_config = True
    elif name == OVERRIDES and _groups(ports):
        try:
            inner = shlex.split(text)
        except ValueError as error:
            return [Problem(name, text, str(error).lower(), 'quote as in a shell: model.note="two words"')]
        return [problem for word in inner for problem in _take_override(request, ports, word)]
    elif name in ports:
        request.values[name] = text
    else:
        return [Problem(name, text, "is not a port", nearest(name, ports))]
    return []


def _take_override(request: Request, ports: Mapping[str, Port], word: str) -> list[Problem]:
    match = _OVERRIDE.fullmatch(word)
    if match is None:
        return [Problem("argument", word, "is not an override", "write port=value, group.field=value or --port=value")]
    key, text = match["key"], match["value"]
    top, dot, _ = key.partition(".")
    if top not in ports:
        return [Problem(key, text, "is not a port", nearest(top, ports))]
    if not dot:
        request.values[key] = _hydra_text(ports[key], text)
    elif isinstance(ports[top].marker, Group):
        request.inner.append(word)
    else:
        return [Problem(key, text, f"{top} has no fields", f"write {top}=VALUE")]
    return []


def _hydra_text(port: Port, text: str) -> str | None:
    """What a Hydra user means by `text`: outer quotes are grammar, `null` is absent; the rest is taken verbatim."""
    if port.optional and text == "null":
        return None
    if _QUOTED.fullmatch(text):
        return re.sub(r"\\(['\"\\])", r"\1", text[1:-1])
    return text


def quote(text: str) -> str:
    r"""A Hydra quoted string that reads back as `text`: quotes, backslashes before them, and `${` are escaped."""
    text = re.sub(r"(\\*)'", lambda m: m.group(1) * 2 + r"\'", text)
    text = re.sub(r"(\\+)$", lambda m: m.group(1) * 2, text)
    return "'" + text.replace("${", r"\${") + "'"


def compose(component: Component, request: Request, *, partial: bool = False) -> Any:
    """Fill the ports dataclass; raises `BadInput` with all that is wrong at once.

    Outputs that are not bound come back as None: the caller decides where they go. `partial`: required ports may be
    unbound (None) and inputs absent, as when the config is only shown.
    """
    ports = component.all_ports()
    values, problems = _convert_all(ports, request)
    if request.config_dir is not None and not request.config_dir.is_dir():
        wrong = Problem("config-dir", request.config_dir, "is not a folder", "name the folder that holds your groups")
        raise BadInput([wrong, *problems])
    if not partial:
        problems += _unbound(ports, request)
        problems += [p for name, port in ports.items() for p in _missing_input(port, values.get(name))]
    problems += [p for word in request.inner for p in _check_field(ports, values, word)]
    if problems:
        raise BadInput(problems)
    addresses = {name: value for name, value in values.items() if as_remote(value) is not None}
    return component.ports(**(_hydra_compose(component, request, values) | addresses))  # Hydra makes paths of them


def _convert_all(ports: Mapping[str, Port], request: Request) -> tuple[dict[str, Any], list[Problem]]:
    values: dict[str, Any] = {}
    problems = list(request.problems)
    for name, port in ports.items():
        if name not in request.values:
            continue
        try:
            values[name] = convert(port, request.values[name], _option_names(port, request.config_dir))
        except BadInput as error:
            problems += error.problems
    return values, problems


def _unbound(ports: Mapping[str, Port], request: Request) -> list[Problem]:
    missing = [p for name, p in ports.items() if p.required and name not in request.values]
    return [
        Problem(p.name, None, "is required and not bound", f"add {p.name}=VALUE: {p.marker.description}")
        for p in missing
    ]


def _missing_input(port: Port, value: Any) -> list[Problem]:
    if not isinstance(port.marker, Input) or value is None:
        return []
    remote = as_remote(value)
    if remote is not None:
        try:
            there = remote.exists()
        except BadInput as error:
            return [dataclasses.replace(problem, port=port.name) for problem in error.problems]
        todo = "correct it; a folder is there once it holds a file"
        return [] if there else [Problem(port.name, value, "does not exist", todo)]
    if not value.exists():
        return [
            Problem(port.name, value, "does not exist", f"name an existing {port.marker.type.removeprefix('uri_')}")
        ]
    if value.is_dir() and not any(value.iterdir()):
        return [Problem(port.name, value, "is an empty folder", "name a folder that holds the data")]
    return []


def _groups(ports: Mapping[str, Port]) -> dict[str, Group]:
    return {name: port.marker for name, port in ports.items() if isinstance(port.marker, Group)}


def _option_names(port: Port, config_dir: Path | None) -> list[str]:
    if not isinstance(port.marker, Group):
        return []
    own = config_dir.joinpath(port.name).glob("*.yaml") if config_dir else ()
    return [*port.marker.options, *(p.stem for p in sorted(own))]


def _check_field(ports: Mapping[str, Port], values: Mapping[str, Any], word: str) -> list[Problem]:
    """Whether one `group.field=value` fits the chosen option; an option from `--config-dir` is left to Hydra."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    key, _, text = word.partition("=")
    name, _, path = key.partition(".")
    port = ports[name]
    option = port.marker.options.get(str(values.get(name, port.default))) if isinstance(port.marker, Group) else None
    if option is None:
        return []
    fields = [f.name for f in dataclasses.fields(option)]
    if path.split(".")[0] not in fields:
        chosen = values.get(name, port.default)
        return [Problem(key, text, f"is not a field of {name}={chosen}", nearest(path, fields))]
    try:
        override = OverridesParser.create().parse_override(word)
        if override.is_sweep_override():
            return [Problem(key, text, "is a sweep", "give one value; quote it if it holds commas")]
        OmegaConf.update(OmegaConf.structured(option), path, override.value(), merge=True)
    except (HydraException, OmegaConfBaseException) as error:
        return [
            Problem(key, text, first_line(error), f"it takes {_kind(option, path)}; quote , = [ ] {{ }} ( ) for Hydra")
        ]
    return []


def _kind(option: Any, path: str) -> str:
    """The declared type of a field, as written: `int`, `list[str]`."""
    declared = next((f.type for f in dataclasses.fields(option) if f.name == path), "value of the right type")
    return declared if isinstance(declared, str) else declared.__name__


def _hydra_compose(component: Component, request: Request, values: Mapping[str, Any]) -> dict[str, Any]:
    """The composed config as a dict of the ports' values; groups are instances of their option's dataclass."""
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    ports = component.all_ports()
    _store(component.name, ports)
    # Hydra takes no null for a group: an absent one is absent by default, or its default is deleted.
    absent = [n for n, v in values.items() if v is None and isinstance(ports[n].marker, Group)]
    # The text ??? is OmegaConf's mark for a missing value, quoted or not: it goes past Hydra.
    marks = {n: v for n, v in values.items() if str(v) == "???"}
    lines = [f"{n}={_hydra_literal(ports[n], v)}" for n, v in values.items() if n not in absent and n not in marks]
    lines += [f"~{n}" for n in absent if ports[n].default is not None] + request.inner
    where = request.config_dir
    try:
        with _search_path(where):
            filled = OmegaConf.to_object(hydra_compose(config_name=component.name, overrides=lines))
    except (HydraException, OmegaConfBaseException) as error:
        raise BadInput.of("config", str(where or component.name), first_line(error), _way_out(component)) from error
    config = dict(vars(filled)) | marks
    for name, group in _groups(ports).items():
        if isinstance(config[name], dict):
            todo = f"begin the file with `defaults: [{next(iter(group.options))}, _self_]`"
            raise BadInput.of(name, request.values.get(name), "does not start from one of the group's options", todo)
    return config


def _search_path(folder: Path | None) -> Any:
    """Hydra's context for composing: our own declarations, and the user's folder of YAML when there is one."""
    from hydra import initialize, initialize_config_dir

    if folder is None:
        return initialize(config_path=None, version_base="1.3")
    return initialize_config_dir(config_dir=str(folder.resolve()), version_base="1.3")


def first_line(error: BaseException) -> str:
    """Hydra wraps: the deepest cause says what is wrong, the wrappers repeat the command."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).splitlines() or [type(error).__name__]
    rest = f" {lines[1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else ""
    return f"{lines[0]}{rest}".rstrip(".")


def _way_out(component: Component) -> str:
    return f"see `ngcrun show {component.name}`"


def _hydra_literal(port: Port, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(port.marker, Group):
        return str(value)
    if port.python in (str, Path):
        return quote(str(value))
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _store(name: str, ports: Mapping[str, Port]) -> None:
    """Give Hydra the component's schema and groups; a second call replaces the first."""
    from hydra.core.config_store import ConfigStore

    store, defaults, fields = ConfigStore.instance(), [], []
    for port in ports.values():
        store.repo.pop(port.name, None)  # another component's group of this name, or Hydra takes our plain value for it
        if isinstance(port.marker, Group):
            defaults.append({port.name: port.default if port.default is not dataclasses.MISSING else "???"})
            for option, node in port.marker.options.items():
                store.store(group=port.name, name=option, node=node)
            fields.append((port.name, Any, dataclasses.field(default=None)))
        else:
            default = None if port.default is dataclasses.MISSING else port.default
            fields.append((port.name, port.python | None, dataclasses.field(default=default)))
    store.store(name=f"{name}_ports", node=dataclasses.make_dataclass("Schema", fields))
    store.store(name=name, node={"defaults": [f"{name}_ports", *defaults, "_self_"]})
