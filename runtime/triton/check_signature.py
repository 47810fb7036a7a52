"""What a config promises against what a model takes and gives: names, types, dims, the batch dimension."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from runtime.errors import nearest
from runtime.triton import model_config
from runtime.triton.check_config import dims_findings, fit
from runtime.triton.findings import Finding
from runtime.triton.model_config import Signature, Tensor


def compare(config: Any, real: Signature, *, exact: Collection[str]) -> Iterator[Finding]:
    """The config against what a model takes and gives; the dims of tensors in `exact` have to be as they are."""
    promised = model_config.signature_of(config)
    if config.max_batch_size < 0:
        return  # a finding of its own
    if promised.batched and not real.batched:
        yield "allows batches, the model's first dimension is fixed", "write max_batch_size: 0"
        return
    batch = list(_batch_dimension(promised, real))
    if batch:
        yield batch[0]
        return
    rows = real.batched and not promised.batched
    for what, ours, theirs in (("input", promised.inputs, real.inputs), ("output", promised.outputs, real.outputs)):
        known = {t.name: _with_rows(t) if rows else t for t in theirs}
        swapped = _swapped(ours, known)
        for one, other in swapped:
            yield f"gives the {what}s {one!r} and {other!r} each other's name", "exchange the two names"
        told = {name for pair in swapped for name in pair} | _without_dims(config)
        for tensor in (t for t in ours if t.name and t.name not in told):
            if tensor.name not in known:
                yield f"has an {what} {tensor.name!r} that the model lacks", _spelling(tensor.name, known)
                continue
            yield from _compare_tensor(what, tensor, known[tensor.name], exact=tensor.name in exact)
        yield from _missing(what, config, {t.name for t in ours}, known)


def _without_dims(config: Any) -> set[str]:
    """Tensors whose dims cannot be any model's, which is a finding of its own."""
    entries = [*config.input, *config.output]
    return {e.name for e in entries if any(dims_findings("", e, config.max_batch_size))}


def _batch_dimension(promised: Signature, real: Signature) -> Iterator[Finding]:
    """The one mistake behind dims that all are one too long or too short."""
    known = {t.name: t.dims for t in (*real.inputs, *real.outputs)}
    ours = [t for t in (*promised.inputs, *promised.outputs) if t.name in known]
    if not real.batched or not ours:
        return
    if promised.batched and all(t.dims and fit(t.dims[1:], known[t.name]) for t in ours):
        if any(len(t.dims) == len(known[t.name]) for t in ours):
            return
        yield "counts the batch dimension among the dims of every tensor", "take it out of the dims"
    if not promised.batched and all(t.dims == known[t.name] for t in ours):
        yield (
            "has max_batch_size 0 and dims without the batch dimension",
            "give a max_batch_size above 0, or write -1 first",
        )


def _with_rows(tensor: Tensor) -> Tensor:
    return Tensor(tensor.name, tensor.dtype, (-1, *tensor.dims))


def _missing(what: str, config: Any, ours: set[str], known: Mapping[str, Tensor]) -> Iterator[Finding]:
    """Inputs that nobody gives: neither a request, nor the scheduler of sequences, nor the batcher."""
    if what == "output" or not ours <= set(known):  # a wrong name has been told
        return
    given = {c.name for c in config.sequence_batching.control_input}
    given |= {s.input_name for s in config.sequence_batching.state}
    given |= {name for entry in config.batch_input for name in entry.target_name}
    missing = sorted(set(known) - ours - given)
    if missing:
        yield f"lacks the inputs {missing} that the model needs", "add them"


def _swapped(ours: Sequence[Tensor], known: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Pairs of names that would be right if they were exchanged."""

    def same(one: Tensor, other: Tensor) -> bool:
        return one.dtype == other.dtype and fit(one.dims, other.dims)

    wrong = [t for t in ours if t.name in known and not same(t, known[t.name])]
    return [
        (a.name, b.name)
        for place, a in enumerate(wrong)
        for b in wrong[place + 1 :]
        if same(a, known[b.name]) and same(b, known[a.name])
    ]


def _spelling(name: str, known: Mapping[str, Tensor]) -> str:
    """What to do about an unknown name; two that look alike may be written with other Unicode characters."""
    for other in known:
        if unicodedata.normalize("NFKC", other).strip() == unicodedata.normalize("NFKC", name).strip():
            return f"copy the model's {other!a}: this one only looks like it ({name!a})"
    return nearest(name, known)


def _compare_tensor(what: str, ours: Tensor, real: Tensor, *, exact: bool) -> Iterator[Finding]:
    where = f"gives {what} {ours.name!r}"
    if ours.dtype not in (real.dtype, "INVALID"):
        yield f"{where} the type {ours.dtype}, the model has {real.dtype}", "write the model's type"
    if _exact(what, ours.dims, real.dims) if exact else fit(ours.dims, real.dims):
        return
    todo = "write the model's dims"
    if len(ours.dims) == len(real.dims) + 1 and fit(ours.dims[1:], real.dims):
        todo += "; the batch dimension is not among them"
    elif len(ours.dims) + 1 == len(real.dims) and fit(ours.dims, real.dims[1:]):
        todo += "; without batches also the first"
    elif sorted(ours.dims) == sorted(real.dims):
        todo += " in their order"
    yield f"{where} the dims {list(ours.dims)}, the model has {list(real.dims)}", todo


def _exact(what: str, ours: Sequence[int], real: Sequence[int]) -> bool:
    """How onnxruntime compares: the model's fixed dims as they are, and of outputs the free ones too.

    Source: onnxruntime_backend, src/onnxruntime_utils.cc, CompareDimsSupported.
    """
    free = what == "input"
    return len(ours) == len(real) and all(a == b or (b == -1 and free) for a, b in zip(ours, real, strict=True))
