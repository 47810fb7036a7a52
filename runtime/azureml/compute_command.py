"""`ngcrun azureml compute create|show|list|sizes|delete`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.azureml import client, compute
from runtime.azureml.client import say
from runtime.azureml.config import Settings
from runtime.errors import BadInput


def run(verb: str, names: Sequence[str], settings: Settings) -> int:
    """One verb on the named clusters; `create` takes names of component_specs/compute/ or paths of files."""
    if verb == "sizes" and settings.config.workspace is None:
        _print(_sizes(set()))
        return 0
    if verb in ("create", "show", "delete") and not names:
        raise BadInput.of("compute", None, f"{verb} needs a name", f"say ngcrun azureml compute {verb} NAME")
    _, _, workspace = settings.need("subscription", "resource_group", "workspace")
    target = f"workspace:{workspace}"
    with client.hushed(), client.translated(target):
        ml_client = client.connect(settings, target, client.credential(settings))
    if verb == "sizes":
        with client.hushed(), client.translated(target):
            offered = {str(size.name).lower() for size in ml_client.compute.list_sizes()}
        _print(_sizes(offered))
    elif verb == "list":
        with client.hushed(), client.translated(target):
            rows = compute.rows(ml_client)
        _print([("name", "size", "GPUs", "nodes", "tier"), *rows])
    for name in names if verb in ("create", "show", "delete") else ():
        with client.hushed(), client.translated(f"compute {name}"):
            _one(verb, name, ml_client)
    return 0


def _one(verb: str, name: str, ml_client: Any) -> None:
    if verb == "create":
        compute.create_cluster(ml_client, name)
    elif verb == "delete":
        ml_client.compute.begin_delete(name).result()
        say(f"cluster {name} is gone")
    else:
        cluster = ml_client.compute.get(name)
        size = compute.table()[0].get(str(cluster.size).lower())
        nodes = f"{cluster.min_instances} to {cluster.max_instances} nodes"
        say(f"{name}: {cluster.size}, {nodes}, {cluster.tier or 'dedicated'}")
        if size and size.gpus:
            capability = f"compute capability {size.compute_capability}"
            say(f"  {size.gpus} x {size.gpu}, {size.gpu_memory_gib} GiB each, {capability}")
            say(f"  images that run there: {', '.join(compute.images_on(size))}")


def _sizes(offered: set[str]) -> list[tuple[str, ...]]:
    """The table of sizes; a mark where the workspace's region offers it."""
    rows: list[tuple[str, ...]] = [
        ("size", "GPUs", "memory of one", "cc", "cores", "memory", "InfiniBand", "images", "here")
    ]
    for size in compute.table()[0].values():
        here = "" if not offered else ("yes" if size.name.lower() in offered else "no")
        gpu = f"{size.gpus} x {size.gpu}" if size.gpus else "none"
        images = ", ".join(compute.images_on(size))
        of_one = f"{size.gpu_memory_gib} GiB" if size.gpus else ""
        machine = (str(size.cores), f"{size.memory_gib} GiB", "yes" if size.infiniband else "")
        rows.append((size.name, gpu, of_one, size.compute_capability, *machine, images, here))
    return rows


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
