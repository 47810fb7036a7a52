"""`distribution:` on this machine: the processes of every node as processes here, with the variables of AzureML.

Source of the variables: MicrosoftDocs/azure-ai-docs, how-to-train-distributed-gpu (MASTER_ADDR, MASTER_PORT,
WORLD_SIZE, NODE_RANK for each node, RANK and LOCAL_RANK for each process; mpirun sets OMPI_COMM_WORLD_*).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RANKS = Path(__file__).with_name("ranks.py")


def kind(asked: Any) -> str:
    """The type that a `distribution:` names, in lower case as AzureML takes any; empty for none."""
    return str(asked.get("type", "")).lower() if isinstance(asked, Mapping) else ""


def processes(spec: Mapping[str, Any]) -> tuple[int, int]:
    """Nodes, and processes on each, that a component asks for."""
    asked = spec.get("distribution") or {}
    nodes = int((spec.get("resources") or {}).get("instance_count") or 1)
    return nodes, int(asked.get("process_count_per_instance") or 1)


def argv(command: str, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """What runs a rendered command: bash, as on AzureML; mpirun around it, or a script that starts the ranks."""
    asked = kind(spec.get("distribution"))
    nodes, each = processes(spec)
    if asked == "mpi":
        own = ("--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--tag-output")
        return ("mpirun", *own, "-n", str(nodes * each), "bash", "-c", command)
    if asked == "pytorch":
        return ("python3", str(RANKS), str(nodes), str(each), command)
    return ("bash", "-c", command)


def environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """The variables that are the same in every process; MASTER_PORT is found when the step starts."""
    nodes, each = processes(spec)
    known = {"AZUREML_NODE_COUNT": str(nodes)}  # Source: Azure/azureml-examples, distributed jobs
    if kind(spec.get("distribution")) == "pytorch":
        known |= {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": str(nodes * each)}
    return known


def port(spec: Mapping[str, Any]) -> dict[str, str]:
    """MASTER_PORT, where processes are to meet: one that is free now."""
    if kind(spec.get("distribution")) != "pytorch":
        return {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return {"MASTER_PORT": str(probe.getsockname()[1])}
