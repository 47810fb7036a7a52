"""`ngcrun run tao_... --via launcher`: the action runs through NVIDIA's own `tao` launcher, which starts the image.

What the launcher does, and what follows (nvidia-tao 6.26.3, run against dockerd 20.10 with an image of our own):

- it pastes the command into a shell without quoting: words and paths of plain characters only;
- it mounts what a JSON file says (`LAUNCHER_MOUNTS`), each at its real path, and always writable;
- it passes every GPU; the spec's `num_gpus` and `gpu_ids` choose among them;
- it ends with status 0 even if TAO failed: TAO's last word and the files decide, as for every action;
- killed, it leaves the container running: we stop those that hold our results;
- without a terminal it fails, whatever its `tty` option says: launcher_tty.py gives it one;
- with `CI_PROJECT_DIR` set it puts all variables on docker's command line, a key among them: it is taken out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.command import Command
from runtime.errors import BadInput, Problem
from runtime.tao import env
from runtime.tao.network import Action, Network
from runtime.tao.spec_text import KEY_VARIABLE

VARIABLE = "NGCRUN_TAO_VIA"
VALUE = "launcher"
TTY = Path(__file__).with_name("launcher_tty.py")
REGISTRY = "nvcr.io"
SOCKET = Path("/var/run/docker.sock")  # the launcher's second client knows no other. Source: docker_handler.py
GROUPS = {"tao-deploy": "deploy", "tao-ds": "dataset"}  # every other image is in `model`
# As in NVIDIA's own mounts file. Source: docs.nvidia.com/tao, "Working with TAO Launcher"
OPTIONS: Mapping[str, Any] = {"shm_size": "16G", "ulimits": {"memlock": -1, "stack": 67108864}, "tty": True}
_PLAIN = re.compile(r"[\w./=+,:@-]+")
_PASSED = ("PYTHONUNBUFFERED", "WANDB_MODE", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


def asked_for(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this run is to go through the launcher."""
    return environ.get(VARIABLE) == VALUE


def begin(network: Network, action: Action, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What begins the command line; raises `BadInput` with everything that keeps the launcher from starting it."""
    folder = env.folder_of("launcher", environ)
    tao, problems = folder / "bin" / "tao", list(_machine(environ))
    group = GROUPS.get(network.image_of(action), "model")
    if not tao.is_file():
        todo = f"make it: python -m runtime.tao.env launcher ({env.SIZES['launcher']})"
        problems.insert(0, Problem("--via", VALUE, f"there is no {tao}", todo))
    elif network.name not in tasks(folder).get(group, {}):
        todo = "leave out --via launcher"
        problems.insert(0, Problem("network", network.name, f"the launcher has no `tao {group}` task for it", todo))
    if network.is_tf1 and environ.get(KEY_VARIABLE):
        todo = "leave out --via launcher: it can take the key of a TF1 network on its command line only"
        problems.append(Problem("--via", VALUE, "would show the key to every user of this machine", todo))
    if problems:
        raise BadInput(problems)
    return (sys.executable, "-I", "-S", str(TTY), str(tao), group, network.name)


def tasks(folder: Path) -> dict[str, dict[str, str]]:
    """`{group: {task: image reference}}` of the launcher that is installed in `folder`; empty when there is none."""
    files = sorted(folder.glob("lib/python3*/site-packages/nvidia_tao_cli/config/config.json"))
    table: dict[str, dict[str, str]] = {}
    for name, group in (json.loads(files[0].read_text())["task_group"] if files else {}).items():
        for image, tags in group["dockers"].items():
            for tag, row in tags.items():
                reference = f"{row['docker_registry']}/{image}:{tag}"
                table.setdefault(name, {}).update(dict.fromkeys(row["tasks"], reference))
    return table


def _machine(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Docker has to answer where the launcher looks for it, with a login for NVIDIA's registry."""
    docker = shutil.which("docker", path=environ.get("PATH"))
    if docker is None:
        yield Problem("--via", VALUE, "there is no docker on PATH", "install it with the NVIDIA Container Toolkit")
    elif environ.get("DOCKER_HOST", f"unix://{SOCKET}") != f"unix://{SOCKET}":
        yield Problem("DOCKER_HOST", environ["DOCKER_HOST"], f"the launcher only knows {SOCKET}", "unset it")
    else:
        probe = [docker, "version", "--format", "{{.Server.Version}}"]
        answer = subprocess.run(probe, capture_output=True, text=True, check=False, env=dict(environ))
        if answer.returncode != 0:
            wrong = (answer.stderr.strip().splitlines() or ["docker does not answer"])[-1].rstrip(".")
            yield Problem("--via", VALUE, wrong, "start docker, or ask for access to its socket")
    config = Path(environ.get("HOME", "/root")) / ".docker" / "config.json"
    if "OVERRIDE_REGISTRY" not in environ and not _logged_in(config):
        todo = f"docker login {REGISTRY} (user $oauthtoken, password: your NGC key)"
        yield Problem("--via", VALUE, f"{config} holds no login for {REGISTRY}", todo)


def _logged_in(config: Path) -> bool:
    try:
        return REGISTRY in json.loads(config.read_text(encoding="utf-8")).get("auths", {})
    except (OSError, ValueError):
        return False


def mounts_file(results: Path) -> Path:
    """Beside the results, not in them: it may hold the key for as long as the run lasts."""
    return results.parent.parent / f"{results.name}.mounts.json"


def command(start: Sequence[str], words: Sequence[str], results: Path, variables: Mapping[str, str]) -> Command:
    """Exactly what runs: `tao model <network> <action> -e SPEC`, told of its mounts by a file; raises `BadInput`."""
    odd = [word for word in words if not _PLAIN.fullmatch(word)]
    if odd:
        todo = "use paths of letters, digits and . _ - / only: the launcher pastes them into a shell"
        raise BadInput(Problem("--via", VALUE, f"cannot pass on {word!r}", todo) for word in odd)
    ours = {"LAUNCHER_MOUNTS": str(mounts_file(results)), "CI_PROJECT_DIR": "", "TAO_DOCKER_DISABLE": "0"}
    return Command((*start, *words), results, {**variables, **ours})


def mounts(
    paths: Sequence[Path], variables: Mapping[str, str], environ: Mapping[str, str], user: str
) -> dict[str, Any]:
    """What the mounts file says: every path at its own place, TAO's variables, shared memory, a terminal, our user.

    Raises:
        BadInput: a path goes through a symbolic link: the launcher mounts where it leads, and the spec names the link.
    """
    linked = [path for path in paths if path.absolute() != path.resolve()]
    if linked:
        raise BadInput(
            Problem("--via", VALUE, f"{path} goes through a symbolic link", f"give {path.resolve()}") for path in linked
        )
    given = {name: variables[name] for name in _PASSED if variables.get(name)} | {"HOME": "/tmp"}  # noqa: S108
    if environ.get(KEY_VARIABLE):
        given[KEY_VARIABLE] = environ[KEY_VARIABLE]
    places = [path for path in sorted(set(paths)) if not any(other in path.parents for other in paths)]
    return {
        "Mounts": [{"source": str(path), "destination": str(path)} for path in places],
        "Envs": [{"variable": name, "value": value} for name, value in given.items()],
        "DockerOptions": {**OPTIONS, "user": user},
    }


@contextlib.contextmanager
def prepared(results: Path, document: Mapping[str, Any]) -> Iterator[None]:
    """Write the mounts file, for this user only; afterwards take it away and stop what the launcher left running."""
    file = mounts_file(results)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        json.dump(document, opened, indent=2)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        _stop_containers(results)


def _stop_containers(results: Path) -> None:
    listed = subprocess.run(
        ["docker", "ps", "--quiet", "--filter", f"volume={results}"], capture_output=True, text=True, check=False
    )
    for container in listed.stdout.split():
        subprocess.run(["docker", "stop", "--time", "5", container], capture_output=True, check=False)
