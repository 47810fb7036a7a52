"""The folders of one step: made before it starts, looked at when it has ended, or taken over from an earlier run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from runtime import snapshot, vendor
from runtime.errors import ToolFailed
from runtime.execute import is_empty
from runtime.local.plan import Planned
from runtime.local.reuse import Found

_KEPT = ("log.txt", "metrics.jsonl")  # of a step whose outputs are taken over


def prepare(planned: Planned) -> None:
    """Make the step's folders: its working folder, and each output as AzureML would (a folder; a file's parent).

    What an interrupted run left there is removed, but for what a step of ours keeps to go on from (a training's
    checkpoints). Raises `ToolFailed` where that cannot be done.
    """
    try:
        with _kept_aside(planned):
            clear(planned.folder)
        planned.command.cwd.mkdir(parents=True)
        if planned.code is not None:
            _copy_code(planned.code, planned)
        for path in planned.included:
            snapshot.copy(path, planned.command.cwd / path.name)
        for name, source in planned.downloads.items():
            _download(source, Path(planned.inputs[name]))
        for port, path in planned.outputs.items():
            declared = planned.step.spec["outputs"][port] or {}
            folder = path.parent if declared.get("type") == "uri_file" else path
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolFailed(f"{planned.folder}: cannot be written ({error.strerror or error})") from error


@contextlib.contextmanager
def _kept_aside(planned: Planned) -> Iterator[None]:
    """While the block runs, the outputs that outlive a failure are beside the step's folder; then they are back."""
    if not planned.folder.is_dir() or planned.folder.is_symlink():
        yield
        return
    aside = planned.folder.with_name(f".{planned.folder.name}.kept")
    for port in _kept_ports(str(planned.step.spec.get("name", ""))):
        if port in planned.outputs and planned.outputs[port].is_dir() and not (aside / port).exists():
            aside.mkdir(exist_ok=True)
            planned.outputs[port].rename(aside / port)
    yield
    for folder in sorted(aside.iterdir()) if aside.is_dir() else []:
        planned.outputs[folder.name].parent.mkdir(parents=True)
        folder.rename(planned.outputs[folder.name])
    if aside.is_dir():
        aside.rmdir()


def _kept_ports(name: str) -> list[str]:
    """The outputs of a component of ours that are written in place, for the next start to go on from."""
    from runtime import catalog
    from runtime.component import Output

    for component in catalog.components().values():
        if name == component.name or name.startswith(f"{component.name}_"):  # tao_train_tf1 is tao_train in its image
            markers = {port: found.marker for port, found in component.all_ports().items()}
            return [port for port, marker in markers.items() if isinstance(marker, Output) and marker.kept]
    return []


def clear(folder: Path) -> None:
    """Remove a step's folder, also one that a step has made read-only."""

    def make_writable(function: object, path: str, _error: object) -> None:
        Path(path).parent.chmod(0o700)
        Path(path).chmod(0o700)
        function(path)  # type: ignore[operator] # os.rmdir, os.unlink or os.open, as shutil.rmtree hands it on

    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder, onerror=make_writable)


def _copy_code(code: Path, planned: Planned) -> None:
    """Fill the working folder with what AzureML would upload of `code`."""
    try:
        for file in planned.code_files():
            target = planned.command.cwd / file.relative_to(code)
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.exists():  # a link that leads nowhere cannot be uploaded
                shutil.copy2(file, target)
    except OSError as error:
        raise ToolFailed(f"code {str(code)!r} cannot be copied ({error.strerror or error})") from error


def _download(source: Path, target: Path) -> None:
    """A copy of an input of the step's own, in `mode: download`: it may write into that, as on AzureML."""
    target.parent.mkdir(parents=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def adopt(found: Found, planned: Planned, *, keep: bool = False) -> None:
    """Link the outputs, the log and the figures of an earlier run into the step's folder; its own are in place.

    `keep`: what else is in the folder stays, as the trials of a sweep do.
    """
    if found.folder == planned.folder:
        return
    if not keep:
        clear(planned.folder)
    for port, path in found.outputs.items():
        _link(path, planned.outputs[port])
    for name in _KEPT:
        if (found.folder / name).exists():
            _link(found.folder / name, planned.folder / name)


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    clear(link) if link.is_dir() else link.unlink(missing_ok=True)
    real = path.resolve()  # never a link to a link: a run between may be removed
    link.symlink_to(os.path.relpath(real, link.parent.resolve()))


def watched_inputs(planned: Planned) -> list[Path]:
    """Inputs that no mount protects and that a fingerprint must watch; one that holds the run folder cannot be."""
    return [p for p in planned.shared() if p not in planned.command.read_only and not planned.folder.is_relative_to(p)]


def verdict(planned: Planned, exit_code: int | None, changed: list[str]) -> tuple[int | None, str]:
    """Success needs evidence: the exit status, untouched inputs, and outputs that are there and not empty.

    Returns the exit code and why it failed; no text: it has not.
    """
    if exit_code != 0:
        return exit_code, last_word(planned.log) or f"exit status {exit_code} and nothing in its log"
    if changed:
        return exit_code, f"it changed its input {changed[0]}; inputs are read-only on AzureML"
    empty = [port for port, path in planned.outputs.items() if is_empty(path)]
    if empty:
        return 4, f"output {empty[0]!r} was not written, though the command ended with status 0"
    return exit_code, ""


def last_word(log: Path) -> str:
    """The line that says why: the last one that is neither blank, nor a warning, nor a quoted tail."""
    lines = vendor.tail(log, 60).splitlines()
    told = [line for line in lines if line.strip() and not line.startswith(("  | ", "warning:"))]
    return told[-1].strip()[:500] if told else ""
