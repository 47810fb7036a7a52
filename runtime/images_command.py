"""`ngcrun images list|check|bump|build|push`: the rows of containers/images.yaml, and the images made from them."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime import catalog, dockerfile, images, vendor, wheel
from runtime.command import Command
from runtime.errors import BadInput, Problem, ToolFailed
from runtime.images import Image

# Source: distribution/reference (a tag); the repository part of NGC's names is lower case.
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
REPOSITORY = re.compile(r"[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+")
_LOGIN = "docker login nvcr.io (user $oauthtoken, password: an NGC API key)"


def build_parser() -> argparse.ArgumentParser:
    """The command line of `ngcrun images`."""
    parser = argparse.ArgumentParser("ngcrun images", description="NGC images, and the environments made from them.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="every row: image, Python, CUDA, floors, what runs in it")
    commands.add_parser("check", help="rows, Dockerfiles and environments agree and are well formed")
    bump = commands.add_parser("bump", help="give a row another tag")
    bump.add_argument("row")
    bump.add_argument("tag")
    for name, text in (
        ("build", "build images with docker, or with ACR tasks"),
        ("push", "push images that were built"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("rows", nargs="+", metavar="ROW")
        command.add_argument("--registry", help="registry to name the images for, such as NAME.azurecr.io")
        command.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
        if name == "build":
            command.add_argument("--acr", metavar="NAME", help="build there: `az acr build`, which also pushes")
            command.add_argument("--base", help="another base image than the row's")
    return parser


def main(words: Sequence[str], root: Path) -> int:
    """Run one command; returns its exit status. Raises our own errors."""
    arguments = build_parser().parse_args(list(words))
    rows = images.load(root / "containers" / "images.yaml")
    if arguments.command == "list":
        print(table(rows))
        return 0
    if arguments.command == "check":
        problems = [*wrong(rows), *dockerfile.drift(rows, catalog.components(), root / "containers")]
        if problems:
            raise BadInput(problems)
        unsure = [key for key, row in rows.items() if not row.literal]
        print(f"{len(rows)} rows are well formed and agree with their files")
        print(f"not seen in public as such: {', '.join(unsure) or 'none'}")
        return 0
    if arguments.command == "bump":
        return bump(rows, arguments.row, arguments.tag, root)
    chosen = [images.find(rows, key) for key in arguments.rows]
    return _each(chosen, arguments, root)


def table(rows: Mapping[str, Image]) -> str:
    """The rows for the screen."""
    head = ("row", "image", "Python", "CUDA", "driver", "cc", "environment", "runs")
    lines = [head]
    for row in rows.values():
        floors = (row.python, row.cuda, row.driver, row.compute_capability)
        lines.append((row.key, row.reference, *floors, f"{row.environment}:{row.version}", row.runs))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(f"{c:<{w}}" for c, w in zip(line, widths, strict=False)), line[-1]]).rstrip() for line in lines
    )


def wrong(rows: Mapping[str, Image]) -> list[Problem]:
    """What is not well formed in the rows themselves."""
    found = []
    seen: dict[str, str] = {}
    for key, row in rows.items():
        if not REPOSITORY.fullmatch(row.image):
            found.append(
                Problem(f"images.yaml: {key}.image", row.image, "is no repository", "write host/name in lower case")
            )
        if not TAG.fullmatch(row.tag) or row.tag == "latest":
            found.append(
                Problem(f"images.yaml: {key}.tag", row.tag, "pins nothing or is no tag", "write a release's tag")
            )
        twin = seen.setdefault(f"{row.environment}:{row.version}", key)
        if twin != key:
            found.append(
                Problem(f"images.yaml: {key}.environment", row.environment, f"is also that of {twin}", "rename it")
            )
        if row.interpreter not in ("image", "isolated"):
            found.append(Problem(f"images.yaml: {key}.interpreter", row.interpreter, "is neither", "image or isolated"))
    return found


def bump(rows: Mapping[str, Image], key: str, tag: str, root: Path) -> int:
    """Write another tag into a row, no other byte; its facts have to be looked at again, so it says which."""
    from runtime.tao.yaml_edit import set_value

    row = images.find(dict(rows), key)
    if not TAG.fullmatch(tag) or tag == "latest":
        raise BadInput.of("tag", tag, "pins nothing or is no tag", "give a release's tag")
    path = root / "containers" / "images.yaml"
    text = path.read_text(encoding="utf-8")
    for name, value in (("tag", tag), ("version", tag if len(tag) < 30 else tag[:30]), ("literal", False)):
        text = set_value(text, f'"{key}".{name}', value)
    path.write_text(text, encoding="utf-8")
    facts = f"python={row.python} cuda={row.cuda} compute_capability={row.compute_capability} driver={row.driver}"
    print(f"{key}: {row.tag} -> {tag}; look at its facts again ({facts}), then run `ngcrun specs`")
    return 0


def _each(chosen: Sequence[Image], arguments: argparse.Namespace, root: Path) -> int:
    """Build or push each row; a dry run prints the commands."""
    with tempfile.TemporaryDirectory(prefix="ngcrun-image-") as folder:
        for row in chosen:
            context = Path(folder) / row.key
            argv = _argv(row, arguments, context)
            if arguments.dry_run:
                print(Command(argv, Path.cwd(), {}).text())
                continue
            _need(argv[0])
            if arguments.command == "build":
                stage(row, root, context)
            _run(row, argv)
    return 0


def _argv(row: Image, arguments: argparse.Namespace, context: Path) -> tuple[str, ...]:
    """The program and its words; a pure function."""
    name = f"{row.environment}:{row.version}"
    full = f"{arguments.registry}/{name}" if arguments.registry else name
    if arguments.command == "push":
        if not arguments.registry:
            raise BadInput.of("--registry", None, "is needed to push", "say --registry NAME.azurecr.io")
        return ("docker", "push", full)
    base = ("--build-arg", f"BASE={arguments.base}") if arguments.base else ()
    if arguments.acr:
        return ("az", "acr", "build", "--registry", arguments.acr, "--image", name, *base, str(context))
    return ("docker", "build", "--tag", full, *base, str(context))


def stage(row: Image, root: Path, context: Path) -> None:
    """The build context: the row's folder and the wheel of this package, as publishing uploads it."""
    from runtime.azureml import snapshot

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
    """Run the program with its output on the screen's last line and in a log; its complaint as one line of ours."""
    log = Path(tempfile.gettempdir()) / f"ngcrun-image-{row.key}-{os.getpid()}.log"
    print(f"{row.key}: {' '.join(argv[:2])} ...", flush=True)
    began = time.monotonic()
    try:
        vendor.run(argv, log)
    except ToolFailed as error:
        raise ToolFailed(f"image {row.key}: {_reason(error.tail, row)}", log, error.tail) from None
    log.unlink(missing_ok=True)
    print(f"{row.key}: done in {time.monotonic() - began:.0f} s", flush=True)
    sys.stdout.flush()


def _reason(tail: str, row: Image) -> str:
    """What docker or az meant. Source of docker's texts: measured with docker 20.10 and 28.2."""
    if "Cannot connect to the Docker daemon" in tail:
        return "the docker daemon does not answer; start it, or say --acr NAME"
    if "permission denied while trying to connect" in tail:
        return "you may not use the docker daemon; join the group docker, or say --acr NAME"
    if re.search(r"unauthorized|authentication required|denied: ", tail):
        return f"its base {row.reference} asks for a login; {_LOGIN}"
    if re.search(r"manifest unknown|not found: manifest|no such host|i/o timeout", tail):
        return f"its base {row.reference} could not be fetched; look at the tag and the network"
    return "the build failed"
