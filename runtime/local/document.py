"""YAML with the place of each value in its file, so that a finding can say where it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from runtime.errors import BadInput, Problem, Spot

Place = tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """Where a key stands (or an item of a list), and the line that its value ends in; lines and columns from 1."""

    line: int
    column: int
    end: int


@dataclass(frozen=True)
class Document:
    """One YAML file: `data` as plain values, `lines` from a place such as `("jobs", "train")` to where it stands.

    `twice` are the keys that stand there a second time: YAML's own readers take the last one without a word.
    `inside` is the place in the file where `data` stands, `hidden` what was put around what stands in the file.
    """

    path: Path
    data: Any
    lines: dict[Place, Span] = field(default_factory=dict)
    source: tuple[str, ...] = ()
    twice: tuple[tuple[Place, Span], ...] = ()
    inside: Place = ()
    hidden: Place = ()

    def at(self, place: Place, data: Any) -> Document:
        """What stands at `place` as a document of its own, whose findings still say where in the file they are."""
        lines = {key[len(place) :]: span for key, span in self.lines.items() if key[: len(place)] == place}
        return Document(self.path, data, lines, self.source, (), (*self.inside, *place), self.hidden)

    def problem(self, place: Place, value: object, wrong: str, todo: str, rule: str = "") -> Problem:
        """A `Problem` at a place of this file, `<file>:<line>: <place>=<value>: ...`, at the nearest known line.

        It points at `value` where that is a text that stands there; `rule`: the rule of `ngcrun check` that is broken.
        """
        line, column = self.position(place, value if isinstance(value, str) else "")
        whole = (*self.inside, *place)
        name = ".".join(whole[len(self.hidden) :] if whole[: len(self.hidden)] == self.hidden else whole)
        return Problem(f"{shown(self.path)}:{line}: {name}", value, wrong, todo, Spot(name, line, column, rule))

    def position(self, place: Place, at: str = "") -> tuple[int, int]:
        """Line and column of the text `at` inside the value at `place`; of its key where there is no such text."""
        while place and place not in self.lines:
            place = place[:-1]
        span = self.lines.get(place, Span(1, 1, 1))
        for number in range(span.line, min(span.end, len(self.source)) + 1) if at else ():
            found = self.source[number - 1].find(at, span.column - 1 if number == span.line else 0)
            if found >= 0:
                return number, found + 1
        return span.line, span.column

    def scalars(self) -> Iterator[tuple[Place, Any]]:
        """Each value of the file that is no mapping and no list, with its place."""
        yield from _scalars((), self.data)


def _scalars(place: Place, data: Any) -> Iterator[tuple[Place, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _scalars((*place, str(key)), value)
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _scalars((*place, str(number)), value)
    else:
        yield place, data


def shown(path: Path) -> str:
    """The path as a reader in this folder would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def load(path: Path) -> Document:
    """Read a YAML file that holds one mapping; raises `BadInput` when it is absent, not YAML or something else."""
    doc = read(path)
    if doc.twice:
        place, span = doc.twice[0]
        reason = f"is not YAML: the key {place[-1]!r} is there twice"
        raise BadInput.of("file", f"{shown(path)}:{span.line}", reason, "mend the syntax")
    return doc


def read(path: Path) -> Document:
    """As `load`, but a key that is there twice is no error: it is in the document's `twice`."""
    if not path.is_file():
        wrong = "is a folder" if path.is_dir() else "does not exist"
        raise BadInput.of("file", shown(path), wrong, "name a YAML file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput.of("file", shown(path), f"cannot be read ({reason})", "make it readable to you") from error
    except UnicodeDecodeError as error:
        raise _not_yaml(path, str(error), 0, 0) from error
    return parse(path, text)


def parse(path: Path, text: str) -> Document:
    """The document in `text`, which is what `path` holds."""
    marks = _Marks()
    try:
        _bounded(text)
        node = yaml.compose(text, Loader=_Loader)
        marks.add(node, ())
        data = _plain(node)
    except RecursionError:
        raise BadInput.of("file", shown(path), "contains itself or is too deep", "remove the alias") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # ValueError: a date such as 2020-13-45
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise _not_yaml(path, reason, line, column) from error
    if not isinstance(node, yaml.MappingNode):
        raise BadInput.of("file", shown(path), "holds no YAML mapping", "name an AzureML pipeline or component file")
    return Document(path, data, marks.spans, tuple(_LINE_BREAK.split(text)), tuple(marks.twice))


def _not_yaml(path: Path, reason: str, line: int, column: int) -> BadInput:
    where = f"{shown(path)}:{line}" if line else shown(path)
    spot = Spot("", max(line, 1), max(column, 1), "not-yaml")
    return BadInput([Problem("file", where, f"is not YAML: {reason}", "mend the syntax", spot)])


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster; not every build has it
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what YAML 1.1 counts as the end of a line
_DEEPEST = 50
_MOST = 200_000  # values, aliases counted wherever they stand
_NESTS = re.compile(r"[\[{]|[-?](?=\s)")


def _plain(node: yaml.Node | None) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_document(node) if node else None
    finally:
        loader.dispose()


def _bounded(text: str) -> None:
    """Raise for nesting that would overflow the stack of the reader in C, which ends the process."""
    widest = max((len(line) - len(line.lstrip(" ")) for line in text.split("\n")), default=0)
    if widest + sum(1 for _ in _NESTS.finditer(text)) < 1000:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > 2 * _DEEPEST:
            raise yaml.MarkedYAMLError(problem="is nested too deep", problem_mark=event.start_mark)  # type: ignore[arg-type] # C's mark


class _Marks:
    """The spans of a document's places, and the keys that are there twice."""

    def __init__(self) -> None:
        self.spans: dict[Place, Span] = {}
        self.twice: list[tuple[Place, Span]] = []

    def add(self, node: yaml.Node | None, place: Place) -> None:
        if node is None:
            return
        end = node.end_mark.line + (1 if node.end_mark.column else 0)
        self.spans.setdefault(place, Span(node.start_mark.line + 1, node.start_mark.column + 1, max(end, 1)))
        if len(place) > _DEEPEST or len(self.spans) > _MOST:
            what = "an alias that holds itself" if len(place) > _DEEPEST else "aliases that hold too much"
            raise yaml.MarkedYAMLError(problem=what, problem_mark=node.start_mark)
        if isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                self.add(value, (*place, str(number)))
        elif isinstance(node, yaml.MappingNode):
            self._keys(node, place)

    def _keys(self, node: yaml.MappingNode, place: Place) -> None:
        seen = set()
        for key, value in node.value:
            here = (*place, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
            last = value.end_mark.line + (1 if value.end_mark.column else 0)
            span = Span(key.start_mark.line + 1, key.start_mark.column + 1, max(last, key.start_mark.line + 1))
            if here in seen and here[-1] != "?":
                self.twice.append((here, span))
            seen.add(here)
            self.spans[here] = span
            self.add(value, here)
