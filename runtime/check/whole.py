"""All findings of a tree, in the order of its files and lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.check import keys, kinds, machine, paths, pipeline, ports, script
from runtime.check.interface import bring_in
from runtime.check.ports import mapping
from runtime.check.rules import RULES
from runtime.check.tree import File, Tree
from runtime.errors import Problem
from runtime.local.check import at
from runtime.local.document import Document, shown
from runtime.local.references import load
from runtime.local.wrong import choice

_IGNORE = re.compile(r"#.*?\bngcrun:\s*ignore\[([^\]]*)\]")
_BESIDE = "stands beside `component`, which has its own", "remove one of the two"
_LONGEST = 100  # characters of a value in a line


@dataclass(frozen=True, order=True)
class Finding:
    """One finding: where, which rule, what is wrong there and what to do."""

    path: str
    line: int
    column: int
    rule: str
    place: str
    message: str
    hint: str

    @property
    def severity(self) -> str:
        """error, warning or note."""
        return RULES[self.rule].severity

    def text(self) -> str:
        """The finding as one line."""
        return f"{self.path}:{self.line}:{self.column}: {self.severity}[{self.rule}]: {self.message}; {self.hint}"


@dataclass(frozen=True)
class Report:
    """The findings, and what was looked at."""

    findings: tuple[Finding, ...]
    files: int
    skipped: int

    def count(self, severity: str) -> int:
        """How many findings are that severe."""
        return Counter(finding.severity for finding in self.findings)[severity]


def check(words: Iterable[Path], references: Path | None = None) -> Report:
    """Check files and folders; `references` is a map file for what is in a registry or workspace."""
    tree = Tree(load(references))
    tree.add(words)
    found: list[Finding] = [_finding(path, problem) for path, problem in tree.problems]
    bring_in(tree)
    for file in tree.files.values():
        found += _of_file(file, tree)
    return Report(tuple(sorted(set(found))), len(tree.files), tree.skipped)


def _of_file(file: File, tree: Tree) -> list[Finding]:
    if file.kind not in kinds.KNOWN:
        todo = "it may be right on AzureML"
        place = next(((key,) for key in ("type", "$schema") if key in file.doc.data), ())
        problem = file.doc.problem(place, file.kind, "is a kind of file not looked into", todo, "not-looked-into")
        return [_finding(file.path, problem)]
    problems = [*keys.of(file.doc, file.kind), *paths.of(file.doc, file.kind)]
    problems += _of_kind(file.doc, file.kind, tree) + machine.retired(file.doc)
    return list(_not_ignored(file, [_finding(file.path, problem) for problem in problems]))


def _of_kind(doc: Document, kind: str, tree: Tree) -> list[Problem]:
    """What depends on the kind."""
    inputs, outputs = mapping(doc.data, "inputs"), mapping(doc.data, "outputs")
    if kind in kinds.COMPONENTS:
        problems = [*ports.declared(doc), *ports.unused(doc, kind)]
    elif kind in ("commandJob", "pipelineJob", "sweepJob"):
        named = [((side, str(n)), n) for side in ("inputs", "outputs") for n in mapping(doc.data, side)]
        problems = [p for place, name in named for p in ports.names(doc, place, name)] + ports.unused(doc, kind)
    else:
        return machine.of(doc, tree, {})
    if kind in ("commandComponent", "commandJob"):
        problems += [*ports.command(doc, ("command",), inputs, outputs), *script.of(doc, ("command",), doc.data)]
        problems += machine.of(doc, tree, {})
    elif kind == "sweepJob":
        problems += _sweep(doc, inputs, outputs)
    else:
        problems += _of_pipeline(doc, tree)
    return problems


def _sweep(doc: Document, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> list[Problem]:
    searched = {f"search_space.{name}" for name in mapping(doc.data, "search_space")}
    problems = ports.command(doc, ("trial", "command"), inputs, outputs)
    known = [p for p in problems if isinstance(p.value, str) and p.value.strip("${} ") in searched]
    trial = mapping(doc.data, "trial")
    return [p for p in problems if p not in known] + script.of(doc, ("trial", "command"), trial)


def _of_pipeline(doc: Document, tree: Tree) -> list[Problem]:
    problems, steps = pipeline.of(doc, tree)
    problems += machine.of(doc, tree, steps)
    for name, job in mapping(doc.data, "jobs").items():
        place = ("jobs", str(name))
        if not isinstance(job, Mapping):
            continue
        problems += keys.shape(doc, place, job)
        if job.get("type", "command") in ("command", "pipeline", "sweep"):
            kind = "sweepStep" if job.get("type") == "sweep" else "step"
            problems += keys.unknown(doc, place, job, kind) + _inside(doc, str(name), job, tree)
            problems += [
                doc.problem((*place, key), job[key], *_BESIDE, "wrong-shape")
                for key in ("command", "code")
                if key in job and isinstance(job.get("component"), str)
            ]
    return problems


def _inside(doc: Document, name: str, job: Mapping[str, Any], tree: Tree) -> list[Problem]:
    """What is wrong with a command or a component that stands in the step itself."""
    for key in ("component", "trial"):
        inner = mapping(job, key)
        if inner and "jobs" in inner:
            return _of_kind(doc.at(("jobs", name, key), inner), "pipelineComponent", tree)
        if "command" in inner and (key == "component" or "inputs" in inner):
            return _of_kind(doc.at(("jobs", name, key), inner), "commandComponent", tree)
    if "command" in job and job.get("type", "command") == "command":
        part = doc.at(("jobs", name), job)
        inputs, outputs = mapping(job, "inputs"), mapping(job, "outputs")
        return [*ports.command(part, ("command",), inputs, outputs), *script.of(part, ("command",), job)]
    return []


def _finding(path: Path, problem: Problem) -> Finding:
    spot = problem.spot
    where, line, column = (spot.place, spot.line, spot.column) if spot else (problem.port, 1, 1)
    rule = spot.rule if spot and spot.rule else "not-yaml"
    value = "" if problem.value is None or isinstance(problem.value, Mapping | list) else f"={_short(problem)}"
    message = f"{where}{value}: {problem.wrong}" if where else f"{problem.wrong}"
    return Finding(_plain(shown(path)), line, column, rule, _plain(where), _plain(message), _plain(problem.todo))


def _plain(text: str) -> str:
    """The text as one line that any screen and file can take."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def _short(problem: Problem) -> str:
    text = problem.shown()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _not_ignored(file: File, found: list[Finding]) -> Iterator[Finding]:
    """Those that no comment on their line silences; and the comments that name no rule."""
    silenced: dict[int, set[str]] = {}
    for number, line in enumerate(file.doc.source, 1):
        match = _IGNORE.search(line)
        if match is None:
            continue
        silenced[number] = {word.strip() for word in match[1].split(",")}
        for word in sorted(silenced[number] - RULES.keys()):
            problem = file.doc.problem((), word, "is no rule of ngcrun check", _rule(word), "unknown-rule")
            moved = at(problem, number, match.start() + 1)
            yield _finding(file.path, Problem(moved.port, word, f"{word!r} {moved.wrong}", moved.todo, moved.spot))
    yield from (f for f in found if f.rule not in silenced.get(f.line, ()))


def _rule(word: str) -> str:
    close = choice(word, RULES)
    return close if close.startswith("did") else "`ngcrun check --rules` lists them"
