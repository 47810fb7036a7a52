"""The keys that `ngcrun check` knows are those of azure-ai-ml's own schemas (NGCRUN_AZURE_PYTHON)."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from runtime.check.kinds import fields

SCHEMAS = {
    "commandComponent": "component.command_component.CommandComponentSchema",
    "pipelineComponent": "pipeline.pipeline_component.PipelineComponentSchema",
    "commandJob": "job.command_job.CommandJobSchema",
    "pipelineJob": "pipeline.pipeline_job.PipelineJobSchema",
    "sweepJob": "_sweep.sweep_job.SweepJobSchema",
    "environment": "assets.environment.EnvironmentSchema",
    "amlCompute": "compute.aml_compute.AmlComputeSchema",
    "managedOnlineEndpoint": "_endpoint.online.online_endpoint.ManagedOnlineEndpointSchema",
    "kubernetesOnlineEndpoint": "_endpoint.online.online_endpoint.KubernetesOnlineEndpointSchema",
    "managedOnlineDeployment": "_deployment.online.online_deployment.ManagedOnlineDeploymentSchema",
    "kubernetesOnlineDeployment": "_deployment.online.online_deployment.KubernetesOnlineDeploymentSchema",
    "data": "assets.data.DataSchema",
    "model": "assets.model.ModelSchema",
}
DUMP = """
import importlib, json, sys
found = {}
for kind, path in json.loads(sys.argv[1]).items():
    module, _, name = path.rpartition(".")
    schema = getattr(importlib.import_module("azure.ai.ml._schema." + module), name)
    found[kind] = sorted(field.data_key or key for key, field in schema._declared_fields.items())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def theirs() -> dict[str, set[str]]:
    python = os.environ.get("NGCRUN_AZURE_PYTHON")
    assert python, "set NGCRUN_AZURE_PYTHON to a Python that has azure-ai-ml; `nox -s tests` does"
    argv = [python, "-c", DUMP, json.dumps(SCHEMAS)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    return {kind: set(keys) for kind, keys in json.loads(done.stdout.splitlines()[-1]).items()}


def words(row: dict[str, str], *names: str) -> set[str]:
    return {word for name in names for word in row.get(name, "").split()}


def test_every_kind_is_compared() -> None:
    assert set(SCHEMAS) == set(fields()) - {"any", "step", "sweepStep", "port", "inside", "required"}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_keys_of_a_kind_are_the_schemas(kind: str, theirs: dict[str, set[str]]) -> None:
    ours, everywhere = fields()[kind], words(fields()["any"], "keys")
    assert theirs[kind] - everywhere == words(ours, "keys"), "keys: what the schema has, and nothing else"
    assert not words(ours, "docs") & theirs[kind], "docs: only what the schema lacks"
