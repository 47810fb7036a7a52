"""`triton_verify`: does a model repository hold what it promises, and does a real server answer as the model does?"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput, ToolFailed
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.triton.model_config import TYPES
from runtime.triton.report import Answer, Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.triton.check import Served
    from runtime.triton.client import Endpoint
    from runtime.triton.repository import Golden
    from runtime.triton.serve import Running
    from runtime.triton.serve_env import Server


@dataclass(kw_only=True)
class Ports:
    """Check a Triton model repository against its model, then serve it with a real tritonserver and compare answers.

    The server listens on 127.0.0.1 only and is gone when the step ends, in whatever way.
    """

    repository: Annotated[Path, Input("Model repository", type="triton_model")]
    golden: Annotated[
        Path | None, Input("Golden rows of triton_package; without them rows are made up and only shapes checked")
    ] = None
    model_name: Annotated[
        str | None, Param("Model to verify; absent: the only one, or the ensemble; all models are checked")
    ] = None
    live: Annotated[
        str,
        Param(
            "Start a server; auto: if one is here that can serve the model; yes: fail if not",
            choices=("auto", "yes", "no"),
        ),
    ] = "auto"
    url: Annotated[
        str | None,
        Param("Ask this endpoint instead of starting a server: https://... of AzureML, key in TRITON_TOKEN"),
    ] = None
    atol: Annotated[
        float | None, Param("Absolute difference that is allowed, in the output's unit; absent: by its type", minimum=0)
    ] = None
    rtol: Annotated[float | None, Param("Relative difference that is allowed; absent: by the type", minimum=0)] = None
    under_load: Annotated[
        str,
        Param(
            "Also ask many at once, wrongly, and during a reload; auto: of a server that it starts itself",
            choices=("auto", "yes", "no"),
        ),
    ] = "auto"
    measure_s: Annotated[
        float, Param("Seconds of measuring for each batch size and protocol; 0: none", minimum=0, maximum=600)
    ] = 0.5
    clients: Annotated[int, Param("Clients that send at the same time while measuring", minimum=1, maximum=256)] = 1
    http_port: Annotated[int, Param("HTTP port on 127.0.0.1; 0: a free one", minimum=0, maximum=65535)] = 0
    grpc_port: Annotated[int, Param("gRPC port on 127.0.0.1; 0: a free one", minimum=0, maximum=65535)] = 0
    start_timeout_s: Annotated[float, Param("Seconds until the server and the model have to be ready", minimum=1)] = (
        60.0
    )
    report: Annotated[Path, Output("report.json, report.md, latency.png and the server's log")]


@component(name="triton_verify", version="1", image="triton", is_deterministic=False)
def verify(ports: Ports, metrics: Metrics) -> None:
    """Check, serve, compare, measure, report.

    Raises:
        BadInput: with every disagreement between the repository and the model.
        ToolFailed: when the server or the model does not start, or answers otherwise than the model.
    """
    from runtime.triton.check import check_repository
    from runtime.triton.under_load import tolerance

    served = check_repository(ports.repository, ports.model_name)
    golden = _golden(ports, served)
    signature = served.signature
    report = Report(
        served.name, served.versions, served.backend, [f"{t.name} {t.text()}" for t in signature.inputs],
        [f"{t.name} {t.text()}" for t in signature.outputs], served.config.max_batch_size, golden_source=golden.source,
    )  # fmt: skip
    if ports.url is not None:
        _ask_endpoint(ports, ports.url, served, golden, report)
    else:
        server, report.live, report.live_reason = _how(ports, served)
        if server is not None:
            _serve(ports, served, server, golden, report)
    report.write(ports.report)
    metrics.tags(
        {"backend": report.backend, "live": report.live, "live_reason": report.live_reason, "server": report.server}
    )
    _log(report, metrics)
    print(report.markdown())
    spoiled = [finding for finding in report.under_load if finding.wrong]
    if spoiled:
        raise ToolFailed(f"{served.name}: {spoiled[0].what}: {spoiled[0].wrong}")
    for note in served.notes if report.live != "run" else ():
        print(f"only a server can tell: {note}")
    failed = [a for a in report.answers if not a.ok]
    if failed:
        worst = max(failed, key=lambda a: a.max_abs)
        what = f"{served.name}: answers differ from the model's: {worst.output!r} over {worst.protocol}"
        atol, rtol = tolerance(served.signature, worst.output, ports.atol, ports.rtol)
        raise ToolFailed(
            f"{what} by up to {worst.max_abs:.3g} (atol={atol:g}, rtol={rtol:g}); "
            "package the model that made the golden rows"
        )


def _golden(ports: Ports, served: Served) -> Golden:
    """The golden rows, checked against the config; made-up ones without expected outputs where there are none."""
    from runtime.triton.repository import as_sent, made_up_golden, read_golden

    if ports.golden is None:
        return as_sent(made_up_golden(served.signature), served.signature)
    try:
        golden = read_golden(ports.golden)
    except ValueError as error:
        raise BadInput.of(
            "golden", ports.golden, f"holds no golden rows ({error})", "take the output of triton_package"
        ) from error
    promised = {t.name for t in served.signature.inputs}
    if golden.rows and set(golden.inputs) != promised:
        wrong = f"is for inputs {sorted(golden.inputs)}, the model has {sorted(promised)}"
        raise BadInput.of("golden", ports.golden, wrong, "take the golden rows of the same triton_package")
    return as_sent(golden, served.signature)


def _how(ports: Ports, served: Served) -> tuple[Server | None, str, str]:
    """Which server serves it, as `run` or `twin`, and why; no server and `not run` where that cannot be."""
    from runtime.triton import twins
    from runtime.triton.serve_env import find_server

    if ports.live == "no":
        return None, "not run", "live=no"
    try:
        server = find_server()
    except BadInput as error:
        if ports.live == "yes":
            raise
        return None, "not run", error.problems[0].line()
    needed, there = served.backends, server.backends()
    lacking = [name for name in needed if name not in there]
    if not lacking:
        return server, "run", f"on its own backend, {', '.join(needed)}"
    why = f"the server here lacks the {lacking[0]} backend"
    if ports.live == "yes":
        raise BadInput.of(
            "live",
            "yes",
            f"{why}: it has {', '.join(there)}",
            "verify in an NGC container, or use live=auto",
        )
    instead = twins.verified(served, lacking)
    if instead is not None:
        return server, "twin", f"{why}: {instead} answered through the python backend"
    return None, "not run", why


def _ask_endpoint(ports: Ports, url: str, served: Served, golden: Golden, report: Report) -> None:
    """Compare the answers of a server that runs elsewhere; its speed is not measured, as the network is part of it."""
    from runtime.triton.client import Endpoint
    from runtime.triton.under_load import asked, findings

    endpoint = Endpoint.parse(url, "http")
    report.live, report.live_reason, report.server = "run", "at the endpoint that was named", endpoint.address
    if golden.rows:
        report.answers += compare_answers(endpoint, served, golden, ports)
        if ports.under_load == "yes":
            report.under_load = findings(asked(ports, served, golden, endpoint))


def _serve(ports: Ports, served: Served, server: Server, golden: Golden, report: Report) -> None:
    from runtime.triton.serve import serving

    with serving(
        server,
        served.folder.parent,
        [served.name],
        http_port=ports.http_port,
        grpc_port=ports.grpc_port,
        timeout_s=ports.start_timeout_s,
        as_python=report.live == "twin",
    ) as running:
        report.server, report.ready_s = str(server.binary), running.ready_s
        _ask(ports, served, running, golden, report)
        shutil.copyfile(running.log, ports.report / "server.log")


def _ask(ports: Ports, served: Served, running: Running, golden: Golden, report: Report) -> None:
    from runtime.triton.client import Endpoint, typed
    from runtime.triton.load import ladder, measure
    from runtime.triton.under_load import of_server

    types = typed(served.signature.inputs)
    if not golden.rows:
        return
    for endpoint in (Endpoint(running.http, "http"), Endpoint(running.grpc, "grpc")):
        report.answers += compare_answers(endpoint, served, golden, ports)
        if ports.measure_s == 0 or not all(a.ok for a in report.answers):
            continue
        for batch in ladder(served.config.max_batch_size):
            report.figures.append(
                measure(
                    endpoint,
                    served.name,
                    golden.inputs,
                    types,
                    batch,
                    batched=served.signature.batched,
                    seconds=ports.measure_s,
                    clients=ports.clients,
                )
            )
    if ports.under_load != "no" and all(a.ok for a in report.answers) and golden.outputs:
        report.under_load = of_server(ports, served, golden, running)


def compare_answers(endpoint: Endpoint, served: Served, golden: Golden, ports: Ports) -> list[Answer]:
    """Send the golden rows in batches that the model allows; check names, types, shapes, finiteness and values.

    The server checks nothing of what a model returns (measured), so all of it is checked here.
    """
    from runtime.triton.client import Client, typed
    from runtime.triton.comparing import compare
    from runtime.triton.repository import concatenated, in_batches
    from runtime.triton.under_load import tolerance

    types = typed(served.signature.inputs)
    with Client(endpoint, served.name) as client:
        parts = [client.infer(p, types) for p in in_batches(golden.inputs, served.config.max_batch_size)]
    got = concatenated(parts)
    _require_shape(endpoint, served, golden, got)
    answers = []
    for name, array in got.items():
        want = golden.outputs.get(name)
        if want is None:
            answers.append(Answer(endpoint.protocol, name, golden.rows, 0.0, 0.0, True))
            continue
        atol, rtol = tolerance(served.signature, name, ports.atol, ports.rtol)
        found = compare(array.reshape(want.shape), want, atol, rtol)
        answers.append(Answer(endpoint.protocol, name, golden.rows, found.max_abs, found.max_rel, found.ok))
    return answers


def _require_shape(endpoint: Endpoint, served: Served, golden: Golden, got: dict[str, NDArray[Any]]) -> None:
    import numpy as np

    wrong = []
    for tensor in served.signature.outputs:
        array = got.get(tensor.name)
        if array is None:
            wrong.append(f"output {tensor.name!r} is missing")
            continue
        kind = np.dtype(TYPES[tensor.dtype].numpy)
        dims = (golden.rows, *(tensor.dims or (1,))) if served.signature.batched else tensor.dims
        fits = array.ndim == len(dims) and all(d in (-1, n) for d, n in zip(dims, array.shape, strict=True))
        if array.dtype != kind or not fits:
            wrong.append(
                f"output {tensor.name!r} is {array.dtype} {list(array.shape)}, promised is {kind} {list(dims)}"
            )
        want = golden.outputs.get(tensor.name)
        if kind.kind == "f" and not np.isfinite(array).all() and (want is None or np.isfinite(want).all()):
            wrong.append(f"output {tensor.name!r} holds NaN or infinity")
    if wrong:
        raise ToolFailed(f"{served.name} over {endpoint.protocol}: {'; '.join(wrong)}")


def _log(report: Report, metrics: Metrics) -> None:
    """Metrics: differences by protocol; latencies and rows a second with the batch size as the step."""
    for answer in report.answers:
        metrics.log({f"{answer.protocol}_{answer.output}_max_abs_error": answer.max_abs})
    for figures in report.figures:
        metrics.log({f"{figures.protocol}_{k}": v for k, v in figures.values().items()}, step=figures.batch)
    if report.server:
        metrics.log({"ready_s": report.ready_s})


if __name__ == "__main__":
    sys.exit(main(verify))
