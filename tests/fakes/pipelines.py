"""Small AzureML documents for tests of the local engine: a shell one-liner as component, and pipelines of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

COMPONENT: dict[str, Any] = {
    "type": "command",
    "name": "say",
    "version": "1",
    "inputs": {
        "text": {"type": "string", "default": "hello"},
        "count": {"type": "integer", "default": 3, "min": 1, "max": 9},
        "mode": {"type": "string", "enum": ["good", "bad"], "default": "good"},
        "data": {"type": "uri_folder", "optional": True},
        "file": {"type": "uri_file", "optional": True},
        "note": {"type": "string", "optional": True},
    },
    "outputs": {"out": {"type": "uri_folder"}},
    "environment": "azureml:any:1",
    "command": "printf '%s' '${{inputs.text}}' > '${{outputs.out}}/text'",
}


def write_component(folder: Path, name: str = "say", **changes: Any) -> Path:
    """`<folder>/<name>.yaml` with some top-level fields changed."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(COMPONENT | changes, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def write_pipeline(folder: Path, jobs: dict[str, Any], name: str = "pipe", **fields: Any) -> Path:
    """`<folder>/<name>.yaml`: a pipeline job of `jobs`; each job's `component` defaults to `./say.yaml`."""
    full = {n: {"type": "command", "component": "./say.yaml"} | job for n, job in jobs.items()}
    path = folder / f"{name}.yaml"
    data = {"type": "pipeline", "display_name": name} | fields | {"jobs": full}
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
