"""Arrays of a detector's size, (3, 544, 960), through a real tritonserver on this machine; A B A B, medians.

triton_infer_tensors over each protocol, with and without shared memory, against a loop of tritonclient.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from runtime.execute import main
from runtime.triton.infer_tensors import infer_tensors
from runtime.triton.model_config import Tensor
from runtime.triton.serve import Running
from tests.fakes import picture_models
from tests.fakes.triton_server import server

ITEMS, ROUNDS = 48, 3
DIMS = (3, 544, 960)
# A classifier, whose answer is three numbers, and a segmentation, whose answer is as large as two thirds of its input.
MODELS = {"colours": lambda folder: picture_models.colours(folder, {}), "where_red": picture_models.where_red}
OUTPUT = {"colours": "predictions", "where_red": "logits"}


def loop(running: Running, model: str, protocol: str, arrays: Path, out: Path) -> None:
    """One request after the other, as a script does."""
    import tritonclient.grpc
    import tritonclient.http

    module, url = (tritonclient.http, running.http) if protocol == "http" else (tritonclient.grpc, running.grpc)
    out.mkdir()
    with contextlib.closing(module.InferenceServerClient(url)) as client:
        for path in sorted(arrays.iterdir()):
            array = np.load(path)[None]
            tensor = module.InferInput("input_1", list(array.shape), "FP32")
            tensor.set_data_from_numpy(array)
            np.save(out / path.name, client.infer(model, [tensor]).as_numpy(OUTPUT[model])[0])


def ours(running: Running, case: tuple[str, str, str], arrays: Path, out: Path) -> None:
    """The step, in this process; `case`: model, protocol, and whether through shared memory."""
    model, protocol, sharing = case
    url = running.http if protocol == "http" else running.grpc
    words = [f"tensors={arrays}", f"predictions={out}", f"url={url}", f"protocol={protocol}", f"model_name={model}"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(infer_tensors, [*words, f"shared_memory={sharing}"]) == 0


def measure(folder: Path, model: str) -> dict[tuple[str, str], list[float]]:
    """Items a second by (what, protocol), a figure a round."""
    picture_models.IMAGE = Tensor("input_1", "FP32", DIMS)
    picture_models.HEIGHT, picture_models.WIDTH = DIMS[1:]
    MODELS[model](folder / "repository")
    (folder / "in").mkdir()
    for number in range(ITEMS):
        np.save(folder / "in" / f"{number:02}.npy", np.random.default_rng(number).random(DIMS, np.float32))
    found: dict[tuple[str, str], list[float]] = {}
    with server(folder / "repository", model) as running:
        for turn in range(ROUNDS):
            for protocol in ("http", "grpc", "stream"):
                for what in ("loop", "no", "yes"):
                    if (what, protocol) == ("loop", "stream"):
                        continue
                    out = folder / f"{turn}-{protocol}-{what}"
                    began = time.perf_counter()
                    if what == "loop":
                        loop(running, model, protocol, folder / "in", out)
                    else:
                        ours(running, (model, protocol, what), folder / "in", out)
                    found.setdefault((what, protocol), []).append(ITEMS / (time.perf_counter() - began))
    return found


def table(model: str) -> None:
    """Print the medians of one model."""
    with tempfile.TemporaryDirectory() as work:
        figures = measure(Path(work), model)
    names = {"loop": "tritonclient in a loop", "no": "triton_infer_tensors", "yes": "the same, shared memory"}
    print(f"| {model} | " + " | ".join(f"{p}, items/s" for p in ("http", "grpc", "stream")) + " |\n|---|---|---|---|")
    for what, name in names.items():
        cells = [figures.get((what, protocol)) for protocol in ("http", "grpc", "stream")]
        print(f"| {name} | " + " | ".join(f"{statistics.median(c):.0f}" if c else "-" for c in cells) + " |")


if __name__ == "__main__":
    for name in MODELS:
        table(name)
