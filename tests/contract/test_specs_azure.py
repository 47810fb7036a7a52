"""azure-ai-ml's own loader on every spec that we ship; in an environment of its own (NGCRUN_AZURE_PYTHON)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from runtime.catalog import AREAS

ROOT = Path(__file__).parents[2]
SPECS = sorted(p for area in AREAS for p in (ROOT / "component_specs" / area).glob("*.yaml"))
PIPELINES = sorted((ROOT / "component_specs" / "pipelines").glob("*.yaml"))

ENVIRONMENTS = sorted((ROOT / "containers").glob("*/environment.yaml"))

LOAD = r"""
import json, re, sys, warnings, logging
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
from azure.ai.ml import load_component, load_environment, load_job
found = {}
for path in sys.argv[1:]:
    kind = re.search(r"/(\w+)\.schema\.json", open(path).read())[1]
    load = {"pipelineJob": load_job, "environment": load_environment}.get(kind, load_component)
    try:
        loaded = load(path)
        if load is load_environment:  # the SDK validates it while loading
            found[path] = {}
            continue
        result = loaded._validate()
        found[path] = dict(result.error_messages) | ({} if result.passed else {"": "did not pass"})
    except Exception as error:
        found[path] = {"load": f"{type(error).__name__}: {error}"}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def verdicts() -> dict[str, dict[str, str]]:
    python = os.environ.get("NGCRUN_AZURE_PYTHON")
    assert python, "set NGCRUN_AZURE_PYTHON to a Python that has azure-ai-ml; `nox -s tests` does"
    argv = [python, "-c", LOAD, *map(str, SPECS), *map(str, PIPELINES), *map(str, ENVIRONMENTS)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_there_are_specs_to_load() -> None:
    assert {"rapids_train.yaml", "triton_package.yaml", "data_download.yaml"} <= {p.name for p in SPECS}
    assert "taxi_fare.yaml" in {p.name for p in PIPELINES}


@pytest.mark.parametrize("path", [*SPECS, *PIPELINES, *ENVIRONMENTS], ids=lambda p: f"{p.parent.name}/{p.name}")
def test_azure_ai_ml_accepts(path: Path, verdicts: dict[str, dict[str, str]]) -> None:
    assert verdicts[str(path)] == {}
