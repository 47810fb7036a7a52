"""One action of TAO from ports to outputs: examine, start, follow, judge, collect."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import vendor
from runtime.command import Command
from runtime.errors import BadInput, MissingOutput, OutputsElsewhere, ToolFailed
from runtime.metrics import Metrics
from runtime.tao import checkpoint, finding, gpu, launcher, network, overlay, program, spec_paths, spec_text, state
from runtime.tao.console import Console
from runtime.tao.examine import Answer, Asked, examine
from runtime.tao.failures import explain
from runtime.tao.network import Action, Network
from runtime.tao.program import Run
from runtime.tao.results import collect, status_file
from runtime.tao.status import Followed, Follower

POLL_S = 0.5
GRACE_S = 25.0  # for TAO's checkpoint on SIGTERM; an AzureML low-priority node has 30 s. Source: learn.microsoft.com
LOG_TAIL = 400


@dataclass(frozen=True)
class Job:
    """A checked action, ready to start; `kept` is the state folder, None where nothing is to be resumed."""

    asked: Asked
    answer: Answer
    results: Path
    kept: Path | None
    inputs: Sequence[Path] = ()  # read besides those that are asked for

    @property
    def log(self) -> Path:
        """What TAO prints, while it runs: beside the results, where no other run writes."""
        return self.results.with_name("log.txt")

    @property
    def failed_log(self) -> Path:
        """Where the log stays when there are no outputs for it to lie in."""
        return self.results.parent.parent / f"{self.results.name}.log"

    @property
    def network(self) -> Network:
        """The network it runs."""
        return self.asked.network

    @property
    def action(self) -> Action:
        """The action it runs."""
        return self.asked.action


def perform(action_name: str, ports: Any, metrics: Metrics, results: Path, kept: Path | None = None) -> None:
    """Run `action_name` of the network that the ports name and leave what it wrote in `results`.

    Files written: all that TAO writes, `spec.yaml` or `spec.txt` (what was run), `model.json` (which file is the
    checkpoint, of which network, with which figures), `metrics.json`, `log.txt`.

    Raises:
        BadInput: with all that is wrong, before anything starts.
        ToolFailed: TAO failed, or ended without its last word.
        MissingOutput: TAO said that it finished, and a file that it should have written is not there.
    """
    job = _prepare(action_name, ports, results, kept)
    metrics.tags({"tao.network": job.network.name, "tao.action": action_name})
    with state.locked(kept) if kept else contextlib.nullcontext(), _log_kept(job):
        resumed = state.restore(kept, results, job.network, action_name) if kept else None
        if kept and resumed is not None:
            if state.spec_changed(kept, _spec_of(job)):
                print("warning: state: the earlier start had another spec; this one takes its own", file=sys.stderr)
            print(f"resuming from {resumed.name}, kept by an earlier start", flush=True)
        followed = _run(job, metrics, resumed)
    if program.node_rank(os.environ) > 0:
        raise OutputsElsewhere("node 0 of this job writes the outputs")
    collect(job.network, job.action, results, followed, metrics)
    shutil.move(job.log, results / "log.txt")


def _spec_of(job: Job) -> str:
    """The spec without the folder that this start alone works in."""
    return job.answer.text.replace(str(job.results), "${results}")


def _mirror(job: Job) -> state.Mirror:
    assert job.kept is not None  # noqa: S101 - asked by the caller; narrows for mypy
    return state.Mirror(job.results, job.kept, job.network, job.action.name, _spec_of(job))


def _prepare(action_name: str, ports: Any, results: Path, kept: Path | None) -> Job:
    found = network.find(ports.network)
    asked = Asked(
        network=found,
        action=found.action(action_name),
        spec=ports.spec,
        overrides=[*getattr(ports, "chosen", ()), *spec_text.parse_overrides(ports.spec_overrides)],
        dataset=getattr(ports, "dataset", None),
        records=getattr(ports, "records", None),
        checkpoint=getattr(ports, "checkpoint", None),
        pretrained=getattr(ports, "pretrained", None),
        **{name: getattr(ports, name, None) for name in network.CHOICES},
        results=results,
        device=ports.device,
        trusted=ports.trust_checkpoint,
        has_key=program.key_in(os.environ),
    )
    answer = examine(asked)
    answer.findings += _startable(asked)
    for warning in (f for f in answer.findings if f.warning):
        print(f"warning: {warning.problem.line()}", file=sys.stderr)
    finding.raise_errors(answer.findings)
    return Job(asked, answer, results, kept, getattr(ports, "inputs", ()))


@contextlib.contextmanager
def _log_kept(job: Job) -> Iterator[None]:
    """Save the log of a run that fails or is stopped: its results are thrown away."""
    job.failed_log.unlink(missing_ok=True)  # of an earlier start
    try:
        yield
    except BaseException:
        if job.log.is_file():
            _redact(job.log)
            shutil.move(job.log, job.failed_log)
        raise


def _startable(asked: Asked) -> Iterator[finding.Finding]:
    try:
        program.find(asked.network, asked.action, device=asked.device)
        program.distribution(os.environ)
    except BadInput as error:
        yield from (finding.Finding(problem) for problem in error.problems)


def _run(job: Job, metrics: Metrics, resumed: Path | None) -> Followed:
    name = "spec.yaml" if job.network.dialect == "yaml" else "spec.txt"
    spec = job.results / name
    used = overlay.is_used(job.action, job.answer.text)
    with _overlay(job) if used else contextlib.nullcontext(job.answer.given) as given:
        spec.write_bytes(network.fill(job.answer.text, given).encode())
        run = Run(
            job.network, job.action, spec, job.results, given, job.asked.device,
            load_objects=resumed is not None or _loads_objects(job.answer), has_key=job.asked.has_key,
        )  # fmt: skip
        found = program.find(job.network, job.action, device=job.asked.device)
        command = program.command(run, found, os.environ)
        with (
            launcher.prepared(job.results, _mounts(job, command, given)) if found.launched else contextlib.nullcontext()
        ):
            followed, status = _follow(job, command, metrics, skip=resumed is not None)
    # On several nodes TAO rewrites the file that it was given. Ours will stand elsewhere than where TAO wrote, and the
    # same run gives the same bytes: as a spec it can be given again.
    spec.write_bytes(_spec_of(job).encode())
    _redact(job.log)
    _judge(job, status, followed)
    metrics.artifact(spec)
    return followed


def _overlay(job: Job) -> contextlib.AbstractContextManager[Mapping[str, str]]:
    return overlay.made(job.network, job.answer.given, job.asked.checkpoint, job.results)


def _loads_objects(answer: Answer) -> bool:
    """Whether TAO is given a file to unpickle; examine has looked at it. Else torch's safe loader stays on."""
    return any(checkpoint.is_pickled(Path(answer.given[n])) for n in ("checkpoint", "pretrained") if n in answer.given)


def _mounts(job: Job, command: Command, given: Mapping[str, str]) -> dict[str, Any]:
    named = (Path(value) for _, value in spec_paths.path_values(job.answer.values))
    made = [Path(given[overlay.NAME])] if overlay.NAME in given else []
    paths = [job.results, *made, *(path for path in (*named, *_read(job)) if path.is_absolute() and path.exists())]
    return launcher.mounts(paths, command.env, os.environ, f"{os.getuid()}:{os.getgid()}")


def _read(job: Job) -> list[Path]:
    """What is read and never written."""
    asked = job.asked
    paths = (asked.dataset, asked.records, asked.checkpoint, asked.pretrained, asked.calibration, *job.inputs)
    return [path.absolute() for path in paths if path is not None]


def _follow(job: Job, command: Command, metrics: Metrics, *, skip: bool) -> tuple[Followed, int]:
    """Start TAO and stay with it: its log on the screen, its status in the metrics, its checkpoints in `kept`."""
    follower = Follower(status_file(job.results, job.action), metrics, skip=skip)
    console = Console(job.log, os.environ.get(spec_text.KEY_VARIABLE, ""))
    mirror = _mirror(job) if job.kept else None
    environment = program.without_empty(command.environment(os.environ))
    try:
        with (
            gpu.sampled(metrics, job.asked.device),
            vendor.running(
                command.argv, job.log, env=environment, cwd=command.cwd, read_only=_read(job), grace_s=GRACE_S
            ) as process,
        ):
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                console.show(follower.read())
                if mirror:
                    mirror()
            return follower.close(), int(process.returncode)
    finally:
        console.close(follower.close())
        if mirror:
            mirror(final=True)


def _redact(log: Path) -> None:
    """Take the key out of the log, should TAO have printed it."""
    secret = os.environ.get(spec_text.KEY_VARIABLE, "").encode()
    if secret and log.is_file() and secret in (text := log.read_bytes()):
        log.write_bytes(text.replace(secret, b"***"))


def _judge(job: Job, status: int, followed: Followed) -> None:
    """Success is exit status 0, TAO's own last word, and the declared files: none of them alone is enough."""
    who = f"{job.network.name} {job.action.name}"
    tail = vendor.tail(job.log, LOG_TAIL)
    finished = followed.finished or not job.action.status
    # The Keras networks of TF1 stop at a NaN and call it a success. Source: tao_tensorflow1_backend, TerminateOnNaN.
    if status != 0 or not finished or "Invalid loss, terminating training" in tail:
        reason = explain(tail, followed.failures)
        ended = "was killed (signal 9): out of memory, or preempted" if status in (-9, 137) else ""
        what = f"{reason.what}; {reason.todo}" if reason else ended or f"ended with exit status {status}"
        if status == 0 and reason is None:
            what = "exit status 0 but without TAO's last word ('... finished successfully.'): it was stopped or crashed"
        raise ToolFailed(f"{who}: {what}", job.failed_log, tail)
    lost = [n for n, v in followed.figures.items() if re.match(r"(train.*)?loss", n) and not math.isfinite(v)]
    if lost:  # PyTorch's networks train on, and end well
        what = (
            f"the loss became NaN ({', '.join(lost)}); lower the learning rate, or look for corrupt images and labels"
        )
        raise ToolFailed(f"{who}: {what}", job.failed_log, tail)
    if program.node_rank(os.environ) > 0:
        return
    missing = [glob for glob in job.action.writes if not any(_not_empty(p) for p in job.results.glob(glob))]
    if missing:
        wrote = f"TAO said that it finished, but wrote no {', '.join(missing)}"
        raise MissingOutput(f"{who}: {wrote}; log: {job.failed_log}")


def _not_empty(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.is_file() and path.stat().st_size > 0
