"""Running one component in this process: checks first, outputs whole or not at all, one line when it fails."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runtime import masks, staging
from runtime import metrics as metrics_module
from runtime.component import Component, Output
from runtime.compose import Request, compose, parse
from runtime.errors import BadInput, MissingOutput, NgcrunError, OutputsElsewhere
from runtime.metrics import CLOSE_S, Memory, Metrics
from runtime.redact import redacted
from runtime.remote_path import is_remote

STOPPED_CLOSE_S = (
    4.0  # for the metrics of a step that is stopped: SIGKILL comes 10 s after SIGTERM, as in `docker stop`
)


def main(component: Component, argv: Sequence[str] | None = None) -> int:
    """The entry point of `python -m runtime.<area>.<verb>`; returns the exit status (0, 1, 2, 3, 4 or 130)."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Python looks for cycles at each 700 new objects, and imports make very many, none of which it could free.
    gc.set_threshold(20_000, 50, 100)
    before = ["", *words]
    # After a bare flag it is that flag's value: --text -h
    if any(w in ("--help", "-h") and not re.fullmatch("--[^=]+", b) for b, w in zip(before, words, strict=False)):
        from runtime.show import text_of

        print(text_of(component))
        return 0
    try:
        request = parse(component, words)
        if request.show_config:
            return _show_config(component, request)
        with _terminated_as_interrupt():
            execute(component, request)
    except NgcrunError as error:
        print("\n".join(error.lines(component.name)), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{component.name}: stopped; no output was written", file=sys.stderr)
        return 130
    return 0


def _show_config(component: Component, request: Request) -> int:
    import yaml

    ports = compose(component, request, partial=True)
    print(yaml.safe_dump(as_plain(ports), sort_keys=False, allow_unicode=True), end="")
    return 0


def as_plain(ports: Any) -> dict[str, Any]:
    """The ports as plain values that YAML, JSON and MLflow take: paths become text."""
    return {key: _plain(value) for key, value in dataclasses.asdict(ports).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def execute(component: Component, request: Request) -> dict[str, Path]:
    """Check the ports, run the component on staged outputs, put them in place; returns where each output is."""
    ports = compose(component, request)
    targets = output_paths(component, ports)
    staging.apart(targets)
    kept = {n: targets.pop(n) for n in list(targets) if _is_kept(component, n)}
    memory = Memory()
    status = "FAILED"
    # The workers of a job on several nodes write to what all nodes have mounted, and not to this node's own disk.
    shared = getattr(ports, "engine", None) == "distributed" and int(os.environ.get("WORLD_SIZE", "1")) > 1
    with staging.staged(component, targets, shared=shared) as stages:
        metrics = metrics_module.from_environment(component.name, extra=[memory])
        try:
            from runtime.tracking import flatten

            hide = masks.of(os.environ).text  # what `ngcrun pipeline` hides, also in what the step itself tells MLflow
            metrics.params({name: hide(redacted(text)) for name, text in flatten(as_plain(ports)).items()})
            _run(component, dataclasses.replace(ports, **stages, **_kept_folders(kept)), metrics)
            _require_outputs(component, stages, targets)
            status = "FINISHED"
        except OutputsElsewhere:
            status = "FINISHED"
            raise
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            metrics.close(status, STOPPED_CLOSE_S if status == "KILLED" else CLOSE_S)
            for folder in (f for n, f in kept.items() if getattr(ports, n) is None):
                with contextlib.suppress(OSError):  # it holds what the next start goes on from
                    folder.rmdir()
        staging.publish_all(stages, targets)
    for name, folder in kept.items():
        if getattr(ports, name) is None:
            shutil.rmtree(folder, ignore_errors=True)
    _summary(component, targets, memory)
    return targets


def _run(component: Component, ports: Any, metrics: Metrics) -> None:
    try:
        component.run(ports, metrics)
    except NgcrunError:
        raise
    except Exception as error:
        failure = staging.machine_failure(error)
        if failure is None:
            raise
        raise failure from error


def output_paths(component: Component, ports: Any) -> dict[str, Path]:
    """Where each output goes: as bound, else below `runs/<component>-<time>/`; one that is kept, beside the first."""
    folder = Path("runs") / f"{component.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    names = [n for n, p in component.all_ports().items() if isinstance(p.marker, Output)]
    paths = {n: getattr(ports, n) or folder / n for n in names if not _is_kept(component, n)}
    first = next(iter(paths.values()))
    first = folder / first.name if is_remote(str(first)) else first  # what is kept is on this machine
    return paths | {n: getattr(ports, n) or Path(f"{first}.{n}") for n in names if n not in paths}


def _is_kept(component: Component, name: str) -> bool:
    marker = component.all_ports()[name].marker
    return isinstance(marker, Output) and marker.kept


def _kept_folders(kept: dict[str, Path]) -> dict[str, Path]:
    for name, folder in kept.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            todo = "name a place that you may write to"
            raise BadInput.of(name, folder, f"cannot be written ({reason})", todo) from error
    return {name: folder.resolve() for name, folder in kept.items()}


def _require_outputs(component: Component, stages: dict[str, Path], targets: dict[str, Path]) -> None:
    for name, stage in stages.items():
        if is_empty(stage):
            raise MissingOutput(f"{name}={str(targets[name])!r}: was not written; {component.name} ended without error")


def is_empty(path: Path) -> bool:
    """Whether an output is absent, a folder without a file in it, or a file of no bytes."""
    if path.is_dir():
        return not any(p.is_file() for p in path.rglob("*"))
    return not path.is_file() or path.stat().st_size == 0


def _summary(component: Component, targets: dict[str, Path], memory: Memory) -> None:
    figures = memory.latest()
    width = max((len(k) for k in [*figures, *targets]), default=0)
    for key, value in figures.items():
        print(f"  {key:<{width}}  {value:.6g}")
    for name, path in targets.items():
        print(f"  {name:<{width}}  {path}")
    sys.stdout.flush()


@contextlib.contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM (docker stop, AzureML, the engine) and a closed terminal unwind like Ctrl-C: nothing is left."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]  # nohup ignores
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
