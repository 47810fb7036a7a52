"""What a server refuses in one config.pbtxt, whatever the model is: tensors, instances, warm-ups, caches.

Source of every rule that names none: triton-inference-server/core, src/model_config_utils.cc (ValidateModelConfig,
ValidateModelIOConfig, ValidateInstanceGroup) and src/backend_model_instance.cc (GenerateWarmupData).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from runtime.triton.check_scheduler import SCHEDULER_RULES
from runtime.triton.findings import Finding, Rule

# What the schema of tritonclient 2.73.0 has and the server 2.51.0 lacks. Source: its own descriptor of
# model_config.proto, read from the binary of nvidia-pytriton 0.7.0.
NEWER = ("model_metrics", "ensemble_scheduling.max_inflight_requests")
TENSORRT = "tensorrt_plan"
KIND_GPU, TYPE_INT32, TYPE_FP32 = 1, 8, 11  # Source: model_config.proto, ModelInstanceGroup.Kind and DataType


def config_findings(config: Any) -> Iterator[Finding]:
    """All that is wrong in the config itself."""
    for rule in (*CONFIG_RULES, *SCHEDULER_RULES):
        yield from rule(config)


def config_notes(config: Any) -> Iterator[str]:
    """What some servers refuse and others need: no finding, but not silent either."""
    for path in NEWER:
        *parents, last = path.split(".")
        message = config
        for name in parents:
            message = getattr(message, name)
        if message.HasField(last) if last == "model_metrics" else getattr(message, last):
            yield f"has {path}, which tritonserver 2.51.0 refuses as an unknown field; use a newer one, or remove it"
    if any(group.kind == KIND_GPU for group in config.instance_group):
        yield "asks for KIND_GPU, which a server without a GPU refuses"


def _max_batch_size(config: Any) -> Iterator[Finding]:
    if config.max_batch_size < 0:
        yield f"has max_batch_size {config.max_batch_size}", "write 0 for no batches, or the most rows"


def _tensors(config: Any) -> Iterator[Finding]:
    for what, entries in (("input", config.input), ("output", config.output)):
        for place, entry in enumerate(entries):
            if not entry.name:
                yield f"has no name for {what} {place + 1}", "write the model's name for it"
                continue
            yield from _tensor(what, entry, config)
        for name, count in Counter(entry.name for entry in entries if entry.name).items():
            if count > 1:
                yield f"has {count} {what}s called {name!r}", "give each its own name"


def _tensor(what: str, entry: Any, config: Any) -> Iterator[Finding]:
    where = f"gives {what} {entry.name!r}"
    if entry.data_type == 0:
        yield f"{where} no data_type", "write it, such as data_type: TYPE_FP32"
    yield from dims_findings(where, entry, config.max_batch_size)
    if config.platform != TENSORRT and config.backend != "tensorrt":
        if entry.is_shape_tensor:
            yield f"{where} is_shape_tensor, which only TensorRT has", "remove it"
        if entry.is_non_linear_format_io:
            yield f"{where} is_non_linear_format_io, which only TensorRT has", "remove it"
    if what == "input" and entry.format and len(entry.dims) != 3:
        name = type(entry).Format.Name(entry.format)
        yield f"{where} the format {name} and {len(entry.dims)} dims, it takes 3", "remove the format, or write 3 dims"


def dims_findings(where: str, entry: Any, most: int) -> Iterator[Finding]:
    """What is wrong with dims and reshape of a tensor, whatever the model has."""
    if not entry.dims or any(d == 0 or d < -1 for d in entry.dims):
        yield f"{where} the dims {list(entry.dims)}", "write positive dims, or -1 for any length"
    elif entry.HasField("reshape"):
        yield from _reshape(where, list(entry.dims), list(entry.reshape.shape), most)


def _reshape(where: str, dims: list[int], shape: list[int], most: int) -> Iterator[Finding]:
    """Both must hold the same values: between the free dims, the fixed ones have the same product."""
    if any(d == 0 or d < -1 for d in shape):
        yield f"{where} the reshape {shape}", "write positive dims, or -1 for any length"
    elif not shape and most == 0:
        yield f"{where} a reshape to nothing without batches", "remove the reshape, or give a max_batch_size"
    elif _pieces(dims) != _pieces(shape):
        yield f"{where} the dims {dims} and the reshape {shape} of another size", "make the two hold as many values"


def _pieces(dims: Sequence[int]) -> list[int]:
    """Products of the fixed dims between the free ones: [2, 4, -1, 6] is [8, 6]."""
    found = [1]
    for size in dims:
        if size == -1:
            found.append(1)
        else:
            found[-1] *= size
    return found


def _instances(config: Any) -> Iterator[Finding]:
    for place, group in enumerate(config.instance_group):
        kind = type(group).Kind.Name(group.kind)
        name = f"instance_group {group.name or place + 1}"
        if group.gpus and kind in ("KIND_CPU", "KIND_MODEL"):
            yield f"lists gpus {list(group.gpus)} for the {kind} of {name}", "remove gpus, or write KIND_GPU"
        if any(number < 0 for number in group.gpus):
            yield f"lists gpus {list(group.gpus)} for {name}", "number them from 0"
        if group.count < 0:
            yield f"gives {name} the count {group.count}", "write 1 or more"
        if group.profile and config.platform != TENSORRT and config.backend != "tensorrt":
            yield f"gives {name} a profile, which only TensorRT has", "remove it"


def _cache(config: Any) -> Iterator[Finding]:
    if not config.response_cache.enable:
        return
    if config.model_transaction_policy.decoupled:
        yield "has a response_cache and is decoupled, which exclude each other", "remove one of the two"
    if config.HasField("sequence_batching"):
        yield "has a response_cache and sequence_batching, which exclude each other", "remove one of the two"


def _batch_tensors(config: Any) -> Iterator[Finding]:
    """batch_input and batch_output speak of inputs and outputs that exist."""
    inputs, outputs = {entry.name for entry in config.input}, {entry.name for entry in config.output}
    for what, entries in (("batch_input", config.batch_input), ("batch_output", config.batch_output)):
        for entry in entries:
            if len(entry.source_input) != 1:
                yield f"gives a {what} {len(entry.source_input)} source_input, it takes 1", "name one input"
            for name in entry.source_input:
                if name not in inputs:
                    yield f"has a {what} of the input {name!r}, which is not declared", "name a declared input"
            for name in entry.target_name if what == "batch_output" else ():
                if name not in outputs:
                    yield f"has a batch_output for {name!r}, which is not declared", "name a declared output"
    for entry in config.batch_input:
        if entry.data_type not in (TYPE_INT32, TYPE_FP32):
            yield "has a batch_input that is neither TYPE_INT32 nor TYPE_FP32", "write one of these"


def _warmups(config: Any) -> Iterator[Finding]:
    """Each warm-up gives every input that is needed, as the config declares it, in lengths that are known."""
    declared = {entry.name: entry for entry in config.input}
    controls = {c.name for c in config.sequence_batching.control_input}
    for entry in config.model_warmup:
        where = f"warm-up {entry.name!r}"
        if entry.batch_size > max(1, config.max_batch_size):
            wrong = f"has {entry.batch_size} rows in {where}, max_batch_size is {config.max_batch_size}"
            yield wrong, "write a smaller batch_size"
        missing = sorted(n for n, e in declared.items() if not e.optional and n not in entry.inputs)
        unknown = sorted(n for n in entry.inputs if n not in declared and n not in controls)
        if unknown:
            yield f"has the input {unknown[0]!r} in {where}, which is not declared", f"declared: {', '.join(declared)}"
        elif missing and entry.batch_size:
            yield f"lacks the input {missing[0]!r} in {where}", "give a value for every input"
        for name in sorted(set(entry.inputs) & set(declared)):
            yield from _warmup_input(where, name, entry.inputs[name], declared[name])


def _warmup_input(where: str, name: str, item: Any, declared: Any) -> Iterator[Finding]:
    if item.WhichOneof("input_data_type") is None:
        yield f"gives {name!r} no data in {where}", "write zero_data: true, random_data: true or input_data_file"
    if item.data_type != declared.data_type:
        yield f"gives {name!r} another type in {where} than its input has", "write the input's type"
    if -1 in item.dims:
        yield f"gives {name!r} the dims {list(item.dims)} in {where}", "write lengths; a warm-up has no free dims"
    elif not fit(list(item.dims), list(declared.dims)):
        wrong = f"warms up {name!r} with the dims {list(item.dims)}, the config has {list(declared.dims)}"
        yield wrong, "package the model again"


def fit(ours: Sequence[int], theirs: Sequence[int]) -> bool:
    """Whether two lists of dims can be the same tensor; -1 is any length."""
    return len(ours) == len(theirs) and all(-1 in (a, b) or a == b for a, b in zip(ours, theirs, strict=True))


def values(dims: Sequence[int]) -> int:
    """How many values a tensor has; negative or zero where a dim is free."""
    return -1 if any(d < 0 for d in dims) else math.prod(dims)


CONFIG_RULES: tuple[Rule, ...] = (_max_batch_size, _tensors, _instances, _cache, _batch_tensors, _warmups)
