"""`ngcrun run NAME key=value...`: one component as a subprocess of its own, with its outputs in a run folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from runtime.command import Command
from runtime.component import Component, Output
from runtime.compose import parse
from runtime.errors import BadInput
from runtime.local.track import store_uri


def via(name: str, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Take `--via launcher` out of the words: the variable that says so to a TAO step, and the words that are left."""
    at = next((i for i, word in enumerate(words) if word.partition("=")[0] == "--via"), None)
    if at is None:
        return {}, list(words)
    value, length = (words[at].partition("=")[2], 1) if "=" in words[at] else (" ".join(words[at + 1 : at + 2]), 2)
    if value != "launcher" or not name.startswith("tao_"):
        todo = "give --via launcher to a tao_ step (NVIDIA's own launcher starts the image), or leave it out"
        raise BadInput.of("--via", value, f"is no way to run {name}", todo)
    return {"NGCRUN_TAO_VIA": value}, [*words[:at], *words[at + length :]]


def plan(
    component: Component, words: Sequence[str], folder: Path, cwd: Path, extra: Mapping[str, str] | None = None
) -> Command:
    """The Command; an output that is not bound goes to `<folder>/<port>`. Raises `BadInput` for unknown ports."""
    request = parse(component, words)
    if request.problems:
        raise BadInput(replace(p, port=f"{component.name}: {p.port}") for p in request.problems)
    markers = {n: p.marker for n, p in component.all_ports().items() if n not in request.values}
    outputs = [n for n, marker in markers.items() if isinstance(marker, Output) and not marker.kept]
    argv = (sys.executable, "-m", component.module, *words, *(f"--{name}={folder / name}" for name in outputs))
    uri = store_uri(folder.parent)
    # One that the caller has set is inherited: it may hold a password, and a Command is printed.
    ours = uri is not None and "MLFLOW_TRACKING_URI" not in os.environ
    return Command(argv, cwd, {**({"MLFLOW_TRACKING_URI": str(uri)} if ours else {}), **(extra or {})})


def run(component: Component, words: Sequence[str], *, dry_run: bool, extra: Mapping[str, str] | None = None) -> int:
    """Print the Command, or become it: its exit status is ours, and Ctrl-C reaches it directly."""
    folder = Path("runs") / f"{component.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    command = plan(component, words, folder, Path.cwd(), extra)
    if dry_run:
        print(command.text())
        return 0
    if "MLFLOW_TRACKING_URI" in command.env:
        folder.parent.mkdir(exist_ok=True)
    return _become(command)


def _become(command: Command) -> NoReturn:
    os.execvpe(command.argv[0], list(command.argv), command.environment(os.environ))  # noqa: S606 - an argv, no shell
