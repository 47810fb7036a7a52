"""A small checkout of a user's own, and `ngcrun azureml` on it against the stand-in for Azure."""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.azure import REGISTRIES, Azure

ROOT = Path(__file__).parents[2]
REGISTRY = REGISTRIES[0]
SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
ENVIRONMENT = f"""\
    $schema: {SCHEMAS}/environment.schema.json
    name: small
    version: "1"
    build: {{path: .}}
"""
COMPONENT = f"""\
    $schema: {SCHEMAS}/commandComponent.schema.json
    type: command
    name: NAME
    version: "1"
    inputs:
      text: {{type: string, default: hello}}
    outputs:
      out: {{type: uri_folder}}
    environment: azureml:small:1
    command: >-
      python -m this --text='${{{{inputs.text}}}}' --out='${{{{outputs.out}}}}'
"""
PIPELINE = f"""\
    $schema: {SCHEMAS}/pipelineComponent.schema.json
    type: pipeline
    name: both
    version: "1"
    inputs:
      text: {{type: string, default: hello}}
    outputs:
      out: {{type: uri_folder}}
    jobs:
      a:
        type: command
        component: ../area/first.yaml
        inputs: {{text: "${{{{parent.inputs.text}}}}"}}
      b:
        type: command
        component: ../area/second.yaml
        outputs: {{out: "${{{{parent.outputs.out}}}}"}}
"""


class Checkout:
    """A folder with two components, a pipeline component of them, and the environment they run in."""

    def __init__(self, root: Path, azure: Azure) -> None:
        self.root, self.azure = root, azure
        self.write("containers/images.yaml", "{}\n")
        self.write("containers/small/environment.yaml", ENVIRONMENT)
        self.write("containers/small/Dockerfile", "FROM scratch\n")
        for name in ("first", "second"):
            self.write(f"component_specs/area/{name}.yaml", COMPONENT.replace("NAME", name))
        self.write("component_specs/pipelines/both.yaml", PIPELINE)

    def write(self, path: str, text: str) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(textwrap.dedent(text), encoding="utf-8")
        return place

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text
        (self.root / path).write_text(text.replace(old, new), encoding="utf-8")

    def ngcrun(self, *words: str, timeout_s: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `ngcrun azureml WORDS` here; the traceback of a bug of ours fails the test that sees it."""
        env = self.azure.environment(
            PYTHONPATH=str(ROOT), NGCRUN_CACHE=str(self.root / "cache"), COLUMNS="200", **environment
        )
        argv = [azure_python(), "-m", "runtime", "azureml", *words]
        done = subprocess.run(
            argv,
            cwd=self.root,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def files(self) -> dict[str, bytes]:
        """Every file of the checkout, so that a test sees that nothing was written into it."""
        return {str(p.relative_to(self.root)): p.read_bytes() for p in sorted(self.root.rglob("*")) if p.is_file()}


def azure_python() -> str:
    python = os.environ.get("NGCRUN_AZURE_PYTHON")
    assert python, "set NGCRUN_AZURE_PYTHON to a Python that has ngcrun[azureml]; `nox -s azureml` does"
    return python


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    (tmp_path / "azure").mkdir()
    with Azure(tmp_path / "azure") as azure:
        yield Checkout(tmp_path / "checkout", azure)
