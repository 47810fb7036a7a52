"""`ngcrun images build|push`: what docker and az are told, run with a log, and their steps on the screen."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from runtime import vendor, wheel
from runtime.command import Command
from runtime.errors import BadInput, ToolFailed
from runtime.images import Image
from runtime.registry import NGC

# What the two builders of docker, and ACR's, print when a step begins.
_STEP = re.compile(r"^(?:Step \d+/\d+ : |#\d+ \[)(.*)")
_LOOK_S = 0.2
_DENIED = "unauthorized|authentication required|denied: |access denied|no basic auth"
_LOGIN = "docker login nvcr.io (user $oauthtoken, password: an NGC API key)"


def each(chosen: Sequence[Image], arguments: argparse.Namespace, root: Path) -> int:
    """Build or push each row; a dry run prints the commands."""
    with tempfile.TemporaryDirectory(prefix="ngcrun-image-") as folder:
        for row in chosen:
            context = Path(folder) / row.key
            commands = argvs(row, arguments, context)
            if arguments.dry_run:
                for argv in commands:
                    print(Command(argv, Path.cwd(), {}).text())
                continue
            _need(commands[0][0])
            if arguments.command == "build":
                stage(row, root, context)
            for argv in commands:
                _run(row, argv)
    return 0


def argvs(row: Image, arguments: argparse.Namespace, context: Path) -> list[tuple[str, ...]]:
    """The programs and their words; a pure function."""
    name = f"{row.environment}:{row.version}"
    registry = arguments.registry
    if arguments.command == "push":
        if not registry:
            raise BadInput.of("--registry", None, "is needed to push", "say --registry NAME.azurecr.io")
        return [("docker", "push", f"{registry}/{name}")]
    base = ("--build-arg", f"BASE={arguments.base}") if arguments.base else ()
    if arguments.acr:
        return [("az", "acr", "build", "--registry", arguments.acr, "--image", name, *base, str(context))]
    registry = arguments.push or registry
    full = f"{registry}/{name}" if registry else name
    network = ("--network", arguments.network) if arguments.network else ()
    build = ("docker", "build", "--tag", full, *network, *base, str(context))
    return [build, ("docker", "push", full)] if arguments.push else [build]


def stage(row: Image, root: Path, context: Path) -> None:
    """The build context: the row's folder and the wheel of this package, as publishing uploads it."""
    from runtime import snapshot

    source = root / "containers" / row.key
    if not (source / "Dockerfile").is_file():
        raise BadInput.of("row", row.key, "has no Dockerfile: no component runs in it", "name a row that one does")
    snapshot.copy(source, context)
    shutil.copy2(wheel.build(root), context)


def _need(program: str) -> None:
    if shutil.which(program) is None:
        todo = "install docker" if program == "docker" else "install the Azure CLI and `az login`"
        raise BadInput.of("images", program, "is not on this machine", todo)


def _run(row: Image, argv: tuple[str, ...]) -> None:
    """Run the program; its steps go to the screen as they begin, all that it says into a log, kept when it fails."""
    log = Path(tempfile.gettempdir()) / f"ngcrun-image-{row.key}-{os.getpid()}.log"
    log.unlink(missing_ok=True)
    print(f"{row.key}: {' '.join(argv[:2])} ...", flush=True)
    began = time.monotonic()
    with vendor.running(argv, log) as process:
        shown = 0
        while process.poll() is None:
            shown = _steps(row.key, log, shown)
            time.sleep(_LOOK_S)
        _steps(row.key, log, shown)
    if process.returncode != 0:
        tail = vendor.tail(log)
        raise ToolFailed(f"image {row.key}: {reason(tail, row, argv)}", log, tail)
    log.unlink(missing_ok=True)
    print(f"{row.key}: done in {time.monotonic() - began:.0f} s", flush=True)


def _steps(key: str, log: Path, shown: int) -> int:
    """Print the steps in the log from byte `shown` on, whole lines only; returns up to where they were looked at."""
    with log.open("rb") as file:
        file.seek(shown)
        whole, newline, _ = file.read().rpartition(b"\n")
    for line in whole.decode("utf-8", "replace").splitlines():
        if step := _STEP.match(line):
            print(f"{key}:   {step[1][:100]}", flush=True)
    return shown + len(whole) + len(newline)


def reason(tail: str, row: Image, argv: Sequence[str]) -> str:
    """What docker or az meant, by the first text that fits. Source: texts of docker 20.10 and 28.2, measured."""
    target = argv[-1].partition("/")[0]
    base = next((word.removeprefix("BASE=") for word in argv if word.startswith("BASE=")), row.reference)
    host = base.partition("/")[0]
    how = _LOGIN if host == NGC else f"docker login {host}"
    daemon = {
        "Cannot connect to the Docker daemon": "the docker daemon does not answer; start it, or say --acr NAME",
        "permission denied while trying": "you may not use the docker daemon; join the group docker, or say --acr NAME",
    }
    pushing = {
        "does not exist locally": f"{argv[-1]} is not built here; "
        f"run `ngcrun images build {row.key} --registry {target}`",
        _DENIED: f"{target} asks for a login; docker login {target} (Azure: az acr login --name NAME)",
        "": "the push failed",
    }
    building = {
        _DENIED: f"its base {base} asks for a login; {how}",
        "manifest unknown|manifest for .* not found|no such host|i/o timeout": f"its base {base} is not here "
        "and could not be fetched; look at the tag and the network",
        "": "the build failed",
    }
    texts = daemon | (pushing if argv[1] == "push" else building)
    return next(meaning for text, meaning in texts.items() if re.search(text, tail))
