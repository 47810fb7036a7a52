"""From a checked graph to the Commands that would run it; nothing here starts or writes anything."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime import snapshot
from runtime.command import Command
from runtime.local import distribute
from runtime.local.document import Document
from runtime.local.expression import render
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
    runs: Path  # the folder of all runs
    code: Path | None = None
    included: tuple[Path, ...] = ()
    downloads: Mapping[str, Path] = field(default_factory=dict)  # inputs that the step gets a copy of, and from where
    timeout_s: float | None = None
    trial: Callable[[int, Mapping[str, Any]], Planned] | None = None  # of a sweep: one with these values
    image: str = ""  # what identifies the container image it runs in; empty: this machine's own Python

    def is_data(self, name: str) -> bool:
        """Whether the input is a file or folder, not a literal."""
        return _is_data(self.step, name)

    def shared(self) -> list[Path]:
        """The files and folders that the step reads where they are, without those that it gets a copy of."""
        names = [name for name in self.inputs if self.is_data(name) and name not in self.downloads]
        return sorted({Path(self.inputs[name]) for name in names})

    def code_files(self) -> Iterator[Path]:
        """What AzureML would upload of `code`: without the runs folder, which may lie in it."""
        if self.code is not None:
            yield from snapshot.files(self.code, without=self.runs)


def plan(graph: Graph, run: Path, *, mount: bool) -> dict[str, Planned]:
    """The Command of each step, in an order in which they can run; `mount`: whether inputs become read-only mounts."""
    places = {
        i: {p: run / "steps" / i / "outputs" / p for p in s.spec.get("outputs") or {}} for i, s in graph.steps.items()
    }
    return {i: planned(step, run, run / "steps" / i, places, mount=mount) for i, step in graph.steps.items()}


def planned(step: Step, run: Path, folder: Path, places: Mapping[str, Mapping[str, Path]], *, mount: bool) -> Planned:
    """One step's Command, to run in `folder`; `places`: where the outputs of all steps go."""
    inputs = input_texts(step, places)
    downloads = {
        n: Path(inputs[n]) for n, m in step.modes.items() if m == "download" and n in inputs and _is_data(step, n)
    }
    # The copy keeps the name of what is copied: a step may look at a file's ending.
    inputs |= {name: str(folder / "inputs" / name / source.name) for name, source in downloads.items()}
    outputs = places[step.id]
    values: dict[tuple[str, ...], str | None] = {("inputs", n): inputs.get(n) for n in step.spec.get("inputs") or {}}
    values |= {("outputs", n): str(p) for n, p in outputs.items()}
    paths = {("inputs", n) for n in inputs if _is_data(step, n)} | {("outputs", n) for n in outputs}
    shared = {Path(inputs[n]) for n in inputs if _is_data(step, n) and n not in downloads}
    read = tuple(sorted(shared)) if mount else ()
    command = Command(
        argv=distribute.argv(render(str(step.spec["command"]), values, paths), step.spec),
        cwd=folder / "work",
        env=environment(step, inputs, outputs, folder),
        # `python` in a command means the Python that runs ngcrun, as in a container it means the container's.
        path=Path(sys.executable).parent,
        # An input folder that holds the run folder itself must stay writable, and changes while the step writes there.
        read_only=tuple(p for p in read if not folder.is_relative_to(p)),
    )
    code, more = code_folder(step.component), included(step.component)
    log, until = folder / "log.txt", timeout_s(step)
    trial = functools.partial(_trial, step, run, folder, places, mount=mount) if step.sweep is not None else None
    known = Planned(step, command, folder, outputs, inputs, log, run.parent, code, more, downloads)
    return replace(known, timeout_s=until, trial=trial)


def _trial(  # noqa: PLR0913, PLR0917 - what `planned` takes, and the trial's own
    step: Step,
    run: Path,
    folder: Path,
    places: Mapping[str, Mapping[str, Path]],
    number: int,
    values: Mapping[str, Any],
    *,
    mount: bool,
) -> Planned:
    """One trial of a sweep: the step with these values, in a folder of its own below the sweep's."""
    inputs = {**step.inputs, **{name: Value(value, "string") for name, value in values.items()}}
    limits = step.sweep.get("limits") or {} if step.sweep is not None else {}
    own = replace(step, inputs=inputs, sweep=None, limits={"timeout": limits.get("trial_timeout")})
    place = folder / "trials" / f"{number:03d}"
    outputs = {port: place / "outputs" / port for port in step.spec.get("outputs") or {}}
    return planned(own, run, place, {**places, step.id: outputs}, mount=mount)


def included(component: Document) -> tuple[Path, ...]:
    """`additional_includes`: files and folders that travel beside `code`, counted from the component's file."""
    listed = component.data.get("additional_includes") or ()
    return tuple((component.path.parent / str(text)).resolve() for text in listed)


def timeout_s(step: Step) -> float | None:
    """`limits.timeout` of the step, else of its component; seconds."""
    for spec in (step.limits, step.spec.get("limits") or {}):
        if spec.get("timeout") is not None:
            return float(spec["timeout"])
    return None


def code_folder(component: Document) -> Path | None:
    """The folder whose copy the command runs in, as on AzureML; None when the component has no `code`."""
    code = component.data.get("code")
    return (component.path.parent / code).resolve() if code else None


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
        if step.sweep is not None and name in (step.sweep.get("search_space") or {}) and source is None:
            texts[name] = "{" + name + "}"  # what each trial puts its own value for
    return texts


def _is_data(step: Step, name: str) -> bool:
    port: Mapping[str, Any] = (step.spec.get("inputs") or {})[name] or {}
    source = step.inputs.get(name)
    return port.get("type") in DATA_TYPES and not (isinstance(source, Value) and source.direct)


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
    env |= distribute.environment(step.spec)
    env |= {str(k): str(v) for k, v in (step.spec.get("environment_variables") or {}).items()} | step.env
    env["NGCRUN_METRICS_FILE"] = str(folder / "metrics.jsonl")
    return env


def fingerprint(path: Path) -> str:
    """A hash of the names, sizes, times and inodes below `path`; no file is opened."""
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
        seen = (here, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        digest.update("\0".join(map(str, seen)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
