"""`ngcrun pipeline FILE`: read, check, plan, run, record. The short function that ties the engine together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime import masks, vendor
from runtime.errors import BadInput, Problem
from runtime.local import containers, docker, lease, references, remote, report, screen
from runtime.local import graph as graph_module
from runtime.local.document import shown
from runtime.local.engine import Engine, State
from runtime.local.machine import Machine
from runtime.local.plan import Planned, plan
from runtime.local.record import Record, link_outputs, run_folder
from runtime.local.reuse import Reuse
from runtime.local.track import Tracker, shown_uri, store_uri

_EXIT = {"completed": 0, "canceled": 130}


@dataclass(frozen=True)
class Options:
    """What the flags of `ngcrun pipeline` say."""

    runs: Path = Path("runs")
    jobs: int | None = None
    mlflow: bool = True
    dry_run: bool = False
    force: bool = False  # everything runs again, and is remembered
    cache: bool = True
    docker: bool = False  # each step in a container of its environment's image
    network: str = "none"  # of the containers
    env: tuple[str, ...] = ()  # variables that the containers get from here
    gpus: str | None = None  # `all`, `none`, or how many a step; None: as each step asks
    secret_env: tuple[str, ...] = ()  # variables whose values are secrets, beside those whose name says so
    map: Path | None = None  # what references stand for here
    resume: Path | None = None  # an interrupted run's folder, in which to go on


def run_file(file: Path, overrides: Mapping[str, str], options: Options) -> int:
    """Run an AzureML pipeline YAML on this machine; returns the exit status.

    Writes `<runs>/<name>-<time>/`: `run.json`, `report.html`, `steps/<step>/{log.txt,metrics.jsonl,outputs/}`, and
    `outputs/` with a link to each named output. Raises `BadInput` before anything is written if the graph is wrong.
    """
    known = references.load(options.map)
    graph = graph_module.read(file, overrides, references=known)
    mount = not options.docker and mounts_work()
    runs = options.runs if options.resume is None else options.resume.parent
    machine = machine_for(graph, options, mount=mount)
    if options.dry_run:
        planned = plan(graph, runs.resolve() / f"{graph.name}-TIME", mount=mount)
        return _show(containers.wrapped(planned, machine.docker, known, None) if machine.docker else planned)
    values = [s for step in graph.steps.values() for s in step.inputs.values() if isinstance(s, graph_module.Value)]
    remote.fetch_all(values, screen.say)
    uri = store_uri(runs) if options.mlflow else None  # refuses what it must before the run folder is made
    with run_folder(runs, graph.name, options.resume) as folder:
        planned = plan(graph, folder, mount=mount)
        if machine.docker:
            planned = containers.wrapped(planned, machine.docker, known, screen.say)
        return _run(graph, planned, folder, options=options, uri=uri, machine=machine)


def machine_for(graph: graph_module.Graph, options: Options, *, mount: bool) -> Machine:
    """What the flags give the steps; raises `BadInput` when a step asks for more GPUs than there are."""
    asked = options.gpus
    if asked not in (None, "all", "none") and not str(asked).isdigit():
        raise BadInput.of("--gpus", asked, "is neither all nor none nor a number", "say how many GPUs a step gets")
    devices = [] if asked == "none" else lease.inventory()
    each = int(asked) if asked and asked.isdigit() else {"all": len(devices), "none": 0}.get(str(asked))
    wrong = lease.problems(graph.steps, each, devices)
    if wrong:
        raise BadInput(wrong)
    unleased = "all" if asked == "all" and not devices else ""  # docker may find what NVML does not
    container = docker.Docker(options.network, unleased, options.env) if options.docker else None
    wrong = [
        Problem(flag, name, "is not in the environment", "export it, or leave it out")
        for flag, names in (("--secret-env", options.secret_env), ("--env", options.env))
        for name in names
        if name not in os.environ
    ]
    if wrong:
        raise BadInput(wrong)
    found = masks.of(os.environ, options.secret_env)
    return Machine(lease.Lease(devices), each, container, found, options.secret_env, mounts=mount)


def _run(  # noqa: PLR0913 - what a run is made of
    graph: graph_module.Graph,
    planned: Mapping[str, Planned],
    folder: Path,
    *,
    options: Options,
    uri: str | None,
    machine: Machine,
) -> int:
    read = not options.force and not graph.force
    reuse = Reuse(folder.parent / ".cache", graph.name, read=read, masks=machine.masks) if options.cache else None
    inputs = {name: machine.masks.text(str(value)) for name, value in graph.inputs.items()}
    tracker = Tracker(uri, graph.name, list(planned), inputs) if uri else None
    record = Record(graph, planned, folder, machine)
    screen.say(f"{graph.name}: {len(planned)} steps, run folder {shown(folder)}")
    if any(step.identity for step in graph.steps.values()):
        screen.say("note: `identity` has no meaning here; each step runs as you")
    tell = screen.quiet if sys.stdout.isatty() else screen.plain

    def listener(name: str, state: State) -> None:
        with contextlib.suppress(OSError):  # a full disk must not leave the steps alone; the last write tells of it
            record.write(engine.states, "running", tracker)
        tell(name, state)

    engine = Engine(planned, listener, tracker=tracker, jobs=options.jobs or max(2, os.cpu_count() or 2),
                    stop_on_failure=graph.stop_on_failure, reuse=reuse, machine=machine)  # fmt: skip
    with stoppable(engine):
        record.write(engine.states, "running", tracker)
        with screen.live(engine, planned):
            status = engine.run()
        outputs = link_outputs(graph, planned, engine.states, folder)
        record.write(engine.states, status, tracker)
        report.write(folder)
    if tracker is not None:
        tracker.close(status, {"steps": len(planned)})
    _say_how_it_went(engine, status, folder, outputs, tracker)
    return _exit_status(engine, status)


def _show(planned: Mapping[str, Planned]) -> int:
    for name, step in planned.items():
        print(f"# {name}\n{step.command.text()}\n")
    return 0


@contextlib.contextmanager
def stoppable(engine: Engine) -> Iterator[None]:
    """While the block runs, Ctrl-C, a cancel from outside and a closed terminal ask the engine to stop, and no more.

    `nohup` goes on protecting.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    terminals = [stream for stream in (sys.stdout, sys.stderr) if stream.isatty()]

    def ask(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            signal.signal(number, signal.SIG_IGN)  # it may come from the terminal and from the shell
            for stream in terminals:
                screen.deafen(stream)
        engine.stop_soon()

    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def mounts_work() -> bool:
    """Whether this machine lets a step's inputs be mounted read-only (see runtime/launch.py)."""
    argv = [sys.executable, "-I", "-S", str(vendor.LAUNCHER), "--probe"]
    return sys.platform == "linux" and subprocess.run(argv, check=False, capture_output=True).returncode == 0


def _say_how_it_went(
    engine: Engine, status: str, folder: Path, outputs: Mapping[str, Path], tracker: Tracker | None
) -> None:
    seconds = max((s.clock + s.seconds for s in engine.states.values()), default=0.0)
    began = min((s.clock for s in engine.states.values() if s.clock), default=seconds)
    reused = sum(bool(state.reused) for state in engine.states.values())
    told = f", {reused} of {len(engine.states)} steps taken over from earlier runs" if reused else ""
    screen.say(f"{status} in {seconds - began:.1f} s{told}")
    for name, state in engine.states.items():
        if state.status == "failed":
            screen.say(f"{name}: {state.why}; log: {shown(engine.planned[name].log)}", error=True)
    rows = {name: str(shown(path)) for name, path in outputs.items()} | {
        "run": shown(folder / "run.json"),
        "report": shown(folder / "report.html"),
    }
    if tracker is not None and not tracker.failed:
        rows["mlflow"] = f"{shown_uri(tracker.uri)} (experiment {tracker.experiment}, run {tracker.parent_id})"
    width = max(map(len, rows))
    for name, text in rows.items():
        screen.say(f"  {name:<{width}}  {text}")


def _exit_status(engine: Engine, status: str) -> int:
    """0 completed, 130 stopped; else that of the first failed step where it is one of ours (2, 3, 4), otherwise 3."""
    if status in _EXIT:
        return _EXIT[status]
    codes = [s.exit_code for s in engine.states.values() if s.status == "failed"]
    return codes[0] if codes and codes[0] in (2, 3, 4) else 3
