"""An ensemble: its own graph, and its edges against the models that it calls.

Source: triton-inference-server/core, src/model_config_utils.cc (ValidateEnsembleSchedulingConfig, BuildEnsembleGraph)
and src/ensemble_scheduler/ensemble_utils.cc.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.errors import nearest
from runtime.triton.backends import ENSEMBLE
from runtime.triton.check_config import fit
from runtime.triton.findings import Finding


@dataclass(frozen=True)
class Edge:
    """One end of a tensor of an ensemble: type and dims as a model, or the ensemble itself, declares them."""

    who: str
    dtype: str
    dims: tuple[int, ...]
    batched: bool

    def agrees(self, other: Edge) -> bool:
        """As the server compares: with or without the batch dimension, free dims fit anything."""
        full = [(-1, *e.dims) if e.batched else e.dims for e in (self, other)]
        return fit(self.dims, other.dims) or fit(*full)


def steps_of(config: Any) -> list[str]:
    """The models that an ensemble calls, each once, in their order."""
    return list(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step if step.model_name))


def ensemble_findings(config: Any) -> Iterator[Finding]:
    """What is wrong with an ensemble alone."""
    if not config.HasField("ensemble_scheduling"):
        yield "is an ensemble without ensemble_scheduling", "write its steps"
        return
    if config.platform != ENSEMBLE:
        has = f"platform {config.platform!r}" if config.platform else "no platform"
        yield f"has ensemble_scheduling and {has}", 'write platform: "ensemble"'
    if config.backend:
        yield f"is an ensemble with the backend {config.backend!r}", "remove the backend"
    for name, used in (
        ("instance_group", len(config.instance_group)),
        ("optimization", config.HasField("optimization")),
        ("model_warmup", len(config.model_warmup)),
    ):
        if used:
            yield f"is an ensemble with {name}", "remove it here and write it in the models that it calls"
    if not config.ensemble_scheduling.step:
        yield "is an ensemble without steps", "write its steps"
        return
    incomplete = list(_incomplete(config.ensemble_scheduling.step))
    yield from incomplete or _flow(config)


def _incomplete(steps: Sequence[Any]) -> Iterator[Finding]:
    for place, step in enumerate(steps, 1):
        if not step.model_name:
            yield f"has no model_name in step {place}", "name the model"
        for name in ("input_map", "output_map"):
            if not getattr(step, name):
                yield f"has no {name} in step {place} ({step.model_name})", "map the model's tensors"


def _flow(config: Any) -> Iterator[Finding]:
    """Whether every tensor is written once, before it is read, and is read at all."""
    steps = list(config.ensemble_scheduling.step)
    given, wanted = {i.name for i in config.input}, {o.name for o in config.output}
    written = Counter(name for step in steps for name in step.output_map.values())
    read = {name for step in steps for name in step.input_map.values()}
    for name, count in written.items():
        if count > 1 or name in given:
            yield f"writes the tensor {name!r} more than once", "give each output its own tensor"
    missing = {name for name in read if name not in written and name not in given}
    for step in steps:
        for name in sorted(set(step.input_map.values()) & missing):
            known = (given | set(written)) - {name}
            yield f"reads {name!r} in the step of {step.model_name}, which nothing writes", nearest(name, known)
    unwritten = sorted(wanted - set(written) - read)
    for name in unwritten:
        yield f"has the output {name!r}, which no step writes", nearest(name, written)
    if missing or unwritten:
        return  # what follows would be their consequence
    waiting = _waiting(steps, given)
    if waiting:
        yield f"has steps that wait for each other: {', '.join(waiting)}", "let one of them read an input"
        return
    for name in sorted((set(written) | given) - read - wanted):
        what = "input" if name in given else "tensor"
        yield f"has the {what} {name!r}, which no step reads", "remove it, or map it to a model's input"


def _waiting(steps: Sequence[Any], given: set[str]) -> list[str]:
    """The models of steps whose inputs never are all there."""
    ready, left = set(given), list(steps)
    while True:
        runs = [step for step in left if set(step.input_map.values()) <= ready]
        if not runs:
            return [step.model_name for step in left]
        left = [step for step in left if step not in runs]
        ready |= {name for step in runs for name in step.output_map.values()}


def edge_findings(
    config: Any, models: Mapping[str, Any], versions: Mapping[str, Sequence[int]], unread: set[str]
) -> Iterator[Finding]:
    """An ensemble against its models; `unread` are there but have a config of their own trouble."""
    ends: dict[str, Edge] = {}
    for entry in [*config.input, *config.output]:
        dims = entry.reshape.shape if entry.HasField("reshape") else entry.dims
        ends[entry.name] = Edge(f"ensemble {config.name!r}", _name(entry), tuple(dims), config.max_batch_size > 0)
    for step in config.ensemble_scheduling.step:
        if step.model_name not in models:
            if step.model_name and step.model_name not in unread:
                yield (
                    f"calls the model {step.model_name!r}, which is not in the repository",
                    nearest(step.model_name, models),
                )
            continue
        model = models[step.model_name]
        if step.model_version > 0 and step.model_version not in versions[step.model_name]:
            there = ", ".join(map(str, versions[step.model_name])) or "none"
            wrong = f"calls version {step.model_version} of {step.model_name!r}, which has {there}"
            yield wrong, "write -1 for the newest, or a version that is there"
        yield from _mapped(step, model, ends)
    small = {n: models[n].max_batch_size for n in steps_of(config) if n in models}
    small = {name: size for name, size in small.items() if 0 < size < config.max_batch_size}
    if small:
        listed = ", ".join(f"{name} {size}" for name, size in small.items())
        wrong = f"allows {config.max_batch_size} rows, its models fewer: {listed}"
        yield wrong, "lower the ensemble's max_batch_size, or raise the models'"
    yield from _decoupled(config, models)


def _decoupled(config: Any, models: Mapping[str, Any]) -> Iterator[Finding]:
    """The inputs of a step have as many responses each: none or all of them come from the same decoupled model."""
    source: dict[str, str] = {entry.name: "" for entry in config.input}
    left = list(config.ensemble_scheduling.step)
    while runs := [step for step in left if set(step.input_map.values()) <= set(source)]:
        left = [step for step in left if step not in runs]
        for place, step in enumerate(runs):
            found = sorted({source[name] for name in step.input_map.values()})
            if len(found) > 1:
                wrong = f"gives the step of {step.model_name!r} inputs of different decoupled models"
                yield wrong, "take all of its inputs from one of them"
            model = models.get(step.model_name)
            own = model is not None and model.model_transaction_policy.decoupled
            origin = f"{step.model_name} {len(left)} {place}" if own else found[0] if found else ""
            source |= dict.fromkeys(step.output_map.values(), origin)


def _mapped(step: Any, model: Any, ends: dict[str, Edge]) -> Iterator[Finding]:
    batched = model.max_batch_size > 0
    for what, mapping, entries in (
        ("input", step.input_map, model.input),
        ("output", step.output_map, model.output),
    ):
        declared = {entry.name: entry for entry in entries}
        for name, tensor in sorted(mapping.items()):
            if name not in declared:
                yield f"maps the {what} {name!r} of {step.model_name!r}, which has no such", nearest(name, declared)
                continue
            edge = Edge(f"model {step.model_name!r}", _name(declared[name]), tuple(declared[name].dims), batched)
            yield from _joined(tensor, ends.setdefault(tensor, edge), edge)
        if what == "output" or not mapping or not set(mapping) <= set(declared):
            continue  # an output may be left out; the other two are findings already
        for name in (n for n, e in declared.items() if n not in mapping and not e.optional):
            yield f"does not map the input {name!r} of {step.model_name!r}", "map it to a tensor"


def _joined(tensor: str, one: Edge, other: Edge) -> Iterator[Finding]:
    if one.dtype != other.dtype:
        wrong = f"has the tensor {tensor!r} as {one.dtype} of {one.who} and as {other.dtype} of {other.who}"
        yield wrong, "give both the same type"
    if not one.agrees(other):
        wrong = f"has the tensor {tensor!r} as {list(one.dims)} of {one.who} and as {list(other.dims)} of {other.who}"
        yield wrong, "give both the same dims"


def _name(entry: Any) -> str:
    found: str = type(entry).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[entry.data_type].name
    return found
