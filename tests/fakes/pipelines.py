"""Small AzureML documents for tests of the local engine, and `ngcrun` over them as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
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


def ngcrun(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`ngcrun WORDS` of this checkout, in `folder`, with variables of its own; at most five minutes."""
    return subprocess.run(
        [sys.executable, "-m", "runtime", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
