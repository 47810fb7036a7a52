"""What has to be there before a step can run in a container: the daemon, and each image, built or pulled once."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from runtime import images, snapshot, vendor
from runtime.cache import cache_folder, locked
from runtime.errors import BadInput, ToolFailed
from runtime.local import content, docker, environments
from runtime.local.environments import Environment
from runtime.local.plan import Planned
from runtime.local.references import References

Say = Callable[[str], None]


def wrapped(
    planned: Mapping[str, Planned], options: docker.Docker, references: References, say: Say | None
) -> dict[str, Planned]:
    """Each step as a `docker run` of its own image. With `say`, images are built and pulled, and told of; else named.

    Raises `BadInput` for an environment that cannot be had here, `ToolFailed` where docker does not do what it must.
    """
    docker.require_possible(planned)
    root = images.checkout()
    rows = images.load(root / "containers" / "images.yaml") if root else {}
    components = {name: step.step.component for name, step in planned.items()}
    found = environments.all_of(components, references, rows, root)
    names = {environment: reference(environment, root) for environment in set(found.values())}
    if say is not None:
        remove_leftovers()
        ids = {environment: _make(environment, name, root, say) for environment, name in names.items()}
    steps = {}
    for name, step in planned.items():
        image = names[found[name]]
        steps[name] = docker.contained(step, image, options, "" if say is None else ids[found[name]])
    return steps


def reference(environment: Environment, root: Path | None) -> str:
    """The image by its name; one that is built here is named by the content that it is built from."""
    if environment.context is None:
        return environment.image
    key = content.of(environment.context, None, snapshot.files(environment.context)).digest
    if environment.row is not None and root is not None:
        key = content.digest_of(f"{key} {snapshot.package_fingerprint(root)}")
    name = environment.row.environment if environment.row else environment.context.name.lower()
    return f"ngcrun-local/{docker.image_name(name)}:{key[:16]}"


def _make(environment: Environment, name: str, root: Path | None, say: Say) -> str:
    """The image's id, once it is here: built where it has a context, pulled where it has none."""
    with locked(cache_folder() / "images" / docker.image_name(name)):
        known = image_id(name)
        if known:
            return known
        log = Path(tempfile.gettempdir()) / f"ngcrun-{docker.image_name(name)}-{os.getpid()}.log"
        if environment.context is None:
            say(f"docker pull {name} ...")
            _docker(("docker", "pull", name), log, f"image {name}")
        else:
            say(f"docker build {name} (from {environment.context.name}) ...")
            _build(environment, name, root, log)
        log.unlink(missing_ok=True)
        return image_id(name)


def _build(environment: Environment, name: str, root: Path | None, log: Path) -> None:
    assert environment.context is not None  # noqa: S101 - the caller has looked; narrows for mypy
    with tempfile.TemporaryDirectory(prefix="ngcrun-image-") as folder:
        context = Path(folder) / "context"
        if environment.row is not None and root is not None:
            from runtime.images_build import stage

            stage(environment.row, root, context)
        else:
            snapshot.copy(environment.context, context)
        file = context / environment.dockerfile
        _docker(("docker", "build", "--tag", name, "--file", str(file), str(context)), log, f"image {name}")


def image_id(name: str) -> str:
    """`sha256:...` of an image on this machine; empty when it is not here. Raises `ToolFailed` without a daemon."""
    argv = ["docker", "image", "inspect", "--format", "{{.Id}}", name]
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise BadInput.of("--docker", "docker", "is not on this machine", "install docker, or run without it") from None
    if done.returncode == 0:
        return done.stdout.strip()
    if "No such image" in done.stderr:
        return ""
    raise ToolFailed(docker.said(done.stderr) or done.stderr.strip())


def _docker(argv: tuple[str, ...], log: Path, what: str) -> None:
    try:
        vendor.run(argv, log)
    except ToolFailed as error:
        lines = [line for line in error.tail.splitlines() if line.strip()]
        why = docker.said(error.tail) or (lines[-1] if lines else error.what)
        raise ToolFailed(f"{what}: {' '.join(argv[:2])}: {why}", log, error.tail) from None


def remove_leftovers() -> None:
    """Remove the containers of ngcrun processes that are gone: killed with their guards, or with the machine."""
    ask = ["docker", "ps", "--all", "--filter", "label=ngcrun.pid", "--format", '{{.ID}} {{.Label "ngcrun.pid"}}']
    try:
        done = subprocess.run(ask, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return  # told when an image is looked for
    for line in done.stdout.splitlines():
        identifier, _, owner = line.partition(" ")
        if owner != docker.owner(int(owner.partition(".")[0] or 0)):
            subprocess.run(["docker", "rm", "--force", identifier], check=False, capture_output=True)
