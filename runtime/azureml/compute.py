"""Compute clusters: the sizes that Azure offers now, what a pipeline asks for, and `ngcrun azureml compute`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runtime.azureml.client import say
from runtime.azureml.config import Settings
from runtime.errors import BadInput, Problem, nearest
from runtime.local.graph import Graph


@dataclass(frozen=True)
class Size:
    """A VM size: GPUs of one kind, memory of one GPU, the machine's cores and memory."""

    name: str
    gpus: int
    gpu: str
    gpu_memory_gib: int
    compute_capability: str
    cores: int
    memory_gib: int
    infiniband: bool
    source: str
    driver: str = ""  # the newest branch that Azure has for it, where it has one of its own


@functools.cache
def table() -> tuple[dict[str, Size], dict[str, dict[str, str]]]:
    """The sizes by lower-case name, and the retired ones with their replacement; conf/sizes.yaml."""
    data = yaml.safe_load((Path(__file__).parent / "conf" / "sizes.yaml").read_text(encoding="utf-8"))
    sizes = {name.lower(): Size(name=name, **row) for name, row in data["sizes"].items()}
    return sizes, {name.lower(): row for name, row in data["retired"].items()}


def check_size(name: str, where: str = "size") -> Size:
    """The row of a size; raises `BadInput` for one that is retired (with what replaces it) or not known."""
    sizes, retired = table()
    if name.lower() in retired:
        row = retired[name.lower()]
        raise BadInput.of(where, name, f"was retired by Azure ({row['when']})", f"use {row['instead']}: {row['why']}")
    if name.lower() not in sizes:
        raise BadInput.of(where, name, "is not in the table of sizes", nearest(name, [s.name for s in sizes.values()]))
    return sizes[name.lower()]


def images_on(size: Size) -> list[str]:
    """The rows of images.yaml that the size's GPUs can run.

    Marked with a question mark: those of unknown floor, and those that need a newer driver than Azure has for the size.
    """
    from runtime import images

    found = []
    for key, image in images.known().items():
        floor = image.compute_capability
        if floor == "none":
            found.append(key)
        elif floor == "unknown" and size.gpus:
            found.append(f"{key}?")
        elif size.gpus and floor != "unknown" and _version(floor) <= _version(size.compute_capability):
            older = bool(size.driver) and image.driver.isdecimal() and int(image.driver) > int(size.driver)
            found.append(f"{key}?" if older else key)
    return found


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@dataclass(frozen=True)
class Asked:
    """The clusters that a pipeline uses: of each step, and the default of the rest."""

    default: str
    steps: Mapping[str, str]

    def names(self) -> list[str]:
        """Each cluster once."""
        return sorted({self.default, *self.steps.values()})


def asked_for(graph: Graph, settings: Settings) -> Asked:
    """Each step's cluster: its own `compute:`, else the config's where it was set, else the file's default."""
    doc = next(iter(graph.steps.values())).pipeline if graph.steps else None
    root = doc.data if doc is not None and doc.path.resolve() == graph.file.resolve() else _document(graph.file)
    own = _bare((root.get("settings") or {}).get("default_compute"))
    chosen = settings.sources.get("compute", "default") != "default"
    default = settings.config.compute if chosen or not own else own
    steps = {}
    for name in graph.steps:
        job = (root.get("jobs") or {}).get(name.partition(".")[0]) or {}
        steps[name] = _bare(job.get("compute")) or default
    return Asked(default, steps)


def _document(file: Path) -> dict[str, Any]:
    from runtime.local.document import load

    return dict(load(file).data)


def _bare(text: Any) -> str:
    """The cluster in `azureml:NAME`; empty for a binding or for nothing."""
    return str(text).removeprefix("azureml:") if text and "${{" not in str(text) else ""


def specs(root: Path) -> dict[str, Path]:
    """The cluster files of a checkout by name."""
    return {p.stem: p for p in sorted((root / "component_specs" / "compute").glob("*.yaml"))}


def ensure(ml_client: Any, asked: Asked, *, create: bool) -> None:
    """Raise `BadInput` for clusters that are not there; with `create`, make them from component_specs/compute/."""
    there = {c.name for c in ml_client.compute.list()}
    missing = [name for name in asked.names() if name not in there and name != "serverless"]
    if not missing:
        return
    if not create:
        todo = "ngcrun azureml compute create NAME, or submit with --create-compute"
        wrong = f"is not in the workspace; it has {', '.join(sorted(there)) or 'none'}"
        raise BadInput(Problem("compute", name, wrong, todo) for name in missing)
    for name in missing:
        create_cluster(ml_client, name)


def create_cluster(ml_client: Any, name: str) -> None:
    """Create or update one cluster from its file, after its size was looked at; waits until it is there.

    `name` is one of component_specs/compute/, or the path of a YAML file.
    """
    from azure.ai.ml import load_compute

    from runtime.__main__ import repository_root

    known = {name: Path(name)} if name.endswith((".yaml", ".yml")) else specs(repository_root())
    path = known.get(name)
    if path is not None and not path.is_file():
        raise BadInput.of("compute", name, "does not exist", "name a cluster's YAML file")
    if path is None:
        raise BadInput.of("compute", name, "has no file in component_specs/compute/", nearest(name, known))
    size = check_size(str(yaml.safe_load(path.read_text(encoding="utf-8")).get("size")), f"{path.name}: size")
    ml_client.compute.begin_create_or_update(load_compute(str(path))).result()
    say(
        f"cluster {name} is there ({size.name}, {size.gpus} x {size.gpu})"
        if size.gpus
        else f"cluster {name} is there ({size.name})"
    )


def rows(ml_client: Any) -> list[tuple[str, ...]]:
    """The clusters of a workspace as a table's rows."""
    found: list[tuple[str, ...]] = []
    for cluster in ml_client.compute.list():
        size = table()[0].get(str(getattr(cluster, "size", "")).lower())
        gpu = f"{size.gpus} x {size.gpu}" if size and size.gpus else ""
        nodes = f"{getattr(cluster, 'min_instances', '')}-{getattr(cluster, 'max_instances', '')}"
        found.append(
            (cluster.name, str(getattr(cluster, "size", "")), gpu, nodes, str(getattr(cluster, "tier", "") or ""))
        )
    return found
