"""How two model repositories differ: models, settings of each config, versions, and the files in them by content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.triton import model_config, provenance
from runtime.triton.check_files import version_folders
from runtime.triton.model_config import FILE


def models(repository: Path) -> dict[str, Path]:
    """The model folders of a repository by name: those that hold a config.pbtxt or a version."""
    folders = sorted(p for p in repository.iterdir() if p.is_dir() and not p.name.startswith("."))
    return {p.name: p for p in folders if (p / FILE).is_file() or version_folders(p)}


def differences(a: Path, b: Path) -> Iterator[str]:
    """A line for each difference: `-` for what only `a` has, `+` for what only `b` has, `~` for what is not equal."""
    ours, theirs = models(a), models(b)
    for name in sorted({*ours, *theirs}):
        if name not in theirs:
            yield f"- {name}"
        elif name not in ours:
            yield f"+ {name}"
        else:
            yield from _model(name, ours[name], theirs[name])


def _model(name: str, a: Path, b: Path) -> Iterator[str]:
    yield from (f"~ {name}: {line}" for line in _configs(a / FILE, b / FILE))
    ours, theirs = version_folders(a), version_folders(b)
    for number in sorted({*ours, *theirs}):
        where = f"{name}/{number}"
        if number not in theirs:
            yield f"- {where}"
        elif number not in ours:
            yield f"+ {where}"
        else:
            yield from _versions(where, a / str(number), b / str(number))


def _configs(a: Path, b: Path) -> Iterator[str]:
    """The settings in which two configs differ; that of comments and order is none."""
    texts = []
    for path in (a, b):
        try:
            texts.append(dict(_flat("", model_config.read(path))) if path.is_file() else {})
        except ValueError as error:
            texts.append({"config.pbtxt": f"is no model configuration: {error}"})
    for key in sorted({*texts[0], *texts[1]}):
        old, new = (text.get(key, "absent") for text in texts)
        if old != new:
            yield f"{key}: {old} -> {new}"


def _flat(prefix: str, message: Any) -> Iterator[tuple[str, str]]:
    """Each value of a message under its path, such as `input[x].dims`; of a list, by the item's name if it has one."""
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in sorted(value):
                inner, at = value[key], f"{path}[{key}]"
                yield from _flat(f"{at}.", inner) if hasattr(inner, "ListFields") else [(at, repr(inner))]
        elif field.message_type is None:
            yield path, str(list(value)) if field.is_repeated else repr(value)
        elif field.is_repeated:
            for number, inner in enumerate(value):
                yield from _flat(f"{path}[{getattr(inner, 'name', '') or number}].", inner)
        else:
            yield path, "set"
            yield from _flat(f"{path}.", value)


def _versions(where: str, a: Path, b: Path) -> Iterator[str]:
    ours, theirs = provenance.hashes(a), provenance.hashes(b)
    for file in sorted({*ours, *theirs}):
        if ours.get(file) != theirs.get(file):
            sign = "-" if file not in theirs else "+" if file not in ours else "~"
            yield f"{sign} {where}/{file}"
    made = [provenance.read(folder) for folder in (a, b)]
    for key in sorted({*made[0], *made[1]} - {"files"}):
        old, new = (one.get(key) for one in made)
        if old != new:
            yield f"~ {where}: {key}: {old} -> {new}"
