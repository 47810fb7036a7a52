"""Where a TensorRT engine was built, in `engine.json` beside it, and whether it runs elsewhere.

An engine runs on the compute capability and with the TensorRT release that it was built with, unless it was built to be
compatible. Source: docs.nvidia.com/deeplearning/tensorrt, "Version Compatibility" and "Hardware Compatibility".
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem
from runtime.triton import provenance

CARD = "engine.json"
SUFFIXES = (".engine", ".plan")


@dataclass(frozen=True)
class Built:
    """The GPU's compute capability (`8.0`), the TensorRT release (`10.3`), and the most rows of its profile."""

    compute_capability: str
    tensorrt: str = ""
    gpu: str = ""
    max_batch_size: int | None = None

    def text(self) -> str:
        """As messages say it."""
        release = f" with TensorRT {self.tensorrt}" if self.tensorrt else ""
        return f"compute capability {self.compute_capability}{release}"


def write(folder: Path) -> None:
    """Write `engine.json` about this machine, where an engine was just built; nothing without a GPU."""
    gpu = provenance.gpu()
    if gpu is None:
        return
    built = Built(gpu["compute_capability"], tensorrt_here(), gpu["name"])
    (folder / CARD).write_text(json.dumps(asdict(built), indent=2) + "\n", encoding="utf-8")


def tensorrt_here() -> str:
    """The TensorRT of this container, as the image says it; empty where it does not."""
    return os.environ.get("TRT_VERSION", "")


def read(folder: Path) -> Built | None:
    """What the card says; None without one. Raises `BadInput` for a card that is none."""
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        built = Built(**json.loads(path.read_text(encoding="utf-8")))
        _version(built.compute_capability)
    except (ValueError, TypeError) as error:
        todo = 'write {"compute_capability": "8.0", "tensorrt": "10.3.0"}'
        raise BadInput.of("model", path, f"does not say where the engine was built ({error})", todo) from error
    return built


def capability(gpu: str) -> str | None:
    """The compute capability of `8.0` or of an AzureML VM size; None for a size without a GPU.

    Raises `BadInput` for anything else.
    """
    if re.fullmatch(r"\d+\.\d", gpu):
        return gpu
    import yaml

    path = Path(__file__).parents[1] / "azureml" / "conf" / "sizes.yaml"
    tables = yaml.safe_load(path.read_text(encoding="utf-8"))
    rows = {name.lower(): row for key in ("retired", "sizes") for name, row in tables[key].items()}
    if gpu.lower() not in rows:
        todo = "write 8.0, or a size of `ngcrun azureml compute sizes`"
        raise BadInput.of("gpu", gpu, "is neither a compute capability nor a known VM size", todo)
    found = str(rows[gpu.lower()].get("compute_capability", "0"))
    return None if found == "0" else found


def mismatch(built: Built, has: str | None, tensorrt: str = "") -> str | None:
    """Why an engine does not run on a GPU of this capability with this TensorRT, as a clause; None if it does."""
    if has is None:
        return f"is a TensorRT engine for {built.text()}, and there is no GPU"
    if _version(built.compute_capability) != _version(has):
        return f"is a TensorRT engine for {built.text()}, and the GPU has compute capability {has}"
    if tensorrt and built.tensorrt and _version(built.tensorrt)[:2] != _version(tensorrt)[:2]:
        return f"is a TensorRT engine for {built.text()}, and the server has TensorRT {tensorrt}"
    return None


REBUILD = "build it there (tao_gen_trt_engine, or trtexec in the same image), or package the ONNX model"


def repository_problems(repository: Path, has: str | None, port: str = "repository") -> list[Problem]:
    """Every engine in a repository that does not run there; packages say in their provenance where it was built."""
    found = []
    for path in sorted(repository.glob(f"*/*/{provenance.FILE}")):
        about = provenance.read(path.parent).get("engine")
        wrong = mismatch(Built(**about), has) if isinstance(about, dict) else None
        if wrong:
            found.append(Problem(port, path.parent, wrong, REBUILD))
    return found


def _version(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(\.\d+)+", text):
        raise ValueError(f"{text!r} is no version")
    return tuple(int(part) for part in text.split("."))


def card_of(model: Any) -> dict[str, Any]:
    """What the provenance of a packaged engine says; empty for any other model."""
    return {"engine": asdict(model.engine)} if model.engine is not None else {}
