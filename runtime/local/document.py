"""YAML with the line of each value, so that a finding can say where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from runtime.errors import BadInput, Problem

Place = tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """One YAML file: `data` as plain values, `lines` from a place such as `("jobs", "train")` to its line (from 1)."""

    path: Path
    data: Any
    lines: dict[Place, int] = field(default_factory=dict)
    inside: Place = ()  # where in the file `data` stands
    hidden: Place = ()  # what was put around what stands in the file

    def at(self, place: Place, data: Any) -> Document:
        """What stands at `place` as a document of its own, whose findings still say where in the file they are."""
        lines = {key[len(place) :]: line for key, line in self.lines.items() if key[: len(place)] == place}
        return Document(self.path, data, lines, (*self.inside, *place), self.hidden)

    def problem(self, place: Place, value: object, wrong: str, todo: str) -> Problem:
        """A `Problem` at a place of this file, `<file>:<line>: <place>=<value>: ...`, at the nearest known line."""
        known = place
        while known and known not in self.lines:
            known = known[:-1]
        whole = (*self.inside, *place)
        where = ".".join(whole[len(self.hidden) :] if whole[: len(self.hidden)] == self.hidden else whole)
        return Problem(f"{shown(self.path)}:{self.lines.get(known, 1)}: {where}", value, wrong, todo)


def shown(path: Path) -> str:
    """The path as a reader in this folder would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def load(path: Path) -> Document:
    """Read a YAML file that holds one mapping; raises `BadInput` when it is absent, not YAML or something else."""
    if not path.is_file():
        wrong = "is a folder" if path.is_dir() else "does not exist"
        raise BadInput.of("file", shown(path), wrong, "name a YAML file")
    lines: dict[Place, int] = {}
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
        _mark(node, (), lines)
        data = _plain(node)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput.of("file", shown(path), f"cannot be read ({reason})", "make it readable to you") from error
    except RecursionError:
        raise BadInput.of("file", shown(path), "contains itself or is too deep", "remove the alias") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no UTF-8, a date such as 2020-13-45
        mark = getattr(error, "problem_mark", None)
        where = f"{shown(path)}:{mark.line + 1}" if mark else shown(path)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise BadInput.of("file", where, f"is not YAML: {reason}", "mend the syntax") from error
    if not isinstance(node, yaml.MappingNode):
        raise BadInput.of("file", shown(path), "holds no YAML mapping", "name an AzureML pipeline or component file")
    return Document(path, data, lines)


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster; not every build has it


def _plain(node: yaml.Node | None) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_document(node) if node else None
    finally:
        loader.dispose()


def _mark(node: yaml.Node | None, place: Place, lines: dict[Place, int]) -> None:
    if node is None:
        return
    lines.setdefault(place, node.start_mark.line + 1)
    if len(place) > _DEEPEST:
        raise yaml.MarkedYAMLError(problem="an alias that holds itself", problem_mark=node.start_mark)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            if here in lines:  # YAML's own readers take the last one without a word
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
            lines[here] = key.start_mark.line + 1
            _mark(value, here, lines)


_DEEPEST = 50
