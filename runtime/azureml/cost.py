"""`--cost` and `--queue-time`: what a run will need before it is sent, from the file and the prices that you gave."""

from __future__ import annotations

from typing import Any

from runtime.azureml.compute import Asked, specs, table
from runtime.azureml.config import Settings
from runtime.local.graph import Graph


def rows(graph: Graph, clusters: Asked, settings: Settings) -> list[dict[str, Any]]:
    """One row a step: its cluster, the size and the GPUs behind it, nodes, the longest time, the price of that time."""
    found = []
    for name, step in graph.steps.items():
        cluster = clusters.steps[name]
        size = size_of(cluster)
        nodes = int((step.spec.get("resources") or {}).get("instance_count") or 1)
        hours = _hours(step.spec)
        price = settings.config.prices.get(size) if size else None
        found.append({"step": name, "cluster": cluster, "size": size or "", "nodes": nodes, "hours": hours,
                      "gpus": nodes * (table()[0][size.lower()].gpus if size and size.lower() in table()[0] else 0),
                      "usd": price * nodes * hours if price is not None and hours is not None else None})  # fmt: skip
    return found


def size_of(cluster: str) -> str | None:
    """The VM size in the cluster's file of this checkout; None where there is none."""
    import yaml

    from runtime.__main__ import repository_root
    from runtime.errors import BadInput

    try:
        path = specs(repository_root()).get(cluster)
    except BadInput:
        return None
    return str(yaml.safe_load(path.read_text(encoding="utf-8"))["size"]) if path else None


def _hours(spec: Any) -> float | None:
    """The limit of a step in hours; None where it has none: nobody knows how long it will take."""
    timeout = (spec.get("limits") or {}).get("timeout")
    return float(timeout) / 3600 if timeout else None


def text(graph: Graph, clusters: Asked, settings: Settings) -> str:
    """The table, and below it the sum, or what is not known for it."""
    table_rows = rows(graph, clusters, settings)
    lines = [f"{graph.name}: {len(table_rows)} steps on {', '.join(clusters.names())}"]
    width = max(len(r["step"]) for r in table_rows)
    for row in table_rows:
        what = f"{row['size']}, {row['gpus']} GPU" if row["size"] else "size not known here"
        longest = "no limits.timeout" if row["hours"] is None else f"at most {row['hours']:.2f} h"
        price = "" if row["usd"] is None else f", at most {row['usd']:.2f} USD"
        lines.append(f"  {row['step']:<{width}}  {row['cluster']} x {row['nodes']} ({what}), {longest}{price}")
    known = [r["usd"] for r in table_rows if r["usd"] is not None]
    if len(known) == len(table_rows):
        lines.append(f"  at most {sum(known):.2f} USD at your prices")
    else:
        lines.append("  no sum: give prices.SIZE=USD_PER_HOUR in azureml/config.yaml, and limits.timeout to the steps")
    lines.append(f"  nodes at the same time: {_widest(graph, table_rows)}")
    return "\n".join(lines)


def _widest(graph: Graph, table_rows: list[dict[str, Any]]) -> int:
    """The most nodes that can be busy at once: steps at the same depth of the graph may run side by side."""
    depth: dict[str, int] = {}
    for name, step in graph.steps.items():  # in an order in which they can run
        depth[name] = 1 + max((depth[n] for n in step.needs()), default=0)
    nodes: dict[int, int] = {}
    for row in table_rows:
        nodes[depth[row["step"]]] = nodes.get(depth[row["step"]], 0) + row["nodes"]
    return max(nodes.values(), default=0)
