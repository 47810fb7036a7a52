"""A model through the real tritonserver: against the model in process, tuned against untuned, our client and others.

Usage: python bench/triton.py [--rounds 3] [--parts serve,client,load,steps,tune,pack] [--seconds 60]
The server is the one that triton_verify uses; where it lacks onnxruntime's backend the python backend runs the ONNX.
serve: rows a second and p99 at batch 1 and 1,024 with 1, 4 and 16 requests at once, beside onnxruntime in this process.
client: triton_infer's client and a plain tritonclient loop on the same server.
load: our load generator and perf_analyzer, where it is on PATH (bench/perf_analyzer.py), on the same server.
steps: the taxi model alone and as an ensemble that makes its features from raw columns first, one request at a time.
tune: triton_tune's default search on the taxi model and on a ResNet-18, untuned and tuned in turn.
pack: triton_package of a 1 GB model beside cp and sha256sum of the same file.
Rounds go A B A B; medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import perf_analyzer  # beside this file

ROOT = Path(__file__).parents[1]
TAXI = ROOT / "tests" / "data" / "taxi"


def step(module: str, *words: str) -> float:
    """Seconds of one whole step."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    argv = [sys.executable, "-m", f"runtime.{module}", *words]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit((done.stdout + done.stderr)[-3000:])
    return time.monotonic() - began


def taxi(folder: Path) -> Path:
    """The model of the demo: XGBoost on real trips, packaged for the server here."""
    prepared, train, test = (f"{folder}/{name}" for name in ("prepared", "train", "test"))
    step("rapids.prepare", f"trips={TAXI}", f"prepared={prepared}")
    step("rapids.transform", f"prepared={prepared}", f"train={train}", f"test={test}")
    step("rapids.train", f"train={train}", f"test={test}", f"trained={folder}/trained")
    return package(folder, folder / "trained", "taxi")


def image(folder: Path) -> Path:
    """ResNet-18 with random weights, which costs what a trained one does."""
    import resnet

    (folder / "image").mkdir()
    resnet.write(folder / "image" / "model.onnx")
    return package(folder, folder / "image", "image")


def package(folder: Path, model: Path, name: str) -> Path:
    out = folder / f"{name}-package"
    step("triton.package", f"model={model}", f"model_name={name}", f"repository={out}/repo", f"golden={out}/golden")
    return out


def in_turn(rounds: int, acts: dict[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """Each act once a round, A B A B."""
    found: dict[str, list[Any]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            found[name].append(act())
    return found


def serve(folder: Path, rounds: int) -> None:
    """The cost of a server around a model."""
    from runtime.triton.kind_onnx import onnx_session
    from runtime.triton.load import sendable
    from runtime.triton.load_generator import Load, measure
    from runtime.triton.repository import read_golden
    from runtime.triton.serve import serving
    from runtime.triton.serve_env import find_server

    made = folder / "taxi-package"
    inputs = read_golden(made / "golden").inputs
    (name,) = inputs
    session = onnx_session(made / "repo" / "taxi" / "1" / "model.onnx")
    print("| rows a request | requests at once | server, rows/s | p50 ms | p99 ms | in process, one thread, rows/s |")
    print("|---|---|---|---|---|---|")
    with serving(find_server(), made / "repo", ["taxi"]) as running:
        for batch in (1, 1024):
            requests = sendable(inputs, batch, batched=True)

            def own(requests: list[dict[str, Any]] = requests, batch: int = batch) -> float:
                began, count = time.perf_counter(), 0
                while time.perf_counter() - began < 1.0:
                    session.run(None, {name: requests[count % len(requests)][name]})
                    count += 1
                return count * batch / (time.perf_counter() - began)

            for level in (1, 4, 16):

                def asked(level: int = level, requests: Any = requests, batch: int = batch) -> Any:
                    return measure(running.grpc, "taxi", requests, {name: "FP32"}, Load(level), rows=batch, most_s=2.0)

                found = in_turn(rounds, {"server": asked, "own": own})
                keys = ("rows_per_s", "p50_ms", "p99_ms")
                middle = [statistics.median(getattr(m, key) for m in found["server"]) for key in keys]
                cells = [
                    f"{middle[0]:,.0f}",
                    f"{middle[1]:.2f}",
                    f"{middle[2]:.2f}",
                    f"{statistics.median(found['own']):,.0f}",
                ]
                print(f"| {batch} | {level} | {' | '.join(cells)} |", flush=True)


def client(folder: Path, rounds: int) -> None:
    """Rows of a table through one server, by our step's client, by the loop that people write."""
    import polars as pl
    from tritonclient.grpc import InferenceServerClient, InferInput

    from runtime.triton.serve import serving
    from runtime.triton.serve_env import find_server
    from runtime.triton.source import feature_names

    made, test = folder / "taxi-package", folder / "test"
    names = list(feature_names(folder / "trained"))
    table = pl.concat([pl.read_parquet(sorted(test.glob("*.parquet")))] * 20)
    rows = folder / "rows.parquet"
    table.write_parquet(rows)
    with serving(find_server(), made / "repo", ["taxi"]) as running:

        def ours() -> float:
            out = Path(tempfile.mkdtemp(dir=folder)) / "predictions"
            ports = [f"rows={rows}", f"url={running.grpc}", "protocol=grpc", "model_name=taxi", f"predictions={out}"]
            step("triton.infer", *ports)
            return table.height

        def loop() -> float:
            array = pl.read_parquet(rows).select(names).to_numpy().astype(np.float32)
            answers = []
            with InferenceServerClient(running.grpc) as connection:
                for start in range(0, len(array), 1024):
                    tensor = InferInput("input__0", list(array[start : start + 1024].shape), "FP32")
                    tensor.set_data_from_numpy(np.ascontiguousarray(array[start : start + 1024]))
                    answers.append(connection.infer("taxi", [tensor]).as_numpy("output__0"))
            pl.DataFrame({"y": np.concatenate(answers)[:, 0]}).write_parquet(folder / "loop.parquet")
            return table.height

        acts = {"triton_infer, a whole step": _timed(ours), "a tritonclient loop, in process": _timed(loop)}
        found = in_turn(rounds, acts)
        for name, times in found.items():
            print(
                f"| {name} | {table.height / statistics.median(times):,.0f} rows/s | {statistics.median(times):.2f} s |"
            )


def _timed(act: Callable[[], Any]) -> Callable[[], float]:
    def timed() -> float:
        began = time.perf_counter()
        act()
        return time.perf_counter() - began

    return timed


def steps(folder: Path, rounds: int) -> None:
    """What the step `features` costs a request."""
    from runtime.triton.load import sendable
    from runtime.triton.load_generator import Load, measure
    from runtime.triton.repository import read_golden
    from runtime.triton.serve import serving
    from runtime.triton.serve_env import find_server

    made, out = folder / "taxi-package", folder
    (out / "e.yaml").write_text("name: whole\nsteps:\n- {make: features, for: taxi}\n- model: taxi\n")
    words = [f"models={made}/repo", f"config={out}/e.yaml", f"samples={folder}/prepared"]
    step("triton.ensemble", *words, f"repository={out}/whole", f"golden={out}/golden")
    inputs = {"taxi": read_golden(made / "golden").inputs, "whole": read_golden(out / "golden").inputs}
    kinds = {"float32": "FP32", "float64": "FP64", "int64": "INT64"}
    print("| rows a request | model alone, p50 ms | p99 ms | with its features, p50 ms | p99 ms |")
    print("|---|---|---|---|---|")
    with serving(find_server(), out / "whole", ["taxi", "whole"]) as running:
        for batch in (1, 1024):

            def asked(name: str, batch: int = batch) -> Callable[[], Any]:
                types = {key: kinds[str(array.dtype)] for key, array in inputs[name].items()}
                requests = sendable(inputs[name], batch, batched=True)
                return lambda: measure(running.grpc, name, requests, types, Load(1), rows=batch, most_s=2.0)

            found = in_turn(rounds, {name: asked(name) for name in inputs})
            cells = [statistics.median(getattr(m, k) for m in found[n]) for n in inputs for k in ("p50_ms", "p99_ms")]
            print(f"| {batch} | {' | '.join(f'{cell:.2f}' for cell in cells)} |", flush=True)


def tune(folder: Path, seconds: float) -> None:
    """What a search brings."""
    for name in ("taxi", "image"):
        made, out = folder / f"{name}-package", folder / f"{name}-tuned"
        words = [f"repository={made}/repo", f"golden={made}/golden", f"tuned={out}/tuned", f"report={out}/report"]
        took = step("triton.tune", *words, f"seconds={seconds}")
        lines = (out / "report" / "tuning.md").read_text().splitlines()
        print(f"{lines[2]} ({took:.0f} s)", flush=True)


def pack(folder: Path, rounds: int) -> None:
    """A model of 1 GB; the copy alone is what a file system can do."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    side = 16_000
    weights = numpy_helper.from_array(np.random.default_rng(0).standard_normal((side, side), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "big",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", side])], [weights],
    )  # fmt: skip
    (folder / "big").mkdir()
    file = folder / "big" / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    del weights, graph

    def packaged(proof: str) -> None:
        out = folder / "big-package"
        shutil.rmtree(out, ignore_errors=True)
        where = (f"repository={out}/repo", f"golden={out}/golden")
        step("triton.package", f"model={folder / 'big'}", "target=ngc", *where, f"proof={proof}")

    acts = {
        "triton_package, which also loads it and asks it 256 rows": _timed(lambda: packaged("run")),
        "triton_package proof=none": _timed(lambda: packaged("none")),
        "cp": _timed(lambda: subprocess.run(["cp", file, folder / "copy"], check=True)),
        "sha256sum": _timed(lambda: subprocess.run(["sha256sum", file], check=True, capture_output=True)),
    }
    for name, times in in_turn(rounds, acts).items():
        print(f"| {name} | {statistics.median(times):.1f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default="serve,client,load,steps,tune,pack")
    parser.add_argument("--seconds", type=float, default=150)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory(prefix="ngcrun-bench-") as name:
        folder, parts = Path(name), given.parts.split(",")
        if set(parts) - {"pack"}:
            taxi(folder)
        for part in parts:
            print(f"\n{part}", flush=True)
            if part == "tune":
                image(folder)
                tune(folder, given.seconds)
            else:
                acts = {"serve": serve, "client": client, "steps": steps, "pack": pack}
                acts["load"] = perf_analyzer.side_by_side
                acts[part](folder, given.rounds)


if __name__ == "__main__":
    main()
