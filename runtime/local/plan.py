"""From a checked graph to the Commands that would run it; nothing here starts or writes anything."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.command import Command
from runtime.errors import BadInput, Problem
from runtime.local.expression import harm, placeholders, render
from runtime.local.graph import DATA_TYPES, FromStep, Graph, Step, Value


@dataclass(frozen=True)
class Planned:
    """One step with everything that is known before it runs."""

    step: Step
    command: Command
    folder: Path
    outputs: Mapping[str, Path]
    inputs: Mapping[str, str]
    log: Path


def plan(graph: Graph, run: Path, *, mount: bool) -> dict[str, Planned]:
    """The Command of each step, in an order in which they can run; `mount`: whether inputs become read-only mounts.

    Raises `BadInput` for a path that the shell of a command would change.
    """
    places = {
        i: {p: run / "steps" / i / "outputs" / p for p in s.spec.get("outputs") or {}} for i, s in graph.steps.items()
    }
    planned = {i: _planned(step, run / "steps" / i, places, mount) for i, step in graph.steps.items()}
    problems = [problem for step in planned.values() for problem in _harmed(step)]
    if problems:
        raise BadInput(problems)
    return planned


def _harmed(planned: Planned) -> list[Problem]:
    """Paths that the shell would take for something else where the component's command puts them."""
    step, problems = planned.step, []
    paths: dict[tuple[str, ...], str] = {("inputs", n): text for n, text in planned.inputs.items() if _is_data(step, n)}
    paths |= {("outputs", n): str(path) for n, path in planned.outputs.items()}
    for parts, quote, _ in placeholders(str(step.spec["command"])):
        text = paths.get(parts, "")
        character = harm(text, quote) or ("" if quote else next((c for c in text if c.isspace()), ""))
        if character:
            place = "${{" + ".".join(parts) + "}}"
            todo = "use another folder" if quote == "'" else f"write '{place}' in the component's command"
            wrong = f"becomes {text}, in which the shell changes {character!r}"
            problems.append(step.component.problem(("command",), place, wrong, todo))
    return problems


def _planned(step: Step, folder: Path, places: Mapping[str, Mapping[str, Path]], mount: bool) -> Planned:
    inputs = input_texts(step, places)
    outputs = places[step.id]
    values: dict[tuple[str, ...], str | None] = {("inputs", n): inputs.get(n) for n in step.spec.get("inputs") or {}}
    values |= {("outputs", n): str(p) for n, p in outputs.items()}
    read = tuple(sorted({Path(inputs[n]) for n in inputs if _is_data(step, n)})) if mount else ()
    command = Command(
        argv=("bash", "-c", render(str(step.spec["command"]), values)),  # AzureML runs a command by bash too
        cwd=folder / "work",
        env=environment(step, inputs, outputs, folder),
        # `python` in a command means the Python that runs ngcrun, as in a container it means the container's.
        path=Path(sys.executable).parent,
        # An input folder that holds the run folder itself must stay writable, and changes while the step writes there.
        read_only=tuple(p for p in read if not folder.is_relative_to(p)),
    )
    return Planned(step, command, folder, outputs, inputs, folder / "log.txt")


def input_texts(step: Step, places: Mapping[str, Mapping[str, Path]]) -> dict[str, str]:
    """What stands for each bound input in the command: a path, or the literal as text; defaults filled in."""
    texts = {}
    for name, port in (step.spec.get("inputs") or {}).items():
        source = step.inputs.get(name)
        if isinstance(source, FromStep):
            texts[name] = str(places[source.step][source.port])
        elif isinstance(source, Value):
            texts[name] = str(source.value)
        elif (port or {}).get("default") is not None:
            texts[name] = str(port["default"])
    return texts


def _is_data(step: Step, name: str) -> bool:
    port: Mapping[str, Any] = (step.spec.get("inputs") or {})[name] or {}
    return port.get("type") in DATA_TYPES


def environment(step: Step, inputs: Mapping[str, str], outputs: Mapping[str, Path], folder: Path) -> dict[str, str]:
    """What AzureML sets for a command, as far as it means something here.

    Not set: AZUREML_RUN_ID and its kin, by which the SDKs decide that they are in Azure and start to call it.
    """
    env = {}
    for name, text in inputs.items():
        if _is_data(step, name):
            env[f"AZURE_ML_INPUT_{name}"] = text  # Source: azure-ai-ml 1.35.2, constant INPUT_BINDING_PREFIX
        else:
            env[f"AZUREML_PARAMETER_{name}"] = text  # Source: azure-ai-ml 1.35.2, sweep and parameter constants
    for name, path in outputs.items():
        env[f"AZURE_ML_OUTPUT_{name}"] = str(path)  # Source: public user code only; not documented by Microsoft
    env["AZUREML_NODE_COUNT"] = "1"  # Source: Azure/azureml-examples, distributed jobs
    env |= {str(k): str(v) for k, v in (step.spec.get("environment_variables") or {}).items()} | step.env
    env["NGCRUN_METRICS_FILE"] = str(folder / "metrics.jsonl")
    return env


def fingerprint(path: Path) -> str:
    """A hash of the names, sizes and modification times below `path`; no file is opened."""
    digest = hashlib.sha256()
    stack = [path]
    while stack:
        here = stack.pop()
        if here.is_dir() and not here.is_symlink():
            with os.scandir(here) as entries:
                stack += sorted(Path(e.path) for e in entries)
            continue
        try:
            stat = here.lstat()
        except FileNotFoundError:
            continue
        digest.update(f"{here}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
