"""How a server is to run a model: the scheduler and the rest of config.pbtxt, typed, and checked before it is written.

Each field's meaning is that of the field of the same name in Triton's model_config.proto
(github.com/triton-inference-server/common, protobuf/model_config.proto).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runtime.errors import Problem, nearest

if TYPE_CHECKING:
    from runtime.triton.model_config import Plan

PRECISIONS = ("FP32", "FP16")
# Source: model_config.proto, ModelSequenceBatching.Control.Kind.
CONTROLS = {"start": "START", "ready": "READY", "end": "END", "correlation_id": "CORRID"}


@dataclass
class Dynamic:
    """Requests that arrive together are put into one batch.

    No queue delay by default: it more than doubled the latency of a single client when measured.
    """

    preferred_batch_sizes: list[int] = field(default_factory=list)
    max_queue_delay_us: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    queue_timeout_us: int = 0  # 0: a request waits for ever
    max_queue_size: int = 0  # 0: any number may wait


@dataclass
class Direct:
    """Each request is one execution."""


@dataclass
class Sequence:
    """Requests of one sequence go to one instance, in order; the model's control inputs are named here."""

    max_idle_us: int = 1_000_000
    oldest: bool = False  # false: the direct strategy
    max_candidate_sequences: int = 1  # of the oldest strategy
    start: str = ""
    ready: str = ""
    end: str = ""
    correlation_id: str = ""


@dataclass
class Serving:
    """What else the server is told: versions, cache, rate limit, GPUs, acceleration."""

    versions: str = "latest"  # latest, latest:N, all, or numbers separated by commas
    response_cache: bool = False
    gpus: list[int] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)  # NAME:COUNT of the rate limiter, for each execution
    rate_limit_priority: int = 0
    tensorrt: str = ""  # the precision in which ONNX Runtime's TensorRT provider runs it: FP32 or FP16
    cuda_graphs: bool = False
    model_files: list[str] = field(default_factory=list)  # COMPUTE CAPABILITY:FILE, such as 8.0:a100.plan


Scheduler = Dynamic | Direct | Sequence
SCHEDULERS = {"dynamic": Dynamic, "direct": Direct, "sequence": Sequence}


def problems(plan: Plan) -> list[Problem]:
    """Whatever the server would refuse, or silently not do."""
    return [*_scheduler_problems(plan), *_serving_problems(plan)]


def _scheduler_problems(plan: Plan) -> Iterator[Problem]:
    scheduler, most = plan.scheduler, plan.max_batch_size
    if isinstance(scheduler, Dynamic):
        for size in scheduler.preferred_batch_sizes:
            if not 1 <= size <= most:
                wrong = f"is no batch of this model, whose max_batch_size is {most}"
                yield Problem("scheduler.preferred_batch_sizes", size, wrong, "prefer sizes from 1 to that")
        if scheduler.default_priority_level > scheduler.priority_levels:
            wrong = f"is above the {scheduler.priority_levels} levels there are"
            yield Problem(
                "scheduler.default_priority_level", scheduler.default_priority_level, wrong, "name one of them"
            )
        if scheduler.priority_levels and not scheduler.default_priority_level:
            wrong = "needs the level of a request that names none"
            yield Problem("scheduler.priority_levels", scheduler.priority_levels, wrong, "give default_priority_level")
        if scheduler.priority_levels and scheduler.preserve_ordering:
            wrong = "cannot be kept among requests of different priority"
            yield Problem("scheduler.preserve_ordering", True, wrong, "remove one of the two")
    if isinstance(scheduler, Sequence):
        inputs = {tensor.name: tensor for tensor in plan.signature.inputs}
        for port in CONTROLS:
            name = getattr(scheduler, port)
            if name and name not in inputs:
                yield Problem(f"scheduler.{port}", name, "is no input of the model", nearest(name, inputs))


def _serving_problems(plan: Plan) -> Iterator[Problem]:
    serving = plan.serving
    if not re.fullmatch(r"latest(:[1-9]\d*)?|all|[1-9]\d*(,[1-9]\d*)*", serving.versions):
        todo = "write latest, latest:N, all, or numbers separated by commas"
        yield Problem("serving.versions", serving.versions, "says no versions", todo)
    if serving.gpus and plan.kind == "KIND_CPU":
        yield Problem(
            "serving.gpus", serving.gpus, "is for a model that runs on the CPU", "use device=gpu, or leave it out"
        )
    if serving.tensorrt and (plan.backend != "onnxruntime" or plan.kind == "KIND_CPU"):
        wrong = f"is for ONNX Runtime on a GPU, and this is {plan.backend} on {plan.kind}"
        yield Problem("serving.tensorrt", serving.tensorrt, wrong, "use backend=native device=gpu on an ONNX model")
    elif serving.tensorrt and serving.tensorrt not in PRECISIONS:
        yield Problem("serving.tensorrt", serving.tensorrt, "is no precision", f"write {' or '.join(PRECISIONS)}")
    if serving.cuda_graphs and plan.backend != "tensorrt":
        yield Problem("serving.cuda_graphs", True, "is for TensorRT engines", "leave it out")
    for text in serving.model_files:
        if not re.fullmatch(r"\d+\.\d:[^/]+", text):
            wrong = "is no compute capability and file name"
            yield Problem("serving.model_files", text, wrong, "write 8.0:a100.plan")
    for text in serving.resources:
        if not re.fullmatch(r"[^:]+:[1-9]\d*", text):
            yield Problem("serving.resources", text, "is no resource and how much of it", "write NAME:COUNT")


def extra_files(serving: Serving) -> list[str]:
    """The model files of single compute capabilities, which lie beside the model and go with it."""
    return [text.partition(":")[2] for text in serving.model_files]


def apply(config: Any, plan: Plan) -> None:
    """Write the plan's scheduler and serving into a `ModelConfig` message that has its tensors and instances."""
    if isinstance(plan.scheduler, Dynamic) and plan.max_batch_size > 0:
        _dynamic(config.dynamic_batching, plan.scheduler)
    if isinstance(plan.scheduler, Sequence):
        _sequence(config, plan)
    _version_policy(config, plan.serving.versions)
    if plan.serving.response_cache:
        config.response_cache.enable = True
    for text in plan.serving.resources:
        name, _, count = text.partition(":")
        config.instance_group[0].rate_limiter.resources.add(name=name, count=int(count))
    if plan.serving.rate_limit_priority:
        config.instance_group[0].rate_limiter.priority = plan.serving.rate_limit_priority
    config.instance_group[0].gpus.extend(plan.serving.gpus)
    if plan.serving.tensorrt:
        accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
        accelerator.parameters["precision_mode"] = plan.serving.tensorrt
    if plan.serving.cuda_graphs:
        config.optimization.cuda.graphs = True
    for text in plan.serving.model_files:
        capability, _, file = text.partition(":")
        config.cc_model_filenames[capability] = file


def _dynamic(message: Any, scheduler: Dynamic) -> None:
    message.SetInParent()
    message.preferred_batch_size.extend(sorted(scheduler.preferred_batch_sizes))
    message.max_queue_delay_microseconds = scheduler.max_queue_delay_us
    message.preserve_ordering = scheduler.preserve_ordering
    message.priority_levels = scheduler.priority_levels
    message.default_priority_level = scheduler.default_priority_level
    if scheduler.queue_timeout_us:
        message.default_queue_policy.default_timeout_microseconds = scheduler.queue_timeout_us
    if scheduler.max_queue_size:
        message.default_queue_policy.max_queue_size = scheduler.max_queue_size


def _sequence(config: Any, plan: Plan) -> None:
    """The control inputs leave `input`: the server fills them."""
    from tritonclient.grpc.model_config_pb2 import DataType, ModelSequenceBatching

    scheduler, message = plan.scheduler, config.sequence_batching
    assert isinstance(scheduler, Sequence)  # noqa: S101 - narrows for mypy; apply asked already
    message.max_sequence_idle_microseconds = scheduler.max_idle_us
    if scheduler.oldest:
        message.oldest.max_candidate_sequences = scheduler.max_candidate_sequences
    else:
        message.direct.SetInParent()
    types = {entry.name: entry.data_type for entry in config.input}
    for port, kind in CONTROLS.items():
        name = getattr(scheduler, port)
        if not name:
            continue
        control = message.control_input.add(name=name).control.add(
            kind=ModelSequenceBatching.Control.Kind.Value(f"CONTROL_SEQUENCE_{kind}")
        )
        if kind == "CORRID":
            control.data_type = types[name]
        elif types[name] == DataType.Value("TYPE_BOOL"):
            control.bool_false_true.extend([False, True])
        elif types[name] == DataType.Value("TYPE_FP32"):
            control.fp32_false_true.extend([0.0, 1.0])
        else:
            control.int32_false_true.extend([0, 1])
    taken = {entry.name for entry in message.control_input}
    for entry in [entry for entry in config.input if entry.name in taken]:
        config.input.remove(entry)


def _version_policy(config: Any, versions: str) -> None:
    """`latest` alone is the server's default and is left out."""
    if versions == "all":
        config.version_policy.all.SetInParent()
    elif versions.startswith("latest:"):
        config.version_policy.latest.num_versions = int(versions.partition(":")[2])
    elif versions != "latest":
        config.version_policy.specific.versions.extend(int(number) for number in versions.split(","))
