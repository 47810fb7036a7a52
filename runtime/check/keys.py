"""What any AzureML file can have wrong: its keys, its names and version, and text that somebody forgot to replace."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from runtime.check import kinds
from runtime.errors import Problem
from runtime.local.check import at
from runtime.local.document import Document, Place
from runtime.local.expression import BINDING

_MAPPINGS = frozenset(
    ["inputs", "outputs", "jobs", "environment_variables", "resources", "limits", "settings", "tags", "build"]
)
_TEXTS = ("command", "name", "description", "display_name", "code")
# Source of a component's: azure-ai-ml 1.35.2, PythonFuncNameStr; its length: reference-yaml-component-command.
# Of the others: reference-yaml-environment, -data, -model; reference-yaml-endpoint-online; reference-yaml-compute-aml.
_NAMES = {
    "component": (re.compile(r"[a-z][a-z\d_]{0,254}"), "begin with a small letter, then use a-z, 0-9 and _"),
    "asset": (re.compile(r"[A-Za-z0-9_][\w.-]{0,254}", re.ASCII), "use letters, digits, _, . and -"),
    "endpoint": (
        re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]"),
        "use 3 to 32 letters, digits and -, a letter first",
    ),
    # Source: azure-ai-ml 1.35.2, validation of a deployment's name.
    "deployment": (re.compile(r"[A-Za-z][A-Za-z0-9-]*"), "use letters, digits and -, a letter first"),
    "compute": (re.compile(r"[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]"), "use letters, digits and -, a letter first"),
}
_FAMILY = {"commandComponent": "component", "pipelineComponent": "component", "amlCompute": "compute"}
_FAMILY |= dict.fromkeys(("environment", "data", "model"), "asset")
_FAMILY |= dict.fromkeys(("managedOnlineEndpoint", "kubernetesOnlineEndpoint"), "endpoint")
_FAMILY |= dict.fromkeys(("managedOnlineDeployment", "kubernetesOnlineDeployment"), "deployment")
# Free text, or somebody else's keys: nothing is looked for in them.
FREE = frozenset(["description", "tags", "properties", "display_name", "comment", "flavors", "system_metadata"])
# Values of inputs may be <patterns> of the user's own; these words, or those of the input's name, make a placeholder.
_TO_FILL = frozenset(
    [
        *("your", "my", "enter", "fill", "filled", "insert", "name", "registry", "workspace", "subscription"),
        *("resource", "group", "cluster", "compute", "endpoint", "version", "number", "path", "url", "uri", "id"),
        *("key", "secret", "account", "container"),
    ]
)
_VALUES = frozenset(["inputs", "default", "enum"])
_PLACEHOLDER = re.compile(r"<[A-Za-z][A-Za-z0-9_.-]*>")
_WHOLE = re.compile(r"< ?[A-Za-z][\w .'-]*>")
_TYPO = re.compile(
    r"(?<!\$)\$\{\s*(?P<one>(?:parent\.)?(?:inputs|outputs)\.[\w.]+|parent\.jobs\.[\w.]+)\s*\}"
    r"|\$\{\{\s*(?P<open>(?:parent\.)?(?:inputs|outputs|jobs)\.[\w.]+)\s*\}(?!\})"
    r"|\$\(\(?\s*(?P<round>(?:parent\.)?(?:inputs|outputs)\.[\w.]+)\s*\)\)?"
    r"|(?<!\$)\{\{\s*(?P<bare>(?:parent\.)?(?:inputs|outputs)\.[\w.]+|parent\.jobs\.[\w.]+)\s*\}\}"
)


def of(doc: Document, kind: str) -> list[Problem]:
    """Everything of this module that is wrong with a whole file of this kind."""
    problems = [
        doc.problem(place, _last(doc, place), "is there twice, and the last one wins", "remove one", "duplicate-key")
        for place, _ in doc.twice
    ]
    problems = [at(problem, span.line, span.column) for problem, (_, span) in zip(problems, doc.twice, strict=True)]
    problems += unknown(doc, (), doc.data, kind) + shape(doc, (), doc.data) + _missing(doc, kind) + _names(doc, kind)
    for place, value in doc.scalars():
        if isinstance(value, str) and FREE.isdisjoint(place):
            problems += _unfinished(doc, place, value)
    return problems


def unknown(doc: Document, place: Place, data: Any, kind: str) -> list[Problem]:
    """Keys that a mapping of this kind does not have, one level of what is inside of it included."""
    problems = []
    known, inside = kinds.keys(kind), kinds.inside(kind)
    for key, value in data.items() if isinstance(data, Mapping) else ():
        problems += _key(doc, (*place, str(key)), value, known)
        if isinstance(value, Mapping) and key in inside:
            for name, inner in value.items():
                problems += _key(doc, (*place, str(key), str(name)), inner, inside[key])
    return problems


def _key(doc: Document, place: Place, value: object, known: Iterable[str]) -> list[Problem]:
    key = place[-1]
    if key in known or templated(key):
        return []
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    if close:
        wrong, todo = "is not a key here", f"did you mean {close[0]!r}?"
        return [doc.problem(place, value, wrong, todo, "misspelled-key")]
    return [doc.problem(place, value, "is not a key that AzureML knows here", "remove it", "unknown-key")]


def shape(doc: Document, place: Place, data: Any) -> list[Problem]:
    """Values that are no mapping, or no text, where one is needed."""
    problems = []
    for key, value in data.items() if isinstance(data, Mapping) else ():
        here = (*place, str(key))
        if value is None or (isinstance(value, str) and (templated(value) or BINDING.search(value))):
            continue
        if key in _MAPPINGS and not isinstance(value, Mapping):
            todo = "write `name: value` lines below it"
            problems.append(doc.problem(here, value, "is not a mapping", todo, "wrong-shape"))
        elif key in _TEXTS and isinstance(value, Mapping | list):
            problems.append(doc.problem(here, value, "is not text", "write one text", "wrong-shape"))
    return problems


def _missing(doc: Document, kind: str) -> list[Problem]:
    return [
        doc.problem(
            (choice[0],), None, "is missing", f"add `{'` or `'.join(f'{key}:' for key in choice)}`", "missing-key"
        )
        for choice in kinds.required(kind)
        if all(doc.data.get(key) in (None, "") for key in choice)
    ]


def _names(doc: Document, kind: str) -> list[Problem]:
    problems = []
    name, version = doc.data.get("name"), doc.data.get("version")
    pattern, todo = _NAMES.get(_FAMILY.get(kind, ""), (None, ""))
    if pattern is not None and name is not None and not unfinished(name) and not pattern.fullmatch(str(name)):
        problems.append(doc.problem(("name",), name, "is not a name that AzureML takes", todo, "bad-name"))
    if isinstance(version, int | float) and not isinstance(version, bool) and pattern is not None:
        line, _ = doc.position(("version",))
        written = re.search(r"version\W*:\s*([\w.+-]+)", doc.source[line - 1])
        if written and written[1] != str(version):
            wrong = f"is read as the number {version}"
            problems.append(doc.problem(("version",), written[1], wrong, f'write "{written[1]}"', "bad-version"))
    elif isinstance(version, Mapping | list):
        problems.append(doc.problem(("version",), version, "is no version", "write one text", "bad-version"))
    return problems


def _unfinished(doc: Document, place: Place, value: str) -> list[Problem]:
    whole = _WHOLE.fullmatch(value.strip())
    found = [whole[0]] if whole else [] if "</" in value else _PLACEHOLDER.findall(value)
    if not _VALUES.isdisjoint(place):
        words = set(re.split(r"[\W_]+", whole[0].lower())) if whole else set()
        found = found if words & (_TO_FILL | set(place[-1].lower().split("_"))) else []
    problems = [
        doc.problem(place, text, "was not filled in", "write the value in its place", "placeholder")
        for text in dict.fromkeys(found)
    ]
    for match in _TYPO.finditer(value):
        name = next(group for group in match.groups() if group)
        todo = "write ${{" + name + "}}"
        problems.append(doc.problem(place, match[0], "is not replaced by AzureML", todo, "binding-typo"))
    return problems


def templated(text: object) -> bool:
    """Whether a text still goes through a template engine: `{{...}}` without AzureML's `$`, or `{%`."""
    return isinstance(text, str) and bool(re.search(r"(?<!\$)\{\{|\{%", text))


def unfinished(text: object) -> bool:
    """Whether a text is not what is meant: a template, or a <placeholder> or typo, which have findings of their own."""
    if not isinstance(text, str):
        return False
    return templated(text) or any((_PLACEHOLDER.search(text), _WHOLE.fullmatch(text), _TYPO.search(text)))


def _last(doc: Document, place: Place) -> object:
    data = doc.data
    for key in place:
        if isinstance(data, list):
            data = data[int(key)]
        elif isinstance(data, Mapping):
            data = data.get(key)
    return data
