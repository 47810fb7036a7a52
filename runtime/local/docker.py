"""The runner that puts each step into a container: one `docker run` a step, from the same Command.

It drives docker's command line and not its SDK: what `--dry-run` prints is then exactly what runs, anyone can repeat it
by hand, and nothing has to be installed beside docker. What the CLI does not do, ending a container whose client was
killed, runtime/local/guard.py does. Source of docker's behaviour and texts: measured with docker 28.2.2 and dockerd
20.10 (exit codes, `--mount`, `--init`, signals), docs/pipelines.md.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.command import Command
from runtime.errors import BadInput, Problem
from runtime.local.distribute import RANKS
from runtime.local.plan import Planned

# Known when a step starts: the port at which its processes meet, and where it reports. Absent, they stay absent.
AT_START = ("MASTER_PORT",)
REPORTS = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME")
SHM = "2g"  # AzureML's default. Source: MicrosoftDocs/azure-ai-docs, reference-yaml-job-command, resources.shm_size
# Variables that mean the host's folders or programs: the client's own, or of no meaning in another file system.
_CLIENTS = re.compile(r"PATH|HOME|LD_.*|DOCKER_.*|SHELL|USER|LOGNAME|PWD|TMPDIR")
_FORBIDDEN = re.compile(
    r"--(privileged|pid|ipc|uts|userns|cgroup-parent|volume|mount|user|rm|detach|name|cidfile)\b|-[vdu]\b"
)


@dataclass(frozen=True)
class Docker:
    """What the flags of `ngcrun pipeline --docker` say."""

    network: str = "none"
    gpus: str = ""  # `all`: whatever docker finds, without a lease
    env: tuple[str, ...] = ()  # variables of this machine that the containers get; no other is handed on
    user: str = f"{os.getuid()}:{os.getgid()}"


def wrap(planned: Planned, image: str, options: Docker) -> Planned:
    """The step as a `docker run`; a pure function. Paths are the same inside, so the command stays as it is."""
    inner = planned.command
    words = ["docker", "run", "--init", "--name", container_name(planned), "--entrypoint", inner.argv[0]]
    words += ["--label", f"ngcrun.step={planned.folder}", "--label", f"ngcrun.pid={owner(os.getpid())}"]
    words += ["--pull", "never", "--network", options.network, "--user", options.user, "--workdir", str(inner.cwd)]
    words += ["--shm-size", str(_resources(planned).get("shm_size") or SHM)]
    words += ["--cidfile", str(planned.folder / "container.id")]
    scripts = [path for path in (RANKS,) if str(path) in inner.argv]
    for path in sorted({*planned.shared(), *scripts}):
        words += ["--mount", mount(path.resolve(), path, read_only=True)]
    words += ["--mount", mount(planned.folder, planned.folder)]
    words += ["--gpus", options.gpus] if options.gpus else []
    env = {"HOME": str(inner.cwd), "NGCRUN_IMAGE": image, **inner.env}  # runtime/triton/provenance.py reads it
    words += [word for name, value in env.items() for word in _env_words(name, value)]
    reports = REPORTS if options.network != "none" else ()
    words += [word for name in (*options.env, *AT_START, *reports) for word in ("--env", name)]
    words += docker_args(planned.step.spec)
    handed_on = {name: value for name, value in env.items() if not _CLIENTS.fullmatch(name)}
    return replace(planned, command=Command((*words, image, *inner.argv[1:]), inner.cwd, handed_on), image=image)


def within(env: Mapping[str, str]) -> dict[str, str]:
    """What a container without a network can use of what a step is given when it starts."""
    return {name: value for name, value in env.items() if name in AT_START}


def container_name(planned: Planned) -> str:
    """One name for one step of one run, so that it can be found again: `ngcrun-<run>-steps-<step>`."""
    return re.sub(r"[^a-zA-Z0-9_.-]", "-", f"ngcrun-{planned.folder.relative_to(planned.runs)}")


def mount(source: Path, target: Path, *, read_only: bool = False) -> str:
    """The value of `--mount`: CSV, so that a comma in a path does not end it. Unlike `-v` it refuses what is absent."""
    row = io.StringIO()
    fields = ["type=bind", f"source={source}", f"target={target}", *(["readonly"] if read_only else [])]
    csv.writer(row, lineterminator="").writerow(fields)
    return row.getvalue()


def with_gpus(command: Command, leased: Sequence[str]) -> Command:
    """The `docker run` with the devices that a lease gave, by UUID."""
    words = ("--gpus", f'"device={",".join(leased)}"')  # the quotes are docker's own CSV
    return replace(command, argv=(*command.argv[:2], *words, *command.argv[2:])) if leased else command


def _env_words(name: str, value: str) -> list[str]:
    """By name alone the value comes from the client's environment and is on no command line."""
    return ["--env", f"{name}={value}" if _CLIENTS.fullmatch(name) else name]


def _resources(planned: Planned) -> Mapping[str, Any]:
    found = planned.step.spec.get("resources")
    return found if isinstance(found, Mapping) else {}


def docker_args(spec: Mapping[str, Any]) -> list[str]:
    """`resources.docker_args` as words: AzureML takes one string; a list is taken, too."""
    given = (spec.get("resources") or {}).get("docker_args") or ()
    return shlex.split(given) if isinstance(given, str) else [str(word) for word in given]


def problems(planned: Mapping[str, Planned]) -> list[Problem]:
    """`docker_args` that would undo what holds a step in: never privileged, no mounts of its own."""
    found = []
    for step in planned.values():
        for word in docker_args(step.step.spec):
            if _FORBIDDEN.match(word):
                place = ("resources", "docker_args")
                todo = "remove it; inputs and outputs are mounted as the ports say"
                found.append(step.step.component.problem(place, word, "is not allowed to a step", todo))
    return found


def require_possible(planned: Mapping[str, Planned]) -> None:
    """Raises `BadInput` for what docker could not be told."""
    wrong = problems(planned)
    held = "holds a double quote or a line break, which docker takes in no mount"
    wrong += [
        Problem("runs", str(step.folder), held, "use another")
        for step in planned.values()
        if re.search('["\n\r]', str(step.folder))
    ]
    if wrong:
        raise BadInput(wrong)


_TEXTS = (
    ("Cannot connect to the Docker daemon", "the docker daemon does not answer; start it, or run without --docker"),
    ("permission denied while trying to connect", "you may not use the docker daemon; join the group docker"),
    ("could not select device driver", "docker cannot give a GPU to a container here; install nvidia-container-toolkit "
     "and restart docker, or leave out --gpus"),
    ("nvidia-container-cli:", "the NVIDIA container runtime could not set up the GPU; see the log, and run nvidia-smi"),
    ("Unable to find image", "its image is not on this machine; docker pull it"),
    ("No such image", "its image is not on this machine; docker pull it"),
    ("invalid mount config", "an input is not where it was; see the log"),
    ("executable file not found", "its image has no such program; see the log"),
    ("is already in use by container", "a container of this name is there; docker rm -f it"),
)  # fmt: skip


def reason(log_tail: str, exit_code: int | None) -> str:
    """What docker meant, as one line of ours; empty when the failure is the step's own."""
    if exit_code not in (125, 126, 127):
        return ""
    return said(next((line for line in log_tail.splitlines() if line.startswith("docker: ")), log_tail))


def said(text: str) -> str:
    """One line of ours for a complaint of docker's; empty for one that is not known."""
    return next((told for part, told in _TEXTS if part in text), "")


def owner(pid: int) -> str:
    """A process, told from a later one of the same number by when it began; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return f"{pid}.{stat.rpartition(')')[2].split()[19]}"  # starttime. Source: man 5 proc


def image_name(text: str) -> str:
    """Text as part of an image's name: lower case letters, digits, `._-`."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "image"


def contained(planned: Planned, image: str, options: Docker, image_id: str = "") -> Planned:
    """The step, and each trial of a sweep, in a container.

    `image_id`: what the image is, by content; a tag may move, and then nothing is taken over.
    """
    wrap_trial = planned.trial

    def trial(number: int, values: Mapping[str, Any]) -> Planned:
        assert wrap_trial is not None  # noqa: S101 - looked at below; narrows for mypy
        return contained(wrap_trial(number, values), image, options, image_id)

    own = replace(wrap(planned, image, options), image=image_id or image)
    return replace(own, trial=trial) if wrap_trial is not None else own
