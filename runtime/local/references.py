"""What `azureml:` and `azureml://` references mean on this machine: a map file says it, as nothing else here can.

The file is YAML, one reference a line: `azureml://registries/R/components/N/versions/V: ./component.yaml`, a data
asset's or datastore's address and a local path, an environment and `{image: NAME:TAG}` or the path of an environment
file. A path counts from the map file. A reference without its version stands for every version of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem
from runtime.local import document

_VERSION = re.compile(r"(/versions/[^/]+|/labels/[^/]+|:[^:/]+|@[^@/]+)$")


@dataclass(frozen=True)
class References:
    """A map file that was read; without one, nothing is known."""

    folder: Path = Path()
    entries: Mapping[str, Any] = field(default_factory=dict)

    def find(self, reference: str) -> Any:
        """What the reference stands for: text, or a mapping with `image`; None when it is not in the file."""
        known = self.entries.get(reference)
        return self.entries.get(_VERSION.sub("", reference)) if known is None else known

    def path(self, reference: str) -> Path | None:
        """The local file or folder that the reference stands for; None when the file names none."""
        found = self.find(reference)
        return (self.folder / found).resolve() if isinstance(found, str) else None


def load(path: Path | None) -> References:
    """Read a map file; raises `BadInput` with every entry that is none."""
    if path is None:
        return References()
    doc = document.load(path)
    problems = [_wrong(doc, str(key), value) for key, value in doc.data.items()]
    if any(problems):
        raise BadInput([p for p in problems if p])
    return References(path.resolve().parent, {str(k): v for k, v in doc.data.items()})


def _wrong(doc: document.Document, key: str, value: Any) -> Problem | None:
    if not is_remote(key):
        return doc.problem((key,), value, "is mapped, and is no reference", "begin it with azureml: or a scheme://")
    if isinstance(value, Mapping) and set(value) == {"image"}:
        return None
    if not isinstance(value, str):
        return doc.problem((key,), value, "is no path", "write a local path, or {image: NAME:TAG} for an environment")
    if not (doc.path.parent / value).exists():
        return doc.problem((key,), value, "does not exist", "name a file or folder, counted from the map file")
    return None


def is_remote(reference: str) -> bool:
    """Whether a reference names something in Azure or on the web, not a path here."""
    return "://" in reference or reference.startswith("azureml:")
