"""One spec, two places: what the local engine would run against what goes over the wire, step by step, field by field."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.local import graph as graph_module
from runtime.local.expression import render
from runtime.local.graph import DATA_TYPES, FromStep, Step
from runtime.local.plan import Planned, plan
from tests.azureml.support import REGISTRY, ROOT, Checkout
from tests.e2e.tao_support import kitti
from tests.fakes.azure import WORKSPACE, Azure
from tests.fakes.azure.rules import component_id, spec_of
from tests.fakes.azure.state import Asset

PIPELINES = sorted(
    p for p in (ROOT / "component_specs" / "pipelines").glob("*.yaml") if "pipelineJob" in p.read_text(encoding="utf-8")
)
SEARCH = ("search_space", "objective", "sampling_algorithm")  # of a sweep
SCOPE = f"workspaces/{WORKSPACE}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """This repository's specs and data in a workspace that has their environments and clusters."""
    folder = tmp_path_factory.mktemp("parity")
    (folder / "azure").mkdir()
    with Azure(folder / "azure") as azure:
        made = Checkout(folder / "checkout", azure)
        shutil.rmtree(made.root)
        made.root.mkdir()
        for name in ("component_specs", "containers", "tests"):
            (made.root / name).symlink_to(ROOT / name)
        for path in sorted((ROOT / "containers").glob("*/environment.yaml")):
            row = yaml.safe_load(path.read_text(encoding="utf-8"))
            azure.state.assets[(SCOPE, "environments", row["name"], row["version"])] = Asset({"image": "x/y:1"})
        for path in sorted((ROOT / "component_specs" / "compute").glob("*.yaml")):
            azure.state.computes[path.stem] = {
                "computeType": "AmlCompute",
                "properties": {"vmSize": "Standard_NC4as_T4_v3"},
            }
        yield made


def here(step: Step, planned: Planned) -> dict[str, Any]:
    """One step as the local engine would run it, paths replaced by the names of their ports."""
    data = [
        n
        for n, p in (step.spec.get("inputs") or {}).items()
        if (p or {}).get("type") in DATA_TYPES and n in step.inputs
    ]
    places = {planned.inputs[n]: f"<input {n}>" for n in data} | {
        str(p): f"<output {n}>" for n, p in planned.outputs.items()
    }
    command = planned.command.argv[2]
    for path in sorted(places, key=len, reverse=True):
        command = command.replace(path, places[path])
    sources = {n: s for n, s in step.inputs.items() if n in data}
    return {
        "command": command,
        "environment": step.spec["environment"],
        "read-only": {n for n in data if Path(planned.inputs[n]) in planned.command.read_only},
        "from": {n: f"{s.step}.{s.port}" if isinstance(s, FromStep) else "outside" for n, s in sources.items()},
        "outputs": set(planned.outputs),
        "sweep": {key: (step.sweep or {}).get(key) for key in SEARCH},
        "limits": (step.sweep or step.spec).get("limits") or {},
        **{key: step.spec.get(key) or {} for key in ("resources", "distribution")},
        "variables": {**(step.spec.get("environment_variables") or {}), **step.env},
    }


def there(azure: Azure, sent: dict[str, Any], name: str) -> dict[str, Any]:
    """The same step as Azure was told to run it."""
    job = sent["jobs"][name]
    spec = spec_of(azure.state, component_id(job))
    assert spec is not None
    declared = spec.get("inputs") or {}
    values: dict[tuple[str, ...], str | None] = {("outputs", n): f"<output {n}>" for n in spec.get("outputs") or {}}
    sources, modes = {}, {}
    for port, declaration in declared.items():
        bound = (job.get("inputs") or {}).get(port)
        text, source = _resolved(sent, bound, declaration)
        text = f"{{{port}}}" if port in (job.get("search_space") or {}) else text  # as the plan of a sweep shows it
        values[("inputs", port)] = f"<input {port}>" if declaration["type"] in DATA_TYPES and text is not None else text
        if declaration["type"] in DATA_TYPES and bound is not None:
            sources[port], modes[port] = source, bound.get("mode")
    match = re.search(r"/environments/([^/]+)/versions/([^/]+)$", spec["environment"])
    assert match
    return {
        "command": render(spec["command"], values),
        "environment": f"azureml:{match[1]}:{match[2]}",
        "read-only": {
            n for n, mode in modes.items() if mode in (None, "ReadOnlyMount")
        },  # AzureML's default is ro_mount
        "from": sources,
        "outputs": set(spec.get("outputs") or {}),
        "sweep": {key: job.get(key) for key in SEARCH},
        **{key: job.get(key) or spec.get(key) or {} for key in ("resources", "distribution", "limits")},
        "variables": {**(spec.get("environment_variables") or {}), **(job.get("environment_variables") or {})},
    }


def _resolved(
    sent: dict[str, Any], bound: dict[str, Any] | None, declaration: dict[str, Any]
) -> tuple[str | None, str]:
    """What stands for an input in the command, and where it comes from."""
    if bound is None:
        return declaration.get("default"), ""
    text = str(bound.get("value", bound.get("uri", "")))
    output = re.fullmatch(r"\$\{\{parent\.jobs\.([\w.]+)\.outputs\.(\w+)\}\}", text)
    if output:
        return text, f"{output[1]}.{output[2]}"
    parent = re.fullmatch(r"\$\{\{parent\.inputs\.(\w+)\}\}", text)
    if parent:
        given = sent["inputs"][parent[1]]
        return str(given.get("value", given.get("uri"))), "outside"
    return text, "outside"


def unfolded(azure: Azure, sent: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A job with the steps of its pipeline components in their place, named `outer.inner`, bound to what those are given."""
    jobs: dict[str, Any] = {}
    for name, job in sent["jobs"].items():
        spec = spec_of(azure.state, component_id(job)) or {}
        if "jobs" not in spec:
            jobs[prefix + name] = job
            continue
        for inner, step in spec["jobs"].items():
            bound = {p: _through(b, job, spec, name) for p, b in (step.get("inputs") or {}).items()}
            jobs[f"{prefix}{name}.{inner}"] = {**step, "inputs": {p: b for p, b in bound.items() if b is not None}}
    return {**sent, "jobs": jobs}


def _through(bound: dict[str, Any], outer: dict[str, Any], spec: dict[str, Any], name: str) -> dict[str, Any] | None:
    """What an inner step's binding means outside: the outer step's own, its default, or a step beside it."""
    text = str(bound.get("value", ""))
    parent = re.fullmatch(r"\$\{\{parent\.inputs\.(\w+)\}\}", text)
    if parent:
        given = (outer.get("inputs") or {}).get(parent[1])
        default = spec["inputs"][parent[1]].get("default")
        return given if given is not None else {"value": default} if default is not None else None
    return {**bound, "value": re.sub(r"parent\.jobs\.(\w+)", rf"parent.jobs.{name}.\1", text)}


def test_there_are_pipelines_to_compare() -> None:
    assert {p.stem for p in PIPELINES} == {
        "taxi_fare", "tao_digits", "faces_coco", "detectnet_v2", "detectnet_v2_dataset", "facenet", "bodypose",
        "xgboost_hpo", "xgboost_sweep", "flights", "pictures",
    }  # fmt: skip


@pytest.mark.parametrize("path", PIPELINES, ids=lambda p: p.name)
def test_what_runs_here_is_what_is_sent(path: Path, checkout: Checkout, tmp_path: Path) -> None:
    name = f"parity_{path.stem}"
    given = {"dataset": str(kitti(tmp_path / "kitti"))} if path.stem == "detectnet_v2_dataset" else {}
    words = [f"{key}={value}" for key, value in given.items()]
    done = checkout.ngcrun("submit", f"component_specs/pipelines/{path.name}", "--name", name, *words)
    assert done.returncode == 0, done.stderr
    sent = unfolded(checkout.azure, checkout.azure.state.jobs[name]["sent"])
    graph = graph_module.read(path, given)
    planned = plan(graph, checkout.root / "runs" / "x", mount=True)
    assert set(graph.steps) == set(sent["jobs"])
    for step_name, step in graph.steps.items():
        local, remote = here(step, planned[step_name]), there(checkout.azure, sent, step_name)
        assert {k: (local[k], remote[k]) for k in local if local[k] != remote[k]} == {}, step_name


def test_the_pipeline_components_are_published_after_all_that_they_are_made_of(checkout: Checkout) -> None:
    for name in ("runtime", "pyproject.toml", "README.md", "LICENSE"):  # what the package in the images is built from
        (checkout.root / name).symlink_to(ROOT / name)
    names = sorted(p.stem for p in (ROOT / "component_specs" / "pipelines").glob("*_pipeline.yaml"))
    assert names == [
        "rapids_table_pipeline",
        "rapids_taxi_fare_pipeline",
        "rapids_xgboost_hpo_pipeline",
        "tao_bpnet_pipeline",
        "tao_detectnet_v2_pipeline",
    ]
    done = checkout.ngcrun("publish", *names, "--to", f"registry:{REGISTRY}")
    assert done.returncode == 0, done.stderr
    scope = f"registries/{REGISTRY}"
    order = [name for at, kind, name, _ in checkout.azure.state.created if (at, kind) == (scope, "components")]
    for name in names:
        text = (ROOT / "component_specs" / "pipelines" / f"{name}.yaml").read_text(encoding="utf-8")
        parts = set(re.findall(r"component: \S+/(\w+)\.yaml", text))
        assert len(parts) >= 6
        assert max(map(order.index, parts)) < order.index(name)
