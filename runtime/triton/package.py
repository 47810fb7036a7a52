"""`triton_package`: a model folder becomes a Triton model repository."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.background import Background
from runtime.component import Group, Input, Output, Param, component
from runtime.errors import BadInput, Problem
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.triton import scheduling
from runtime.triton.model_config import Plan, Signature, Tensor

if TYPE_CHECKING:
    from runtime.triton.source import Model

# Ports that say what a given config.pbtxt says.
IN_CONFIG = ("max_batch_size", "device", "instances", "scheduler", "serving")
BATCH = 1024  # the default of `max_batch_size` for a model whose first dimension is free


@dataclass(kw_only=True)
class Ports:
    """Put a trained model into a Triton model repository with a checked config.pbtxt.

    Writes `<repository>/<model_name>/config.pbtxt`, `<version>/` and, with a sample of real rows, `warmup/`.
    """

    model: Annotated[
        Path,
        Input(
            "Folder with a model: ONNX, TensorRT, PyTorch, XGBoost, LightGBM, scikit-learn, Treelite, MLflow, function"
        ),
    ]
    file: Annotated[str | None, Param("Name of the model file, when the folder holds several")] = None
    model_name: Annotated[str, Param("Name that clients ask for; becomes the folder's name")] = "model"
    model_version: Annotated[int, Param("Version folder to write", minimum=1)] = 1
    backend: Annotated[
        str,
        Param(
            "native: fil, pytorch or onnxruntime; python: a model.py that runs ONNX; auto: by target",
            choices=("auto", "native", "python"),
        ),
    ] = "auto"
    target: Annotated[
        str,
        Param(
            "ngc: a Triton container of NGC; local: the server found here; auto: local if there is one",
            choices=("auto", "ngc", "local"),
        ),
    ] = "auto"
    max_batch_size: Annotated[
        int | None, Param("Rows in one batch; 0: no batching; absent: 1024 where the model allows batches", minimum=0)
    ] = None
    gpu: Annotated[
        str | None, Param("GPU that it will run on: 8.0, or a VM size; absent: the one here, if there is one")
    ] = None
    device: Annotated[
        str, Param("Where instances run; auto: a GPU if the server has one", choices=("auto", "cpu", "gpu"))
    ] = "auto"
    instances: Annotated[int, Param("Copies of the model that run side by side", minimum=1)] = 1
    threads: Annotated[int, Param("CPU threads of one inference; 0: all cores", minimum=0)] = 1
    labels: Annotated[
        Path | None, Input("Class names, a line each, which triton_infer_images reads back", type="uri_file")
    ] = None
    config: Annotated[
        Path | None,
        Input("config.pbtxt, or a folder with one, to keep: comments stay, what the model contradicts is corrected"),
    ] = None
    scheduler: Annotated[
        scheduling.Dynamic | scheduling.Direct | scheduling.Sequence,
        Group("How the server batches requests", options=scheduling.SCHEDULERS),
    ] = field(default_factory=scheduling.Dynamic)
    serving: Annotated[
        scheduling.Serving, Group("Versions, cache, rate limit, GPUs", options={"serving": scheduling.Serving})
    ] = field(default_factory=scheduling.Serving)
    proof: Annotated[
        str, Param("run: load it, record its answers; none: read an ONNX graph alone", choices=("run", "none"))
    ] = "run"
    trust_pickle: Annotated[bool, Param("Open a pickle or unknown types, which can run any code they hold")] = False
    repository: Annotated[Path, Output("Model repository: what tritonserver and AzureML take", type="triton_model")]
    golden: Annotated[Path, Output("Rows and the model's own answers to them, for triton_verify")]


@component(name="triton_package", version="1", image="triton")
def package(ports: Ports, metrics: Metrics) -> None:
    """Write the repository and the golden rows.

    Raises:
        BadInput: for a model that cannot be read or packaged as asked.
        ToolFailed: when the converted model answers otherwise than the original.
    """
    from runtime.triton import engine_card, provenance
    from runtime.triton.check import check_repository
    from runtime.triton.repository import Golden, check_conversion, copied, make_golden, write_golden, write_model
    from runtime.triton.source import find_file, open_model, sample_rows

    _check_name(ports.model_name)
    given = _given_config(ports)
    path, _ = find_file(ports.model, ports.file)
    digest = Background(lambda: provenance.sha256(path))
    model = _for_gpu(ports, open_model(ports.model, ports.file, ports.trust_pickle, loaded=ports.proof == "run"))
    backend, why = choose_backend(ports, model)
    plan = make_plan(ports, model, backend, given[1] if given else None)
    if model.engine is not None:
        print(f"a TensorRT engine for {model.engine.text()}; the golden rows are the answers of the ONNX model")
    golden = make_golden(model, sample_rows(ports.model, model)) if ports.proof == "run" else Golden({}, {}, "none")
    folder, corrections = write_model(ports.repository, model, plan, golden, given)
    for line in corrections:
        print(f"config.pbtxt: {line}")
    made = {"model": plan.name, "kind": model.kind, "backend": backend, **engine_card.card_of(model)}
    sha256 = digest.result() if model.path == path else provenance.sha256(model.path)
    known = provenance.Known(sha256, copied(model, backend))
    provenance.write(folder / str(plan.version), model.path, known, corrections=list(corrections), **made)
    # The file was just opened, and config.pbtxt is made from it; only these two may not have been read so far.
    check_repository(ports.repository, plan.name, models=model.kind in ("engine", "torchscript"))
    error = check_conversion(model, folder, plan, golden)
    about = {"model": plan.name, "version": plan.version, "kind": model.kind, "features": list(model.features)}
    write_golden(golden, ports.golden, about)
    print(f"backend: {backend} ({why})")
    if golden.source == "none":
        print("proof=none: nothing was asked of this model; no golden rows and no warm-up")
    elif golden.source != "sample":
        print(f"no sample.parquet: {golden.rows} made-up golden rows and no warm-up")
    metrics.tags({"backend": backend, "backend_reason": why, "model_kind": model.kind, "golden_source": golden.source})
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    metrics.log({"config_corrections": len(corrections)} if given else {})
    metrics.log({"conversion_max_abs_error": error, "golden_rows": golden.rows, "repository_bytes": size})


def choose_backend(ports: Ports, model: Model) -> tuple[str, str]:
    """The Triton backend, and why: as asked, else by the target, else by what the server found here ships."""
    native = model.backend or model.native or ("fil" if model.treelite is not None else "onnxruntime")
    if ports.backend != "auto":
        return (native if ports.backend == "native" else "python"), f"backend={ports.backend}"
    if ports.target == "ngc":
        return native, "target=ngc ships it"
    from runtime.triton.serve_env import find_server

    try:
        server = find_server()
    except BadInput:
        if ports.target == "local":
            raise
        return native, "no tritonserver here, so for an NGC container"
    if model.onnx is None:
        return native, "nothing else serves it"
    if native in server.backends():
        return native, f"the server here ships it: {server.binary}"
    return "python", f"the server here lacks {native}: {server.binary}"


def _for_gpu(ports: Ports, model: Model) -> Model:
    """The model; for an engine that does not run on `gpu`, the ONNX model that it was built from."""
    from runtime.triton import engine_card, provenance, source

    here = provenance.gpu()
    asked = engine_card.capability(ports.gpu) if ports.gpu else here["compute_capability"] if here else None
    if model.engine is None or (asked is None and not ports.gpu):
        return model
    wrong = engine_card.mismatch(model.engine, asked, engine_card.tensorrt_here())
    if wrong is None:
        return model
    if ports.file == model.path.name:
        raise BadInput.of("model", model.path, wrong, engine_card.REBUILD)
    (onnx,) = sorted(model.path.parent.glob("*.onnx"))  # kind_engine found exactly one
    print(f"{model.path.name} {wrong}: {onnx.name} is packaged in its place")
    return source.open_model(onnx)


def _given_config(ports: Ports) -> tuple[str, Any] | None:
    """The text and the message of the config that is to be kept; raises `BadInput` where a port says the same again."""
    if ports.config is None:
        return None
    from runtime.triton import config_fix

    again = {
        field.name: getattr(ports, field.name)
        for field in fields(Ports)
        if field.name in IN_CONFIG and getattr(ports, field.name) != _default(field)
    }
    if again:
        todo = f"set it in {ports.config}, or leave out config"
        raise BadInput([Problem(name, value, "is what config says, too", todo) for name, value in again.items()])
    return config_fix.read(ports.config)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def make_plan(ports: Ports, model: Model, backend: str, config: Any = None) -> Plan:
    """What config.pbtxt will say; raises `BadInput` with all that does not fit the model.

    `config`: the message that is to be kept, whose batch size then counts.
    """
    batched, wanted = model.signature.batched, ports.max_batch_size
    if config is not None:
        wanted = int(config.max_batch_size) if batched else None
    problems = []
    if model.onnx is None and backend == "python" and model.backend != "python":
        todo = "use backend=native, for an NGC container"
        problems.append(Problem("backend", backend, f"runs ONNX, which nothing makes from {model.path.name}", todo))
    if wanted and not batched:
        shapes = ", ".join(f"{t.name} {list(t.dims)}" for t in model.signature.inputs)
        todo = "export the model with a free first dimension, or use max_batch_size=0"
        problems.append(
            Problem(
                "max_batch_size", wanted, f"the model takes no batches: its first dimension is fixed ({shapes})", todo
            )
        )
    if wanted == 0 and batched and backend == "fil":
        problems.append(Problem("max_batch_size", 0, "the fil backend always takes batches", "give 1 or more"))
    if ports.device == "gpu" and backend == "python":
        problems.append(
            Problem("device", "gpu", "the python backend runs onnxruntime on the CPU", "use backend=native")
        )
    if problems:
        raise BadInput(problems)
    if model.engine is not None and wanted is None and batched:
        wanted = model.engine.max_batch_size
        if wanted is None:
            todo = "say what the engine's optimization profile allows"
            raise BadInput.of("max_batch_size", None, "is not known of an engine", todo)
    size = (BATCH if wanted is None else wanted) if batched else 0
    signature = model.signature if size or not batched else _unbatched(model.signature)
    device = "cpu" if backend == "python" else ports.device
    plan = Plan(
        ports.model_name, backend, signature, size, f"KIND_{device.upper()}", ports.instances,
        _parameters(ports, model, backend), version=ports.model_version,
        scheduler=ports.scheduler, serving=ports.serving,
    )  # fmt: skip
    problems = scheduling.problems(plan)
    problems += [
        Problem("serving.model_files", name, f"is not in {model.path.parent}", "put it beside the model")
        for name in scheduling.extra_files(plan.serving)
        if not (model.path.parent / name).is_file()
    ]
    if problems:
        raise BadInput(problems)
    return plan


def _unbatched(signature: Signature) -> Signature:
    """The same model without a batch dimension for Triton: rows become an ordinary free dim."""

    def widened(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(replace(t, dims=(-1, *t.dims)) for t in tensors)

    return Signature(widened(signature.inputs), widened(signature.outputs), batched=False)


def _parameters(ports: Ports, model: Model, backend: str) -> dict[str, str]:
    """Settings of the backend, all text, and what the clients read back: feature names, task, labels."""
    from runtime.triton import ready_features, source, tao_export

    values = {"feature_names": json.dumps(list(model.features), ensure_ascii=False)} if model.features else {}
    values |= ready_features.parameters_of(model.path.parent / source.FEATURES) if model.features else {}
    if backend == "fil":
        values["model_type"] = "treelite_checkpoint"  # Source: fil_backend docs/model_config.md
    if backend == "onnxruntime":
        values["intra_op_thread_count"] = str(ports.threads)  # Source: onnxruntime_backend README
    if backend == "pytorch" and ports.threads:
        values["INTRA_OP_THREAD_COUNT"] = str(ports.threads)  # Source: pytorch_backend README; of the whole server
    if backend == "python":
        # numpy: measured with the server of nvidia-pytriton 0.7.0; see python_backend/model.py.
        values |= {"numpy_below": "2"}
        if model.kind != "function":
            values |= {"intra_op_threads": str(ports.threads), "refuse": ",".join(model.refuse)}
    return values | tao_export.parameters(ports.model) | _labels(ports.labels)


def _labels(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput.of("labels", path, f"cannot be read ({error})", "give a file with a name a line") from error
    if not names:
        raise BadInput.of("labels", path, "names no class", "give a file with a name a line")
    return {"labels": json.dumps(names, ensure_ascii=False)}


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise BadInput.of(
            "model_name", name, "is no name for a folder", "use letters, digits, _ . and -, such as taxi_fare"
        )


if __name__ == "__main__":
    sys.exit(main(package))
