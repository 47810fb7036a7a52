"""What a model's answers are worth when it is not asked one thing at a time: many at once, wrong requests, a reload."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, NgcrunError
from runtime.triton.client import Client, Endpoint, typed
from runtime.triton.comparing import compare
from runtime.triton.model_config import TYPES, Signature
from runtime.triton.repository import Golden

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.triton.check import Served
    from runtime.triton.serve import Running
    from runtime.triton.verify import Ports

CLIENTS = 8
REQUESTS = 64
SEED = 0


@dataclass(frozen=True)
class Finding:
    """One thing that was tried: how many requests, and what was wrong; empty where all went as it should."""

    what: str
    requests: int
    wrong: str = ""


@dataclass(frozen=True)
class Asked:
    """A model on a server, the golden rows, and the tolerances of its answers."""

    endpoint: Endpoint
    model: str
    signature: Signature
    most: int  # max_batch_size
    golden: Golden
    atol: float | None
    rtol: float | None

    def client(self) -> Client:
        """A connection of one thread."""
        return Client(self.endpoint, self.model)


def findings(asked: Asked, reload: Callable[[], None] | None = None) -> list[Finding]:
    """All that is tried, in order; `reload` makes the server load the model again, where that is ours to do."""
    found = [together(asked)]
    found += [refused(asked, what, request) for what, request in malformed(asked)]
    if reload is not None:
        found.append(reloaded(asked, reload))
    return found


def _slices(asked: Asked) -> list[slice]:
    """Rows of each request: all sizes from one row up to what a batch may hold, mixed, the same each time."""
    import numpy as np

    rows = asked.golden.rows
    if not asked.signature.batched:
        return [slice(None)] * REQUESTS
    random = np.random.default_rng(SEED)
    sizes = random.integers(1, min(asked.most, rows, 64) + 1, REQUESTS)
    starts = [int(random.integers(0, rows - size + 1)) for size in sizes]
    return [slice(start, start + int(size)) for start, size in zip(starts, sizes, strict=True)]


def _ask(asked: Asked, client: Client, rows: slice) -> str:
    """What is wrong with the answer to some of the golden rows, or nothing."""
    feed = {name: array[rows] for name, array in asked.golden.inputs.items()}
    try:
        got = client.infer(feed, typed(asked.signature.inputs))
    except NgcrunError as error:
        return error.lines()[0]
    for name, whole in asked.golden.outputs.items():
        want = whole[rows]
        if name not in got or got[name].size != want.size:
            return f"output {name!r} is missing or of another size"
        atol, rtol = tolerances(asked, name)
        found = compare(got[name].reshape(want.shape), want, atol, rtol)
        if not found.ok:
            return f"output {name!r} differs by {found.max_abs:.3g}: another request's rows, or another model"
    return ""


# How far apart two right answers may be, as (absolute, relative), by the type of the output. Whole numbers and text
# must be equal. FP16 keeps 11 bits, so a sum of some values differs in the third digit; FP64 may have been FP32 before.
TOLERANCES = {"FP16": (1e-2, 1e-2), "FP32": (1e-3, 1e-4), "FP64": (1e-4, 1e-5)}


def tolerances(asked: Asked, output: str) -> tuple[float, float]:
    """The tolerances of one output: those that were asked for, else those of its type."""
    return tolerance(asked.signature, output, asked.atol, asked.rtol)


def tolerance(signature: Signature, output: str, atol: float | None, rtol: float | None) -> tuple[float, float]:
    """As `tolerances`, for a signature."""
    kind = next((t.dtype for t in signature.outputs if t.name == output), "FP32")
    absolute, relative = TOLERANCES.get(kind, (0.0, 0.0))
    return absolute if atol is None else atol, relative if rtol is None else rtol


def together(asked: Asked) -> Finding:
    """Requests of mixed sizes from several clients at once: each gets the answers to its own rows."""

    def part(rows: list[slice]) -> list[str]:
        with asked.client() as client:
            return [_ask(asked, client, one) for one in rows]

    slices = _slices(asked)
    with ThreadPoolExecutor(CLIENTS) as pool:
        wrong = [
            text for texts in pool.map(part, [slices[i::CLIENTS] for i in range(CLIENTS)]) for text in texts if text
        ]
    sizes = "of mixed sizes " if asked.signature.batched else ""
    what = f"{len(slices)} requests {sizes}from {CLIENTS} clients at once"
    return Finding(what, len(slices), f"{len(wrong)} went wrong: {wrong[0]}" if wrong else "")


def malformed(asked: Asked) -> Iterator[tuple[str, Asked]]:
    """Requests that are wrong in one way each, as the model that would take them."""
    golden, first = asked.golden, asked.signature.inputs[0]
    one = {name: array[:1] if asked.signature.batched else array for name, array in golden.inputs.items()}
    yield "a request without its first input", _with(asked, {k: v for k, v in one.items() if k != first.name})
    yield "a request with an input that the model lacks", _with(asked, {**one, "ngcrun_no_such_input": one[first.name]})
    other = "FP64" if first.dtype != "FP64" else "FP32"
    if first.dtype != "BYTES":
        changed = {**one, first.name: one[first.name].astype(TYPES[other].numpy)}
        yield f"a request with {other} for {first.dtype}", _with(asked, changed, {first.name: other})
    if first.dims and first.dims[-1] > 0:
        import numpy as np

        wider = np.concatenate([one[first.name], one[first.name][..., :1]], axis=-1)
        yield "a request with one value too many", _with(asked, {**one, first.name: wider})
    if asked.signature.batched:
        import numpy as np

        many = {name: np.repeat(array[:1], asked.most + 1, axis=0) for name, array in golden.inputs.items()}
        if sum(array.nbytes for array in many.values() if array.dtype.kind != "O") < 64 * 2**20:
            yield "a batch above max_batch_size", _with(asked, many)


def _with(asked: Asked, inputs: Mapping[str, NDArray[Any]], types: Mapping[str, str] | None = None) -> Asked:
    """The same model, asked with other inputs, whose types are those of the signature where none is given."""
    known = typed(asked.signature.inputs) | dict(types or {})
    default = asked.signature.inputs[0].dtype
    tensors = tuple(replace(asked.signature.inputs[0], name=n, dtype=known.get(n, default)) for n in inputs)
    return replace(
        asked, signature=replace(asked.signature, inputs=tensors), golden=replace(asked.golden, inputs=dict(inputs))
    )


def refused(asked: Asked, what: str, request: Asked) -> Finding:
    """A wrong request: the server refuses it as the client's mistake, and answers the next right one."""
    with asked.client() as client:
        try:
            client.infer(request.golden.inputs, typed(request.signature.inputs))
            wrong = "was answered"
        except BadInput:
            wrong = ""
        except NgcrunError as error:
            wrong = f"is not told as the client's mistake: {error.lines()[0]}"
    with asked.client() as client:
        after = _ask(asked, client, slice(0, 1) if asked.signature.batched else slice(None))
    return Finding(what, 2, wrong or (f"spoiled the next one: {after}" if after else ""))


def reloaded(asked: Asked, reload: Callable[[], None]) -> Finding:
    """A reload while clients go on asking: no request is lost, and each answer is right."""
    over, wrong, counts = threading.Event(), [], [0] * CLIENTS
    slices = _slices(asked)

    def go_on(number: int) -> None:
        with asked.client() as client:
            while not over.is_set():
                text = _ask(asked, client, slices[(number + counts[number] * CLIENTS) % len(slices)])
                counts[number] += 1
                if text:
                    wrong.append(text)

    with ThreadPoolExecutor(CLIENTS) as pool:
        waiting = [pool.submit(go_on, number) for number in range(CLIENTS)]
        try:
            reload()
        finally:
            over.set()
        for one in waiting:
            one.result()
    what = f"a reload with {CLIENTS} clients asking meanwhile"
    return Finding(what, sum(counts), f"{len(wrong)} requests were lost or wrong: {wrong[0]}" if wrong else "")


def asked(ports: Ports, served: Served, golden: Golden, endpoint: Endpoint) -> Asked:
    """What triton_verify asks at an endpoint."""
    most = served.config.max_batch_size
    return Asked(endpoint, served.name, served.signature, most, golden, ports.atol, ports.rtol)


def of_server(ports: Ports, served: Served, golden: Golden, running: Running) -> list[Finding]:
    """All of it over both protocols of a server of ours, and a reload over one."""
    from runtime.triton.serve import reload_model

    found = findings(asked(ports, served, golden, Endpoint(running.grpc, "grpc")))
    http = asked(ports, served, golden, Endpoint(running.http, "http"))
    return found + findings(http, lambda: reload_model(running, served.name))
