"""Outputs of a component, whole or not at all: written beside their places, then moved there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runtime.component import Component, Output
from runtime.errors import BadInput, ToolFailed
from runtime.remote_path import Remote, as_remote

# The machine's state, not our bug: no traceback for these.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE}


@contextlib.contextmanager
def staged(component: Component, targets: dict[str, Path], *, shared: bool) -> Iterator[dict[str, Path]]:
    """A place to write each output, beside its target where that can be renamed; gone afterwards in any case.

    `shared`: in the target where that is a mount, for other nodes write there, too.
    """
    stages: dict[str, Path] = {}
    temporary: list[Path] = []
    try:
        for name, target in targets.items():
            marker = component.all_ports()[name].marker
            assert isinstance(marker, Output)  # noqa: S101 - output_paths chose them; narrows for mypy
            is_file = marker.type == "uri_file"
            stages[name] = _stage(name, target, is_file=is_file, shared=shared, temporary=temporary)
        yield stages
    finally:
        for path in temporary:
            shutil.rmtree(path, ignore_errors=True)


def apart(targets: dict[str, Path]) -> None:
    """Raises `BadInput` for an output that lies in another one."""
    for name, target in targets.items():
        for other, place in targets.items():
            if name != other and target.resolve().is_relative_to(place.resolve()):
                raise BadInput.of(name, target, f"is or lies in the output {other}", "name another place")


def _stage(name: str, target: Path, *, is_file: bool, shared: bool, temporary: list[Path]) -> Path:
    remote = as_remote(target)
    if remote is not None:
        return _stage_here(name, remote, is_file=is_file, temporary=temporary)
    others = f".{target.name}.partial-*" if shared else ""  # those of the other processes of this job
    if target.is_file() or (target.is_dir() and any(not (others and path.match(others)) for path in target.iterdir())):
        raise BadInput.of(name, target, "already holds data", "remove it or name another place")
    try:
        target = target.resolve()  # a link to a folder stays a link
        target.parent.mkdir(parents=True, exist_ok=True)
        place = _beside(target) or (target if shared else None)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=place))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput.of(
            name, target, f"cannot be written ({reason})", "name a place that you may write to"
        ) from error
    temporary.append(folder)
    stage = folder / target.name
    if not is_file:
        stage.mkdir()
    return stage


def _stage_here(name: str, target: Remote, *, is_file: bool, temporary: list[Path]) -> Path:
    """What goes into storage is whole on this machine first."""
    if target.exists():
        raise BadInput.of(name, target, "already holds data", "remove it or name another place")
    temporary.append(Path(tempfile.mkdtemp(prefix="ngcrun-")))
    stage = temporary[-1] / target.name
    if not is_file:
        stage.mkdir()
    return stage


def _beside(target: Path) -> Path | None:
    """The target's parent; None (the temporary folder) when the target is a mount of its own, as on AzureML."""
    return None if target.is_dir() and target.stat().st_dev != target.parent.stat().st_dev else target.parent


def publish_all(stages: dict[str, Path], targets: dict[str, Path]) -> None:
    """Move every finished output into place; when one cannot be, those already there are taken away again."""
    done: list[Path] = []
    try:
        for name, stage in stages.items():
            publish(stage, targets[name])
            done.append(targets[name])
    except BaseException as error:
        for target in done:
            _take_away(target.resolve())
        if isinstance(error, OSError) and error.errno == errno.ENOTEMPTY:
            raise ToolFailed(f"{error.filename}: was filled by another run meanwhile; name another place") from error
        failure = machine_failure(error)
        if failure is None:
            raise
        raise failure from error


def publish(stage: Path, target: Path) -> None:
    """Move a finished output into place: by rename, by copying into a folder that is a mount, by an upload."""
    remote = as_remote(target)
    if remote is not None:
        return remote.upload(stage)
    target = target.resolve()
    if stage.is_relative_to(target):
        for path in stage.iterdir():
            path.rename(target / path.name)
        return None
    if target.is_dir() and stage.is_dir():
        try:
            target.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or any(target.iterdir()):
                raise
            return _copy_into(stage, target)
    stage.rename(target)
    return None


def _copy_into(stage: Path, mount: Path) -> None:
    try:
        shutil.copytree(stage, mount, dirs_exist_ok=True)
    except BaseException:
        _take_away(mount)
        raise


def _take_away(target: Path) -> None:
    """Remove an output that we put there."""
    remote = as_remote(target)
    if remote is not None:
        remote.remove()
    elif not target.is_dir():
        target.unlink(missing_ok=True)
    else:
        shutil.rmtree(target, ignore_errors=True)  # the mount itself stays, empty


def machine_failure(error: BaseException) -> ToolFailed | None:
    """`ToolFailed` when the machine (a full disk, a read-only mount) and not a bug is behind `error`."""
    number = getattr(error, "errno", None)
    text = str(error)
    if number not in _MACHINE:
        number = next((n for n in _MACHINE if os.strerror(n).lower() in text.lower()), None)
    if number is None:
        return None
    todo = (
        "free some space or point the output elsewhere" if number in (errno.ENOSPC, errno.EDQUOT) else "check the path"
    )
    where = getattr(error, "filename", None) or "outputs"
    return ToolFailed(f"{where}: {os.strerror(number)}; {todo}")
