"""PyTorch models: TorchScript is served as it is, a state dict through ONNX; `torch.json` beside them says the rest.

Neither file says which shapes it takes. `torch.json` does: {"inputs": {"INPUT__0": ["FP32", [3, 224, 224]]}}, dims
without the rows (-1: any length). It may also hold `outputs` in the same form (else the model is asked, which takes
torch), `batched` (default true), and for a state dict `module` ("net.py:Net", in the same folder) and its `arguments`.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.triton.model_config import TYPES, Signature, Tensor
from runtime.triton.source import PORT, Arrays, Model, declared, imported

if TYPE_CHECKING:
    from numpy.typing import NDArray

CARD = "torch.json"
EXAMPLE = '{"inputs": {"INPUT__0": ["FP32", [3, 224, 224]]}}'
OUTPUT = "OUTPUT__{}"  # Source: triton-inference-server/pytorch_backend, README.md: <name>__<index>
ROWS = 2  # of the batch that a model is asked to see what it gives; 1 would hide a lost batch dimension


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, which holds code; a state dict holds none. Source: torch.jit.save."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return False
    return "constants.pkl" in names and any(name.startswith("code/") for name in names)


def open_file(path: Path, features: tuple[str, ...], trust: bool) -> Model:
    """A TorchScript archive or a state dict.

    Raises:
        BadInput: for a file that is neither, a card that does not fit, or where torch is needed and not here.
    """
    from runtime.tao.checkpoint import CARD as TAO_CARD

    if (path.parent / TAO_CARD).is_file():
        raise BadInput.of(PORT, path, "is a checkpoint of TAO", "export it first: ngcrun run tao_export")
    card = _card(path.parent, features)
    inputs = declared(path.parent / CARD, "inputs", card.get("inputs"), EXAMPLE)
    batched = bool(card.get("batched", True))
    if not is_torchscript(path):
        module = _module(path, card, trust=trust)
        ask = _asker(module, inputs, None)
        signature = Signature(inputs, _outputs(path, ask, inputs, batched), batched)
        onnx = functools.partial(_exported, path, module, signature, dynamo=True)
        return Model("state_dict", path, signature, onnx, ask, features=features)
    outputs = declared(path.parent / CARD, "outputs", card["outputs"], EXAMPLE) if "outputs" in card else None
    if outputs is not None and importlib.util.find_spec("torch") is None:
        signature = Signature(inputs, outputs, batched)
        return Model("torchscript", path, signature, None, _not_run, features=features, native="pytorch")
    module = _load_script(path)
    _check_arguments(path, module, inputs)
    ask = _asker(module, inputs, outputs)
    signature = Signature(inputs, outputs or _outputs(path, ask, inputs, batched), batched)
    onnx = functools.partial(_exported, path, module, signature, dynamo=False)  # torch's older exporter alone reads it
    return Model("torchscript", path, signature, onnx, ask, features=features, native="pytorch")


def _card(folder: Path, features: tuple[str, ...]) -> dict[str, Any]:
    """What torch.json says; a table's features stand in for it."""
    path = folder / CARD
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInput.of(PORT, path, f"is no JSON ({error})", f"write {EXAMPLE}") from error
        if isinstance(found, dict):
            return found
        raise BadInput.of(PORT, path, "is no JSON object", f"write {EXAMPLE}")
    if features:
        return {"inputs": {"INPUT__0": ["FP32", [len(features)]]}}
    todo = f"write {CARD} beside it: {EXAMPLE}, dims without the rows"
    raise BadInput.of(PORT, folder, "holds a PyTorch model, which does not say what shapes it takes", todo)


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        todo = "pip install torch onnxscript (a CPU build is enough), or export the model to ONNX and package that"
        raise BadInput.of(PORT, path, "is a PyTorch model, and torch is not installed here", todo) from error
    return torch


def _load_script(path: Path) -> Any:
    torch = _torch(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is; TorchScript is what the backend takes
            return torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:  # a RuntimeError of C++, mostly
        raise BadInput.of(PORT, path, f"cannot be read ({_said(error)})", "save it again: torch.jit.save") from error


def _module(path: Path, card: Mapping[str, Any], *, trust: bool) -> Any:
    """The module of a state dict, built by a file of the user's: code that is run only when the user trusts it."""
    said = str(card.get("module", ""))
    file, _, name = said.partition(":")
    if not name or not (path.parent / file).is_file():
        wrong = f"is a state dict, and {CARD} names no module that it is of" + (f": {said!r}" if said else "")
        raise BadInput.of(PORT, path, wrong, f'write "module": "net.py:Net" into {CARD}, with net.py beside it')
    if not trust:
        raise BadInput.of(PORT, path, f"needs {file} to be run", "say trust_pickle=true if you trust that file")
    torch = _torch(path)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        wrong = f"holds more than weights, or is cut short ({_said(error)})"
        raise BadInput.of(PORT, path, wrong, "save the weights alone: torch.save(model.state_dict(), ...)") from error
    made = getattr(imported(path.parent / file), name, None)
    if made is None:
        raise BadInput.of(PORT, path.parent / file, f"has no {name}", f'correct "module" in {CARD}')
    module = made(**card.get("arguments", {}))
    try:
        module.load_state_dict(weights.get("state_dict", weights))  # as Lightning saves it, or plain
    except RuntimeError as error:
        wrong = f"does not fit {name} ({_said(error)})"
        raise BadInput.of(PORT, path, wrong, f'correct "module" or "arguments" in {CARD}') from error
    return module.eval()


def _check_arguments(path: Path, module: Any, inputs: tuple[Tensor, ...]) -> None:
    """The backend finds an input by the name of an argument of `forward`, or by <name>__<index>."""
    known = [argument.name for argument in module.forward.schema.arguments][1:]
    named = [t.name for t in inputs]
    if sorted(named) == sorted(known) or named == [f"{n.rpartition('__')[0]}__{i}" for i, n in enumerate(named)]:
        return
    todo = f"name them as the arguments of forward ({', '.join(known)}), or INPUT__0, INPUT__1 in their order"
    raise BadInput.of(PORT, path.parent / CARD, f"names the inputs {', '.join(named)}", todo)


def _asker(module: Any, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...] | None) -> Callable[[Arrays], Any]:
    """Answers in this process, on one thread as the other kinds do."""

    def ask(arrays: Arrays) -> dict[str, NDArray[Any]]:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                found = module(*(torch.from_numpy(arrays[t.name]) for t in inputs))
        finally:
            torch.set_num_threads(threads)
        parts = found if isinstance(found, (tuple, list)) else [found]
        names = [t.name for t in outputs] if outputs else [OUTPUT.format(i) for i in range(len(parts))]
        return {name: part.numpy() for name, part in zip(names, parts, strict=True)}

    return ask


def _outputs(path: Path, ask: Callable[[Arrays], Any], inputs: tuple[Tensor, ...], batched: bool) -> tuple[Tensor, ...]:
    """What the model gives for made-up inputs, where no length is free."""
    import numpy as np

    if any(-1 in t.dims for t in inputs):
        todo = f'write "outputs" into {CARD}, in the same form'
        raise BadInput.of(PORT, path.parent / CARD, "leaves a length of an input free and names no outputs", todo)
    rows = [ROWS] if batched else []
    try:
        found = ask({t.name: np.zeros((*rows, *t.dims), TYPES[t.dtype].numpy) for t in inputs})
    except Exception as error:  # whatever the module says of it
        wrong = f"does not take the inputs of {CARD} ({_said(error)})"
        raise BadInput.of(PORT, path, wrong, "correct their types and dims") from error
    by_type = {np.dtype(row.numpy): row.triton for row in TYPES.values()}
    for name, array in found.items():
        if batched and array.shape[:1] != (ROWS,):
            wrong = f"gives {name} as {list(array.shape)} for {ROWS} rows: its first dimension is not that of the rows"
            raise BadInput.of(PORT, path, wrong, f'write "batched": false into {CARD}, with all dims')
    return tuple(Tensor(n, by_type[a.dtype], tuple(a.shape[1:] if batched else a.shape)) for n, a in found.items())


def _exported(path: Path, module: Any, signature: Signature, *, dynamo: bool) -> Any:
    """The model as an ONNX `ModelProto`, with names and free lengths as the signature has them."""
    import onnx
    import torch

    rows = [ROWS] if signature.batched else []
    made = tuple(
        torch.zeros([*rows, *(ROWS if d == -1 else d for d in t.dims)], dtype=_dtype(t.dtype)) for t in signature.inputs
    )
    inputs, outputs = ([t.name for t in tensors] for tensors in (signature.inputs, signature.outputs))
    free = {t.name: _free(t, signature.batched) for t in (*signature.inputs, *signature.outputs)}
    how: dict[str, Any] = {"dynamic_axes": free}
    if dynamo:
        how = {"dynamic_shapes": tuple(dict.fromkeys(free[n], torch.export.Dim.DYNAMIC) for n in inputs)}
    target = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing, and that torch.jit and this exporter get old
            program = torch.onnx.export(
                module, made, None if dynamo else target, input_names=inputs, output_names=outputs, dynamo=dynamo,
                verbose=False, **how,
            )  # fmt: skip
    except Exception as error:  # each operator that it does not know has an error of its own
        wrong = f"cannot be written as ONNX ({_said(error)})"
        raise BadInput.of(PORT, path, wrong, "use backend=native, for an NGC container") from error
    return program.model_proto if dynamo else onnx.load_from_string(target.getvalue())


def _free(tensor: Tensor, batched: bool) -> dict[int, str]:
    """Names for the lengths of a tensor that are free, by position."""
    rows = {0: "rows"} if batched else {}
    return rows | {i + batched: f"{tensor.name}_{i}" for i, d in enumerate(tensor.dims) if d == -1}


def _dtype(triton: str) -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.zeros(1, TYPES[triton].numpy)).dtype


def _not_run(_arrays: Arrays) -> dict[str, NDArray[Any]]:
    raise RuntimeError("the model is not run here: torch is not installed")


def _said(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
