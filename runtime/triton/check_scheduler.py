"""What a server refuses in dynamic_batching and sequence_batching.

Source: triton-inference-server/core, src/model_config_utils.cc (ValidateModelConfig,
GetBooleanSequenceControlProperties, GetTypedSequenceControlProperties).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from runtime.triton.findings import Finding, Rule

VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
CORRELATION_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
DELAY = 1  # Source: model_config.proto, ModelQueuePolicy.TimeoutAction


def _preferred(config: Any) -> Iterator[Finding]:
    """Batches that a scheduler waits for are positive and at most max_batch_size."""
    most = config.max_batch_size
    if most == 0 and config.HasField("dynamic_batching"):
        yield "has dynamic_batching without batches", "remove it, or give a max_batch_size above 0"
        return
    batchers = {"": config.dynamic_batching, " of sequences": config.sequence_batching.oldest}
    for what, batcher in batchers.items():
        for size in batcher.preferred_batch_size:
            if size <= 0:
                yield f"prefers batches{what} of {size}", "prefer 1 row or more"
            elif size > most:
                yield f"prefers batches{what} of {size}, max_batch_size is {most}", "prefer smaller batches"


def _priorities(config: Any) -> Iterator[Finding]:
    batching = config.dynamic_batching
    levels = batching.priority_levels
    if levels and not 1 <= batching.default_priority_level <= levels:
        wrong = f"has default_priority_level {batching.default_priority_level} of {levels} priority_levels"
        yield wrong, f"write one from 1 to {levels}"
    for level in sorted(batching.priority_queue_policy) if levels else ():
        if not 1 <= level <= levels:
            yield f"has a queue policy for priority {level} of {levels}", f"write one from 1 to {levels}"


def _ordering(config: Any) -> Iterator[Finding]:
    batching = config.dynamic_batching
    if not batching.preserve_ordering:
        return
    if batching.priority_levels > 1:
        yield f"preserves the order and has {batching.priority_levels} priority_levels", "remove one of the two"
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(p.default_timeout_microseconds and p.timeout_action == DELAY for p in policies):
        yield "preserves the order and delays requests that time out", "write timeout_action: REJECT"


def _sequence_controls(config: Any) -> Iterator[Finding]:
    entries = config.sequence_batching.control_input
    if any(not entry.name for entry in entries):
        yield "has a sequence control without a name", "write the name of the model's input"
    for name, count in Counter(entry.name for entry in entries if entry.name).items():
        if count > 1:
            yield f"has {count} sequence controls called {name!r}", "give each its own name"
    kinds = Counter(control.kind for entry in entries for control in entry.control)
    for entry in entries:
        for control in entry.control:
            name = type(control).Kind.Name(control.kind)
            if kinds[control.kind] > 1:
                yield f"has {kinds[control.kind]} sequence controls of {name}", "keep one of them"
                kinds[control.kind] = 1
            yield from _sequence_control(name, control)


def _sequence_control(name: str, control: Any) -> Iterator[Finding]:
    given = {key: len(getattr(control, key)) for key in VALUES if len(getattr(control, key))}
    if name == "CONTROL_SEQUENCE_CORRID":
        kind = type(control).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[control.data_type].name
        if given:
            yield f"gives {name} the values of {', '.join(given)}", "remove them; it takes the number of the sequence"
        if kind not in CORRELATION_TYPES:
            yield f"gives {name} the data_type {kind}", f"write one of {', '.join(CORRELATION_TYPES)}"
    elif len(given) != 1:
        what = f"the values of {', '.join(given)}" if given else "no values"
        yield f"gives {name} {what}", f"write one of {', '.join(VALUES)}, such as fp32_false_true: [0, 1]"
    elif set(given.values()) != {2}:
        yield f"gives {name} {next(iter(given.values()))} values, it takes 2", "write that for no and that for yes"


def _sequence_slots(config: Any) -> Iterator[Finding]:
    share = config.sequence_batching.direct.minimum_slot_utilization
    if not 0 <= share <= 1:
        yield f"has minimum_slot_utilization {share:g}", "write a share from 0 to 1"


SCHEDULER_RULES: tuple[Rule, ...] = (_preferred, _priorities, _ordering, _sequence_controls, _sequence_slots)
