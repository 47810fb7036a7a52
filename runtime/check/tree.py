"""The files to check: found in folders, read once, and found again by name and version."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from runtime.check import kinds
from runtime.errors import BadInput, Problem
from runtime.local import document
from runtime.local.document import Document
from runtime.local.references import References

NAMED = re.compile(
    r"azureml:(?://(?:registries/[^/]+/)?(?P<plural>\w+)/(?P<long>[\w.-]+)/(?:versions|labels)/(?P<at>[\w.-]+)"
    r"|(?P<name>[A-Za-z0-9_][\w.-]*)(?:[:@](?P<version>[\w.-]+))?)"
)
_BIGGEST = 2_000_000  # bytes; an AzureML file has some thousand


@dataclass(frozen=True)
class File:
    """One AzureML file that was read."""

    path: Path
    kind: str
    doc: Document


@dataclass
class Tree:
    """All files of a check. `map` has local files for references to a registry or workspace."""

    map: References = field(default_factory=References)
    files: dict[Path, File] = field(default_factory=dict)
    skipped: int = 0
    problems: list[tuple[Path, Problem]] = field(default_factory=list)
    _read: dict[Path, File | BadInput] = field(default_factory=dict)
    _named: dict[tuple[str, str], list[File]] = field(default_factory=dict)

    def add(self, words: Iterable[Path]) -> None:
        """Read the files, and those in the folders, that are AzureML's; count the others."""
        for path in words:
            if not path.exists():
                raise BadInput.of("file", str(path), "does not exist", "name a YAML file or a folder")
            for found in _yaml_files(path) if path.is_dir() else [path]:
                self._add(found, named=not path.is_dir())

    def _add(self, path: Path, *, named: bool) -> None:
        try:
            text = path.read_bytes()[: _BIGGEST + 1].decode("utf-8-sig")
        except UnicodeDecodeError:
            text = ""
        except OSError as error:
            if named:
                reason = (error.strerror or str(error)).lower()
                raise BadInput.of("file", str(path), f"cannot be read ({reason})", "make it readable to you") from error
            text = ""
        file = self.read(path, text) if len(text) <= _BIGGEST and kinds.might_be(text) else None
        if isinstance(file, File):
            self.take(file)
        elif isinstance(file, BadInput) and kinds.SCHEMA.search(text):
            template = re.search(r"(?<!\$)\{\{|\{%", text)
            self.problems += [(path, _template(problem) if template else problem) for problem in file.problems]
        else:
            self.skipped += 1

    def take(self, file: File) -> None:
        """Have this file checked as well."""
        if file.path not in self.files:
            self.files[file.path] = file
            name = file.doc.data.get("name")
            if isinstance(name, str):
                self._named.setdefault((_family(file.kind), name), []).append(file)

    def read(self, path: Path, text: str | None = None) -> File | BadInput | None:
        """The AzureML file at `path`, why it cannot be read, or None for another kind of YAML; read once."""
        key = path.resolve()
        if key not in self._read:
            try:
                doc = document.read(path) if text is None else document.parse(path, text)
            except BadInput as error:
                self._read[key] = error
            else:
                self._read[key] = File(key, kinds.kind_of(doc.data) or "", doc)
        found = self._read[key]
        return None if isinstance(found, File) and not found.kind else found

    def component(self, path: Path) -> File | BadInput:
        """The component in a file that a step names; raises nothing, as `read`."""
        found = self.read(path)
        raw = self._read[path.resolve()] if found is None else found
        if isinstance(raw, BadInput):
            return raw
        kind = kinds.component_kind(raw.doc.data)
        if kind is None:
            return BadInput.of("component", str(path), "is no component", "name a component's YAML file")
        return File(raw.path, kind, raw.doc)

    def named(self, family: str, name: str) -> list[File]:
        """The files of the tree that declare a component, environment or compute of this name."""
        return self._named.get((family, name), [])


def named_by(reference: str) -> tuple[str, str | None] | None:
    """Name and version (None: the newest) in `azureml:NAME:VERSION`, `azureml://registries/R/...`; None for others."""
    match = NAMED.fullmatch(reference)
    if match is None:
        return None
    version = match["at"] or match["version"]
    return match["long"] or match["name"], None if version == "latest" else version


def _template(problem: Problem) -> Problem:
    spot = replace(problem.spot, rule="not-looked-into") if problem.spot else None
    return replace(problem, value=None, wrong="is a template, and no YAML yet", todo="check what it becomes", spot=spot)


def _family(kind: str) -> str:
    return "component" if kind.endswith("Component") else "compute" if kind == "amlCompute" else kind


def _yaml_files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in ("node_modules", "__pycache__"))
        for name in sorted(names):
            if name.endswith((".yaml", ".yml")):
                yield Path(here, name)
