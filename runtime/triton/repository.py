"""Writing one model into a model repository, and the golden rows that say what it must answer."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ToolFailed
from runtime.triton import config_fix, model_config, scheduling
from runtime.triton.comparing import compare
from runtime.triton.model_config import TYPES, Plan, Signature, Tensor
from runtime.triton.onnx_graph import load_graph
from runtime.triton.source import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOLDEN = "golden.json"
GOLDEN_ROWS = 256
MADE_UP_VALUES = 2**22  # of one tensor, in all made-up rows
WARMUP = "warmup"  # Triton looks for a warm-up's files there. Source: model_config.proto, ModelWarmup.Input
TEMPLATE = Path(__file__).parent / "python_backend" / "model.py"
FUNCTION = TEMPLATE.with_name("function.py")

# What each backend reads in the version folder. Source: Triton's model_repository.md; fil_backend docs/model_config.md.
MODEL_FILES = {"onnxruntime": "model.onnx", "fil": "checkpoint.tl", "python": "model.py", "tensorrt": "model.plan",
               "pytorch": "model.pt"}  # fmt: skip


@dataclass(frozen=True)
class Golden:
    """Input rows and what the model answers to them in process. `source`: `sample` (real rows), `synthetic`, `none`."""

    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    source: str

    @property
    def rows(self) -> int:
        """How many rows (or, for a model without batches, how many requests: 1)."""
        return len(next(iter(self.inputs.values()))) if self.inputs else 0


def write_model(
    repository: Path, model: Model, plan: Plan, golden: Golden, given: tuple[str, Any] | None = None
) -> tuple[Path, tuple[str, ...]]:
    """Write `<repository>/<name>/{config.pbtxt, <version>/..., labels, warmup/...}`.

    `given`: text and message of a config.pbtxt that is to be kept. Returns the model's folder and what was corrected.
    """
    folder = repository / plan.name
    version = folder / str(plan.version)
    version.mkdir(parents=True)
    _write_files(version, model, plan.backend)
    for name in scheduling.extra_files(plan.serving):
        shutil.copyfile(model.path.parent / name, version / name)
    labels = {}
    for output, names in model.labels.items():
        labels[output] = f"{output}_labels.txt"
        (folder / labels[output]).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    warmup = _write_warmup(folder, plan.signature, golden) if golden.source == "sample" else {}
    wanted = model_config.build(replace(plan, labels=labels, warmup=warmup))
    if given is None:
        model_config.write(wanted, folder)
        return folder, ()
    fixed = config_fix.fix(*given, plan, wanted)
    (folder / model_config.FILE).write_text(fixed.text, encoding="utf-8")
    return folder, fixed.corrections


def _write_files(version: Path, model: Model, backend: str) -> None:
    if model.kind == "function":
        shutil.copyfile(FUNCTION, version / MODEL_FILES["python"])
        shutil.copyfile(model.path, version / FUNCTION.name)
        return
    if backend in ("tensorrt", "pytorch"):
        place(model.path, version / MODEL_FILES[backend])
        if backend == "tensorrt":  # which a server with another GPU, or none, can answer from
            (source,) = model.path.parent.glob("*.onnx")  # kind_engine found exactly one
            _place_onnx(source, version, outside_of(load_graph(source)))
        return
    if backend == "fil":
        assert model.treelite is not None  # noqa: S101 - package chose fil because it is there; narrows for mypy
        model.treelite().serialize(str(version / MODEL_FILES["fil"]))
        return
    write_onnx(model, version)
    if backend == "python":
        shutil.copyfile(TEMPLATE, version / MODEL_FILES["python"])


def write_onnx(model: Model, version: Path) -> Path:
    """Write `model.onnx`; a foreign file is copied byte for byte, with the weights that it keeps outside itself."""
    path = version / MODEL_FILES["onnxruntime"]
    assert model.onnx is not None  # noqa: S101 - make_plan refuses such a backend; narrows for mypy
    proto = model.onnx()
    if model.kind != "onnx":
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return path
    _place_onnx(model.path, version, outside_of(proto))
    return path


def _place_onnx(source: Path, version: Path, weights: Iterable[str]) -> None:
    """Copy an ONNX file byte for byte as `model.onnx`, and the weights that it keeps outside itself."""
    place(source, version / MODEL_FILES["onnxruntime"])
    for name in sorted(weights):
        target = version / name
        target.parent.mkdir(parents=True, exist_ok=True)
        place(source.parent / name, target)


def copied(model: Model, backend: str) -> str | None:
    """The file of a version that has the very bytes of the model's file; None where it is converted."""
    if backend in ("tensorrt", "pytorch"):
        return MODEL_FILES[backend]
    return MODEL_FILES["onnxruntime"] if model.kind == "onnx" else None


def place(source: Path, target: Path) -> None:
    """Write a file of its own with the same bytes, on blocks that the two share where the file system can (xfs, btrfs).

    Never a hard link: a training that writes its model again in place would change what is served.
    """
    with source.open("rb") as old, target.open("wb") as new:
        try:
            left = os.fstat(old.fileno()).st_size
            while left and (done := os.copy_file_range(old.fileno(), new.fileno(), left)):
                left -= done
        except OSError:  # between two file systems, or one that does not know it
            old.seek(0)
            new.seek(0)
            shutil.copyfileobj(old, new, 2**20)


def outside_of(proto: Any) -> set[str]:
    """The files beside an ONNX file that hold its weights, relative to it."""
    entries = [entry for tensor in proto.graph.initializer for entry in tensor.external_data]
    return {entry.value for entry in entries if entry.key == "location"}


def _write_warmup(folder: Path, signature: Signature, golden: Golden) -> dict[str, tuple[tuple[int, ...], str]]:
    """One real row of each input as raw bytes; returns what config.pbtxt says about them."""
    (folder / WARMUP).mkdir()
    entries = {}
    for tensor in signature.inputs:
        row = golden.inputs[tensor.name][0] if signature.batched else golden.inputs[tensor.name]
        (folder / WARMUP / f"{tensor.name}.bin").write_bytes(model_config.little_endian(row))
        entries[tensor.name] = (tuple(row.shape) or (1,), f"{tensor.name}.bin")
    return entries


# --- golden rows ----------------------------------------------------------------------------------------------------


def make_golden(model: Model, sample: Mapping[str, NDArray[Any]]) -> Golden:
    """The model's own answers to real rows, or to made-up ones (fixed seed) where the folder has no sample.

    Made-up rows may not suit a model with free dimensions; then there are none, which package and verify both say.
    """
    if sample:
        inputs = {name: rows[:GOLDEN_ROWS] for name, rows in sample.items()}
        return Golden(inputs, model.predict(inputs), "sample")
    made_up = made_up_golden(model.signature)
    try:
        return replace(made_up, outputs=model.predict(made_up.inputs))
    except Exception:  # the model may say no to made-up rows in any way
        return Golden({}, {}, "synthetic")


def made_up_golden(signature: Signature) -> Golden:
    """Rows of the right shape from a fixed seed, without answers."""
    return Golden(
        {t.name: _made_up(t, signature.batched, seed) for seed, t in enumerate(signature.inputs)}, {}, "synthetic"
    )


def in_batches(inputs: Mapping[str, NDArray[Any]], size: int) -> list[dict[str, NDArray[Any]]]:
    """The rows in requests of at most `size`; one request where `size` is 0, as the model then takes no batches."""
    if size == 0:
        return [dict(inputs)]
    count = len(next(iter(inputs.values())))
    return [{name: array[i : i + size] for name, array in inputs.items()} for i in range(0, count, size)]


def concatenated(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The answers to `in_batches` in one piece again."""
    import numpy as np

    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _made_up(tensor: Tensor, batched: bool, seed: int) -> NDArray[Any]:
    import numpy as np

    one = [1 if d == -1 else d for d in tensor.dims]
    rows = max(2, min(GOLDEN_ROWS, MADE_UP_VALUES // math.prod(one)))  # an image of a detector has a million values
    shape = ([rows] if batched else []) + one
    kind = np.dtype(TYPES[tensor.dtype].numpy)
    numbers = np.random.default_rng(seed).normal(size=shape)
    if kind.kind == "O":
        return np.where(numbers > 0, "a", "b").astype(object)
    return (numbers > 0).astype(kind) if kind.kind in "biu" else numbers.astype(kind)


def write_golden(golden: Golden, folder: Path, about: Mapping[str, object]) -> None:
    """Write `golden.json` and one `.npy` a tensor below `inputs/` and `outputs/`; text and bytes of fixed width."""
    import numpy as np

    tensors: dict[str, dict[str, str]] = {"inputs": {}, "outputs": {}}
    for part, arrays in (("inputs", golden.inputs), ("outputs", golden.outputs)):
        (folder / part).mkdir()
        for index, (name, array) in enumerate(arrays.items()):
            file = f"{part}/{index}.npy"  # the tensor's name may hold a slash
            np.save(folder / file, _plain(array), allow_pickle=False)
            tensors[part][name] = file
    document = {**about, "source": golden.source, "rows": golden.rows, **tensors}
    (folder / GOLDEN).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Objects as text, or as bytes with one more at the end, since numpy drops zeros there."""
    if array.dtype.kind != "O":
        return array
    if not all(isinstance(item, bytes) for item in array.ravel()):
        return array.astype(str)
    import numpy as np

    return np.array([item + b"." for item in array.ravel()], dtype=bytes).reshape(array.shape)


def read_golden(folder: Path) -> Golden:
    """What `write_golden` wrote.

    Raises:
        ValueError: for a folder that is none, or damaged.
    """
    import numpy as np

    def load(file: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(folder / file, allow_pickle=False)
        if array.dtype.kind == "S":
            return np.array([item[:-1] for item in array.ravel()], dtype=object).reshape(array.shape)
        return array.astype(object) if array.dtype.kind == "U" else array

    try:
        document = json.loads((folder / GOLDEN).read_text(encoding="utf-8"))
        parts = {part: {name: load(file) for name, file in document[part].items()} for part in ("inputs", "outputs")}
        return Golden(parts["inputs"], parts["outputs"], str(document["source"]))
    except (OSError, KeyError, EOFError, ValueError, AttributeError) as error:
        raise ValueError(str(error).splitlines()[0]) from error


def as_sent(golden: Golden, signature: Signature) -> Golden:
    """The golden rows as a server takes them: one number a row is a dim of 1 there (see model_config, reshape)."""
    single = {t.name for t in signature.inputs if not t.dims and signature.batched}
    inputs = {name: a[:, None] if name in single and a.ndim == 1 else a for name, a in golden.inputs.items()}
    return replace(golden, inputs=inputs)


def check_conversion(model: Model, folder: Path, plan: Plan, golden: Golden) -> float:
    """The largest difference between the written file and the model that it came from.

    Raises:
        ToolFailed: when it is more than float32 explains; the converters have lost trees and thresholds before.
    """
    import numpy as np

    # An ONNX file, TorchScript and a function are the same bytes; an engine answers on its own GPU alone.
    if not golden.rows or model.kind in ("onnx", "function", "engine") or plan.backend == "pytorch":
        return 0.0
    answers = answer(
        folder / str(plan.version) / MODEL_FILES["fil" if plan.backend == "fil" else "onnxruntime"], golden
    )
    worst = 0.0
    for name, want in golden.outputs.items():
        # atol follows the values' size: 1e-5 of it is 100 times float32's own step, for the order of summation.
        scale = float(np.nanmax(np.abs(want), initial=0.0)) if want.dtype.kind == "f" else 0.0
        difference = compare(answers[name], want, atol=1e-5 * scale + 1e-6, rtol=1e-4)
        worst = max(worst, difference.max_abs)
        if not difference.ok:
            what = (
                f"{model.path}: converting it for {plan.backend} changed its answers: output {name!r} differs by up to"
            )
            raise ToolFailed(
                f"{what} {difference.max_abs:.3g} on the golden rows; use another backend or converter version"
            )
    return worst


def answer(path: Path, golden: Golden) -> dict[str, NDArray[Any]]:
    """What a packaged file answers to the golden rows in this process, without a server."""
    if path.suffix == ".tl":
        import treelite

        from runtime.triton.kind_forest import predict

        return predict(treelite.Model.deserialize(str(path)), golden.inputs)
    from runtime.triton.kind_onnx import onnx_session

    session = onnx_session(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, golden.inputs), strict=True))
