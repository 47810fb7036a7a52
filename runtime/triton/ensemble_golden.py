"""Golden rows of an ensemble: real or made-up inputs, and what its steps answer one after another in this process."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.rapids.schemas import CANONICAL
from runtime.triton import model_config, step_features, step_recipe
from runtime.triton.check_files import newest
from runtime.triton.model_config import Signature
from runtime.triton.ready_files import SETTINGS
from runtime.triton.ready_steps import MODULES, Ready
from runtime.triton.repository import (
    FUNCTION,
    GOLDEN_ROWS,
    MODEL_FILES,
    Golden,
    answer,
    concatenated,
    in_batches,
    made_up_golden,
)  # fmt: skip
from runtime.triton.step_pictures import IMAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.triton.check import Served

    Arrays = Mapping[str, NDArray[Any]]
    Function = Callable[[Arrays], dict[str, NDArray[Any]]]

TRIPS = 64
START = 1_464_739_200 * 10**6  # 2016-06-01 in microseconds
PICTURES = 8  # golden rows of images, which are large
MADE_UP_SIZES = ((160, 120), (90, 140), (64, 64), (200, 50))  # width, height


def of(served: Served, steps: Sequence[Ready], samples: Path | None, *, trusted: bool) -> tuple[Golden, str]:
    """The golden rows, and where they are from; none, and why, where the steps cannot be run in this process."""
    none = Golden({}, {}, "synthetic")
    ready = {step.name: step.function() for step in steps}
    inputs, source = _inputs(served, steps, samples)
    if any(step.settings.get("max_boxes") == 0 for step in steps if step.make == "boxes"):
        return none, "with max_boxes=0 the length of an answer depends on the other images of its request"
    functions = {}
    for member in served.members:
        function = ready.get(member.name) or _function(member, trusted=trusted)
        if function is None:
            return none, f"{member.name} is not run here, on {member.backend}"
        functions[member.name] = function
    parts = in_batches(inputs, served.config.max_batch_size)
    try:
        outputs = concatenated([_answers(served, functions, part) for part in parts])
    except BadInput:
        raise
    except Exception as error:  # a step may say no to made-up rows in any way
        if samples is not None:
            raise BadInput.of("samples", samples, f"are not answered ({error})", "give others") from error
        return none, f"the steps do not take made-up rows ({type(error).__name__}: {error})"
    return Golden(dict(inputs), outputs, source), "of your samples" if source == "sample" else "made up"


def _answers(served: Served, functions: Mapping[str, Function], inputs: Arrays) -> dict[str, NDArray[Any]]:
    """One request through the steps, in the order in which their inputs are there."""
    configs = {member.name: member.config for member in served.members}
    tensors, left = dict(inputs), list(served.config.ensemble_scheduling.step)
    while left:  # the check has seen that the steps are no circle
        step = next(s for s in left if set(s.input_map.values()) <= set(tensors))
        left.remove(step)
        signature = model_config.signature_of(configs[step.model_name])
        feed = {t.name: _seen(tensors[step.input_map[t.name]], t.dims, signature) for t in signature.inputs}
        found = functions[step.model_name](feed)
        tensors |= {tensor: found[name] for name, tensor in step.output_map.items()}
    return {entry.name: tensors[entry.name] for entry in served.config.output}


def _seen(array: NDArray[Any], dims: tuple[int, ...], signature: Signature) -> NDArray[Any]:
    """A tensor as the model sees it: one number a row has no dims there (see model_config, reshape)."""
    return array.reshape(len(array)) if signature.batched and not dims else array


def _function(member: Served, *, trusted: bool) -> Function | None:
    """What a packaged model computes, in this process; None for what cannot be, or must not be, run here."""
    version = newest(member.folder)
    if version is None or member.members:
        return None
    if (version / SETTINGS).is_file():
        return _made_before(json.loads((version / SETTINGS).read_text(encoding="utf-8")))
    if (version / FUNCTION.name).is_file():
        from runtime.triton.kind_function import open_file

        return open_file(version / FUNCTION.name, (), trust=True).predict if trusted else None
    for backend in ("fil", "onnxruntime"):
        path = version / MODEL_FILES[backend]
        if path.is_file():
            return lambda inputs: answer(path, Golden(dict(inputs), {}, ""))
    return None


def _made_before(document: Mapping[str, Any]) -> Function | None:
    """A ready-made step that an earlier ensemble left in the repository: by our own code, never by the one there."""
    if document.get("module") not in MODULES:
        return None
    function: Function = importlib.import_module(document["module"]).open_step(document["settings"])
    return function


def _inputs(served: Served, steps: Sequence[Ready], samples: Path | None) -> tuple[Arrays, str]:
    """Inputs of the ensemble, and `sample` or `synthetic`."""
    names = {t.name for t in served.signature.inputs}
    source = "synthetic" if samples is None else "sample"
    called = {step.model_name: dict(step.input_map) for step in served.config.ensemble_scheduling.step}
    for step in steps:
        renamed = called[step.name]  # a tensor of the step to its name in the ensemble
        if set(renamed.values()) != names or step.make not in ("pictures", "features"):
            continue
        if step.make == "features":
            found = _rows_of(step, samples, sorted(renamed))
        else:
            masks = any(one.make == "mask" for one in steps)  # then images of other sizes would make an answer larger
            found = {IMAGE: _pictures(step, samples, one_size=masks)}
        return {renamed[name]: array for name, array in found.items()}, source
    if samples is not None:
        listed = ", ".join(sorted(names))
        raise BadInput.of("samples", samples, f"are images or rows, the ensemble takes {listed}", "leave it out")
    return made_up_golden(served.signature).inputs, source


def _pictures(step: Ready, samples: Path | None, *, one_size: bool) -> NDArray[Any]:
    """Files as bytes, (N, 1); for a model without batches as many as it takes at a time.

    `one_size`: only those that are as large as the first.
    """
    import numpy as np

    from runtime.triton.prepare import read

    files = made_up_pictures() if samples is None else _picture_files(samples)
    if one_size:
        try:
            sizes = [read(data).size for data in files]
        except ValueError as error:
            raise BadInput.of("samples", samples, f"hold a file that {error}", "take it out") from error
        files = [data for data, size in zip(files, sizes, strict=True) if size == sizes[0]]
    rows = np.array(files, dtype=object)
    return rows[:, None] if step.signature.batched else rows[: max(1, step.signature.inputs[0].dims[0])]


def _picture_files(folder: Path) -> list[bytes]:
    from runtime.data.pictures import SUFFIXES

    paths = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    if not paths:
        raise BadInput.of("samples", folder, "holds no image", f"give files that end in {', '.join(SUFFIXES)}")
    return [path.read_bytes() for path in paths[:PICTURES]]


def made_up_pictures() -> list[bytes]:
    """Noise in large spots, as JPEG and as PNG, of several sizes; the same each time."""
    import numpy as np
    from PIL import Image

    random, files = np.random.default_rng(0), []
    for number, size in enumerate(MADE_UP_SIZES):
        spots = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        file = io.BytesIO()
        spots.resize(size, Image.Resampling.BICUBIC).save(file, "PNG" if number % 2 else "JPEG")
        files.append(file.getvalue())
    return files


def _rows_of(step: Ready, samples: Path | None, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    recipe = "column_types" in step.settings
    if samples is not None:
        return _table_of(samples, names, step.settings["column_types"] if recipe else None)
    return made_up_rows(step.settings) if recipe else made_up_trips(names)


def _table_of(folder: Path, names: Sequence[str], types: Mapping[str, str] | None) -> dict[str, NDArray[Any]]:
    """The first rows of prepared trips, or of a table whose columns have these types."""
    import polars as pl

    from runtime.triton.rows import reading, scan

    with reading(folder):
        table = scan(folder)
        absent = [name for name in names if name not in table.collect_schema()]
        if absent:
            wrong = f"lack the column {', '.join(absent)}"
            todo = "give the output of rapids_prepare" if types is None else "give what rapids_recipe read"
            raise BadInput.of("samples", folder, wrong, todo)
        frame = table.select(pl.col(names)).head(GOLDEN_ROWS).collect()
    if types is None:
        return {name: step_features.on_the_wire(frame[name]) for name in names}
    for name in names:
        if str(frame.schema[name]) != types[name]:
            wrong = f"have {name} as {frame.schema[name]}, the recipe's table as {types[name]}"
            raise BadInput.of("samples", folder, wrong, "give what rapids_recipe read")
    try:
        return {name: step_recipe.on_the_wire(frame[name]) for name in names}
    except ValueError as error:
        raise BadInput.of("samples", folder, str(error), "fill them first") from error


def made_up_trips(names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Trips through a city, as the step takes them; the same each time, each tenth number missing where one may be."""
    import numpy as np

    random = np.random.default_rng(0)
    start = START + random.integers(0, 30 * 86400, TRIPS) * 10**6
    found = dict[str, "NDArray[Any]"]()
    for name in names:
        kind = CANONICAL[name]
        if kind == "time":
            later = 0 if name == "pickup_at" else random.integers(60, 3600, TRIPS) * 10**6
            found[name] = (start + later)[:, None]
            continue
        centre = -73.95 if name.endswith("_lon") else 40.75 if name.endswith("_lat") else None
        values = random.normal(centre, 0.05, TRIPS) if centre else random.uniform(0.5, 12, TRIPS)
        values = np.rint(values + 1) if kind == "whole" else values
        values[::10] = np.nan
        found[name] = values[:, None]
    return found


def made_up_rows(settings: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Rows of a recipe's table, as the step takes them; the same each time, each tenth missing where it may be.

    Texts are those that a category numbers, and one that none does.
    """
    import numpy as np

    random, found = np.random.default_rng(0), dict[str, "NDArray[Any]"]()
    known = {column: settings["categories"][name] for name, column in settings["category_columns"].items()}
    for name, kind in settings["column_types"].items():
        wire = step_recipe.TYPE_OF[kind]
        if wire == "BYTES":
            words = [text.encode() for text in (*known.get(name, ()), "made up")]
            values = np.array([words[place] for place in random.integers(0, len(words), TRIPS)], dtype=object)
        elif wire == "BOOL":
            values = random.integers(0, 2, TRIPS).astype(np.bool_)
        elif wire == "INT64":
            values = START + random.integers(0, 30 * 86400, TRIPS) * 10**6
            values[::10] = step_recipe.NO_TIME
        else:
            values = random.normal(10, 50, TRIPS) if kind.startswith("Float") else random.integers(1, 100, TRIPS) * 1.0
            values[::10] = np.nan
        found[name] = values[:, None]
    return found
