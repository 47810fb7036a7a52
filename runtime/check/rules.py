"""The rules of `ngcrun check`, from rules.yaml: what each looks for, how bad it is, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# Of PyYAML's safe loaders the one in C, which is ten times faster; not every build has it.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Rule:
    """One rule; `severity` is error, warning or note."""

    id: str
    severity: str
    looks_for: str
    source: str


def table(path: Path) -> dict[str, Any]:
    """A YAML table of our own."""
    return dict(yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER))  # noqa: S506 - it is a safe loader


RULES = {name: Rule(name, **row) for name, row in table(Path(__file__).with_name("rules.yaml")).items()}
