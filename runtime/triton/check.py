"""Checking a model repository without a server and without a GPU: every finding in every model at once."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem, nearest
from runtime.triton import model_config
from runtime.triton.backends import ENSEMBLE, backend_of, disagreements, is_ensemble
from runtime.triton.check_config import config_findings, config_notes
from runtime.triton.check_ensemble import edge_findings, ensemble_findings, steps_of
from runtime.triton.check_files import file_problems, newest, version_folders
from runtime.triton.check_model import model_problems, notes
from runtime.triton.findings import PORT, Finding, at, problem
from runtime.triton.model_config import FILE, Signature


@dataclass(frozen=True)
class Served:
    """One model of a repository that passed every check.

    Attributes:
        backend: what runs it; `ensemble` for an ensemble.
        members: the models that an ensemble calls, checked as it is; empty for any other model.
        notes: what was not checked, because only a server can tell.
    """

    name: str
    folder: Path
    config: Any
    versions: tuple[int, ...]
    backend: str = ""
    members: tuple[Served, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def signature(self) -> Signature:
        """What its config promises."""
        return model_config.signature_of(self.config)

    @property
    def backends(self) -> list[str]:
        """The backends that a server needs for it, sorted; the ensemble scheduler is in every server."""
        mine = {self.backend} - {ENSEMBLE}
        return sorted(mine.union(*(member.backends for member in self.members)))


@dataclass
class _Read:
    """The models of a repository as far as they have been read."""

    folders: Mapping[str, Path]
    models: bool
    configs: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def versions(self) -> dict[str, list[int]]:
        return {name: version_folders(self.folders[name]) for name in self.configs}


def check_repository(repository: Path, name: str | None = None, *, models: bool = True) -> Served:
    """The model to serve: the only one, or the ensemble over the others, or `name`; all models are checked.

    With a `name` only that model is checked, and the models that it calls if it is an ensemble. `models`: whether the
    model files are read, too, which takes long for large ones.

    Raises:
        BadInput: with the findings in all of them.
    """
    read = _Read(_model_folders(repository), models)
    if name is not None and name not in read.folders:
        raise BadInput.of("model_name", name, "is not in the repository", nearest(name, read.folders))
    wanted = [name] if name is not None else list(read.folders)
    for model in wanted:  # grows by the models that ensembles call
        _read_model(read, model)
        if model in read.configs:
            wanted += [m for m in steps_of(read.configs[model]) if m in read.folders and m not in wanted]
    for model, config in read.configs.items():
        if is_ensemble(config):
            unread = set(read.folders) - set(read.configs)
            found = [*edge_findings(config, read.configs, read.versions(), unread), *_circle(model, read.configs)]
            read.problems += at(read.folders[model] / FILE, iter(found))
    chosen = name or _main(repository, read)
    if read.problems or chosen is None:
        raise BadInput(dict.fromkeys(read.problems))  # two warm-ups of one file are one finding
    return _served(read, chosen)


def _model_folders(repository: Path) -> dict[str, Path]:
    if (repository / FILE).is_file():
        raise BadInput.of(
            PORT, repository, "is the folder of one model, not a repository", f"name its parent: {repository.parent}"
        )
    folders = {p.name: p for p in sorted(repository.iterdir()) if p.is_dir() and not p.name.startswith(".")}
    if not folders:
        raise BadInput.of(PORT, repository, "holds no model folder", f"lay it out as <model>/{FILE} and <model>/1/")
    return folders


def _read_model(read: _Read, name: str) -> None:
    """Reads one model's config and adds its findings."""
    folder = read.folders[name]
    path = folder / FILE
    if not path.is_file():
        read.problems.append(problem(folder, f"has no {FILE}", "write it with triton_package"))
        return
    if path.read_bytes().startswith(codecs.BOM_UTF8):
        wrong = "is no model configuration: it begins with a byte order mark"
        read.problems.append(problem(path, wrong, "save it as UTF-8 without one"))
        return
    try:
        config = model_config.read(path)
    except ValueError as error:
        read.problems.append(problem(path, f"is no model configuration: {error}", "correct that line"))
        return
    read.configs[name] = config
    read.problems += _model(folder, config, models=read.models)


def _model(folder: Path, config: Any, *, models: bool) -> Iterator[Problem]:
    path = folder / FILE
    if config.name and config.name != folder.name:
        wrong = f"names the model {config.name!r}, its folder is {folder.name!r}"
        yield problem(path, wrong, "make the two the same")
    yield from at(path, config_findings(config))
    backend = backend_of(config, newest(folder))
    unclear = [] if backend == ENSEMBLE else list(disagreements(config, backend, newest(folder)))
    yield from at(path, iter(unclear))
    if backend == ENSEMBLE:
        yield from at(path, ensemble_findings(config))
    yield from file_problems(folder, config, backend)
    for version in version_folders(folder) if models and not unclear else ():
        yield from model_problems(folder, version, config, backend)


def _circle(name: str, configs: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether an ensemble calls itself, also through other ensembles."""
    called = list(steps_of(configs[name]))
    for model in called:  # grows
        called += [m for m in steps_of(configs[model]) if m not in called] if model in configs else []
    if name in called:
        yield f"calls itself, through {', '.join(called)}", "take the step out"


def _main(repository: Path, read: _Read) -> str | None:
    """The model that a repository is about; a finding where that is not clear."""
    called = {m for config in read.configs.values() for m in steps_of(config)}
    tops = [name for name in read.folders if name not in called]
    if len(read.folders) == 1:
        return next(iter(read.folders))
    if len(tops) == 1 and tops[0] in read.configs and is_ensemble(read.configs[tops[0]]):
        return tops[0]
    if not read.problems:
        names = ", ".join(read.folders)
        wrong = f"holds {len(read.folders)} models: {names}"
        read.problems.append(problem(repository, wrong, "say which: model_name=NAME"))
    return None


def _served(read: _Read, name: str) -> Served:
    config, folder = read.configs[name], read.folders[name]
    backend, versions = backend_of(config, newest(folder)), version_folders(folder)
    members = tuple(_served(read, member) for member in steps_of(config))
    unread = [f"{folder / FILE}: {note}" for note in config_notes(config)]
    unread += [] if backend == ENSEMBLE else [n for v in versions for n in notes(folder, v, config, backend)]
    unread += [note for member in members for note in member.notes]
    return Served(config.name or folder.name, folder, config, tuple(versions), backend, members, tuple(unread))
