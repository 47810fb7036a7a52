"""Comparing a model repository with the models in it, without a server: every finding at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem, nearest
from runtime.triton import model_config
from runtime.triton.model_config import FILE, TYPES, Signature, Tensor
from runtime.triton.repository import MODEL_FILES, WARMUP

PORT = "repository"


@dataclass(frozen=True)
class Served:
    """One model of a repository that passed every check."""

    name: str
    folder: Path
    config: Any
    versions: tuple[int, ...]

    @property
    def signature(self) -> Signature:
        """What its config promises."""
        return model_config.signature_of(self.config)


def check_repository(repository: Path, name: str | None = None) -> Served:
    """The one model of a repository (or the one called `name`); raises `BadInput` with all findings."""
    folder = _model_folder(repository, name)
    try:
        config = model_config.read(folder / FILE)
    except ValueError as error:
        raise BadInput.of(PORT, folder / FILE, f"is no model configuration: {error}", "correct that line") from error
    problems = [*_naming(folder, config), *_versions(folder), *_limits(folder, config), *_files(folder, config)]
    versions = version_folders(folder)
    for version in versions:
        problems += _against_model(folder, version, config)
    if problems:
        raise BadInput(problems)
    return Served(config.name or folder.name, folder, config, tuple(versions))


def _model_folder(repository: Path, name: str | None) -> Path:
    if (repository / FILE).is_file():
        raise BadInput.of(
            PORT, repository, "is the folder of one model, not a repository", f"name its parent: {repository.parent}"
        )
    folders = {p.name: p for p in sorted(repository.iterdir()) if p.is_dir() and not p.name.startswith(".")}
    if not folders:
        raise BadInput.of(PORT, repository, "holds no model folder", f"lay it out as <model>/{FILE} and <model>/1/")
    if name is None and len(folders) > 1:
        raise BadInput.of(
            PORT, repository, f"holds {len(folders)} models: {', '.join(folders)}", "say which: model_name=NAME"
        )
    name = name or next(iter(folders))
    if name not in folders:
        raise BadInput.of("model_name", name, "is not in the repository", nearest(name, folders))
    if not (folders[name] / FILE).is_file():
        raise BadInput.of(PORT, folders[name], f"has no {FILE}", "write it with triton_package")
    return folders[name]


def version_folders(folder: Path) -> list[int]:
    """The versions that a server would see: folders named by a positive whole number."""
    return sorted(
        int(p.name)
        for p in folder.iterdir()
        if p.is_dir() and p.name.isdecimal() and int(p.name) > 0 and p.name[0] != "0"
    )


def _naming(folder: Path, config: Any) -> Iterator[Problem]:
    if config.name and config.name != folder.name:
        yield Problem(
            PORT,
            folder / FILE,
            f"names the model {config.name!r}, its folder is {folder.name!r}",
            "make the two the same",
        )
    if not config.backend and not config.platform:
        yield Problem(PORT, folder / FILE, "names no backend", f"write backend: one of {', '.join(MODEL_FILES)}")


def _versions(folder: Path) -> Iterator[Problem]:
    if version_folders(folder):
        return
    found = ", ".join(p.name for p in sorted(folder.iterdir()) if p.is_dir() and p.name != WARMUP) or "none"
    yield Problem(
        PORT, folder, f"has no version folder (found: {found})", "name it by a whole number from 1 on, such as 1"
    )


def _limits(folder: Path, config: Any) -> Iterator[Problem]:
    """What the server refuses in a config. Source: texts of tritonserver 2.51.0, docs/triton.md."""
    path, most = folder / FILE, config.max_batch_size
    if most < 0:
        yield Problem(PORT, path, f"has max_batch_size {most}", "write 0 for no batches, or the most rows")
    if most == 0 and config.HasField("dynamic_batching"):
        yield Problem(PORT, path, "has dynamic_batching without batches", "remove it, or give a max_batch_size above 0")
    if config.HasField("dynamic_batching"):
        for size in config.dynamic_batching.preferred_batch_size:
            if size > most:
                yield Problem(
                    PORT, path, f"prefers batches of {size}, max_batch_size is {most}", "prefer smaller batches"
                )
    for entry in [*config.input, *config.output]:
        if not entry.dims or any(d == 0 or d < -1 for d in entry.dims):
            yield Problem(
                PORT,
                path,
                f"gives {entry.name!r} the dims {list(entry.dims)}",
                "write positive dims, or -1 for any length",
            )


def _files(folder: Path, config: Any) -> Iterator[Problem]:
    for version in version_folders(folder):
        needed = config.default_model_filename or MODEL_FILES.get(config.backend)
        if needed and not (folder / str(version) / needed).is_file():
            yield Problem(
                PORT,
                folder / str(version),
                f"lacks {needed}, which the {config.backend} backend reads",
                "package the model again",
            )
    for output in config.output:
        if output.label_filename:
            yield from _labels(folder / output.label_filename, output)
    dims = {entry.name: list(entry.dims) for entry in config.input}
    for entry in config.model_warmup:
        for name, item in entry.inputs.items():
            if name not in dims or not _fit(list(item.dims), dims[name]):
                wrong = f"warms up {name!r} with the dims {list(item.dims)}, the config has {dims.get(name)}"
                yield Problem(PORT, folder / FILE, wrong, "package the model again")
            if item.input_data_file:
                yield from _warmup(folder / WARMUP / item.input_data_file, name, item)


def _labels(path: Path, output: Any) -> Iterator[Problem]:
    if not path.is_file():
        yield Problem(PORT, path, f"is the labels file of {output.name!r} and does not exist", "write one label a line")
        return
    count, size = len(path.read_text(encoding="utf-8").splitlines()), math.prod(output.dims)
    if size > 0 and count != size:
        yield Problem(
            PORT, path, f"has {count} labels, {output.name!r} has {size} values", "write one label for each value"
        )


def _warmup(path: Path, name: str, item: Any) -> Iterator[Problem]:
    if not path.is_file():
        yield Problem(PORT, path, f"is the warm-up of {name!r} and does not exist", "package the model again")
        return
    tensor = model_config.warmup_tensor(name, item)
    if tensor.dtype == "BYTES":
        return
    import numpy as np

    size = np.dtype(TYPES[tensor.dtype].numpy).itemsize * math.prod(tensor.dims)
    if path.stat().st_size != size:
        wrong = f"holds {path.stat().st_size} bytes, {tensor.text()} takes {size}"
        yield Problem(PORT, path, wrong, "package the model again")


def _against_model(folder: Path, version: int, config: Any) -> list[Problem]:
    """Whether the config promises what the file of one version takes and gives."""
    path = folder / str(version) / (config.default_model_filename or MODEL_FILES.get(config.backend, ""))
    if config.backend == "python":
        path = path.with_name(MODEL_FILES["onnxruntime"])  # ours; a model.py of someone else's is only run, not read
    if not path.is_file():
        return []
    promised = model_config.signature_of(config)
    try:
        real = _treelite_signature(path) if config.backend == "fil" else _onnx_signature(path)
    except BadInput as error:
        return [Problem(PORT, p.value, p.wrong, p.todo) for p in error.problems]
    filled = {entry.name for entry in config.sequence_batching.control_input}  # by the server, not the client
    real = replace(real, inputs=tuple(t for t in real.inputs if t.name not in filled))
    return list(_compare(folder / FILE, promised, real))


def _onnx_signature(path: Path) -> Signature:
    from runtime.triton.kind_onnx import open_file

    return open_file(path, (), False).signature


def _treelite_signature(path: Path) -> Signature:
    import treelite

    from runtime.triton.table_model import TABLE_INPUT, TABLE_OUTPUT

    try:
        model = treelite.Model.deserialize(str(path))
    except Exception as error:
        raise BadInput.of(
            PORT, path, f"cannot be read ({str(error).splitlines()[-1]})", "package the model again"
        ) from error
    return Signature((Tensor(TABLE_INPUT, "FP32", (model.num_feature,)),), (Tensor(TABLE_OUTPUT, "FP32", (1,)),), True)


def _compare(path: Path, promised: Signature, real: Signature) -> Iterator[Problem]:
    if promised.batched and not real.batched:
        yield Problem(PORT, path, "allows batches, the model's first dimension is fixed", "write max_batch_size: 0")
    for what, ours, theirs in (("input", promised.inputs, real.inputs), ("output", promised.outputs, real.outputs)):
        known = {t.name: t for t in theirs}
        for tensor in ours:
            if tensor.name not in known:
                yield Problem(
                    PORT, path, f"has an {what} {tensor.name!r} that the model lacks", nearest(tensor.name, known)
                )
                continue
            yield from _compare_tensor(path, what, tensor, known[tensor.name], real.batched and not promised.batched)
        missing = sorted(set(known) - {t.name for t in ours}) if what == "input" else []
        if missing:
            yield Problem(PORT, path, f"lacks the inputs {missing} that the model needs", "add them")


def _compare_tensor(path: Path, what: str, ours: Tensor, real: Tensor, rows_are_a_dim: bool) -> Iterator[Problem]:
    dims = (-1, *real.dims) if rows_are_a_dim else real.dims
    where = f"gives {what} {ours.name!r}"
    if ours.dtype != real.dtype:
        yield Problem(
            PORT, path, f"{where} the type {ours.dtype}, the model has {real.dtype}", "write the model's type"
        )
    if not _fit(ours.dims, dims):
        yield Problem(
            PORT, path, f"{where} the dims {list(ours.dims)}, the model has {list(dims)}", "write the model's dims"
        )


def _fit(ours: Sequence[int], theirs: Sequence[int]) -> bool:
    """Whether two lists of dims can be the same tensor; -1 is any length."""
    return len(ours) == len(theirs) and all(-1 in (a, b) or a == b for a, b in zip(ours, theirs, strict=True))
