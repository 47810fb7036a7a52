"""`triton_tune`: the instances, batches and queue delay that give the most rows a second within a latency bound."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput
from runtime.execute import main
from runtime.metrics import Metrics

if TYPE_CHECKING:
    from runtime.triton.check import Served
    from runtime.triton.load_generator import Measured
    from runtime.triton.repository import Golden
    from runtime.triton.serve import Running
    from runtime.triton.serve_env import Server
    from runtime.triton.tune_search import Settings, Trial

PER_GPU = 4  # instances of one model on a GPU that are tried at most
# At the end the config as it was and the best few are measured again, in turn: on a busy machine the best of many
# trials is mostly the luckiest.
FINALISTS, COMPARED = 2, 3


@dataclass(kw_only=True)
class Ports:
    """Find the serving settings that give the most rows a second within a latency bound, on the hardware it runs on.

    Starts from the config as it is, and tries each setting on a real tritonserver with real rows. What it chose is
    measured once more against that config, in turn; without a gain of 3 percent the config stays as it is.
    """

    repository: Annotated[Path, Input("Model repository", type="triton_model")]
    golden: Annotated[Path, Input("Golden rows of triton_package: what is sent")]
    model_name: Annotated[str | None, Param("Model to tune, when the repository holds several")] = None
    latency_ms: Annotated[
        float | None,
        Param("Bound for the 99th percentile as the client sees it; absent: throughput alone", minimum=0.1),
    ] = None
    rows: Annotated[int, Param("Rows of one request", minimum=1)] = 1
    seconds: Annotated[float, Param("Seconds for the search, at most", minimum=5, maximum=86400)] = 150.0
    point_s: Annotated[float, Param("Seconds for one point of a curve, at most", minimum=0.5, maximum=60)] = 1.0
    load: Annotated[
        str,
        Param(
            "What sends the requests; auto: perf_analyzer where it is on PATH", choices=("auto", "own", "perf_analyzer")
        ),
    ] = "auto"
    journal: Annotated[Path | None, Param("File that keeps the trials, so that a search that was stopped goes on")] = (
        None
    )
    start_timeout_s: Annotated[float, Param("Seconds until the server and a model have to be ready", minimum=1)] = 60.0
    tuned: Annotated[
        Path, Output("The repository with the chosen config.pbtxt; all else as it was", type="triton_model")
    ]
    report: Annotated[Path, Output("tuning.md, trials.csv, trials.json and curve.png")]


@component(name="triton_tune", version="1", image="triton", is_deterministic=False)
def tune(ports: Ports, metrics: Metrics) -> None:
    """Search, compare, write the repository and the report.

    Raises:
        BadInput: when the server here cannot run the model's own backend, or there are no real rows.
        ToolFailed: when the server or a request fails.
    """
    from runtime.triton import tune_report
    from runtime.triton.check import check_repository
    from runtime.triton.serve import serving
    from runtime.triton.tune_search import GAIN

    served = check_repository(ports.repository, ports.model_name)
    golden, server, load = _golden(ports, served), _server(ports, served), _load(ports)
    trials: list[Trial] = []
    with (
        tempfile.TemporaryDirectory(prefix="ngcrun-tune-") as work,
        serving(server, Path(work), [], timeout_s=ports.start_timeout_s) as running,
    ):
        bench = Bench(ports, served, golden, running, Path(work), load)
        base = bench.search(trials, metrics)
        finalists = [base, *sorted((t for t in trials if t is not base), key=lambda t: -t.rows_per_s)[:FINALISTS]]
        compared = bench.compare([trial for trial in finalists if trial.rows_per_s or trial is base])
    chosen = max(compared, key=lambda trial: compared[trial])
    chosen = chosen if compared[chosen] > compared[base] * (1 + GAIN) else base
    before, after = compared[base], compared[chosen]
    result = tune_report.Result(served.name, ports.latency_ms, ports.rows, trials, base, chosen, (before, after))
    _write_repository(ports, served, chosen.settings)
    tune_report.write(ports.report, result)
    print(tune_report.headline(result))
    metrics.tags({"chosen": chosen.settings.text(), "server": str(server.binary), "backend": served.config.backend})
    metrics.tags({"load": load})
    metrics.log({"rows_per_s_before": before, "rows_per_s_tuned": after, "trials": len(trials)})
    if before:
        metrics.log({"speedup": after / before})


def _golden(ports: Ports, served: Served) -> Golden:
    from runtime.triton.repository import as_sent, read_golden

    try:
        golden = read_golden(ports.golden)
    except ValueError as error:
        raise BadInput.of("golden", ports.golden, f"holds no golden rows ({error})", "take triton_package's") from error
    promised = {t.name for t in served.signature.inputs}
    if not golden.rows or set(golden.inputs) != promised:
        wrong = f"is for inputs {sorted(golden.inputs)}, the model has {sorted(promised)}"
        raise BadInput.of("golden", ports.golden, wrong, "take the golden rows of the same triton_package")
    if golden.source != "sample":
        print("the rows are made up: trees answer such up to twice as fast as real ones")
    return as_sent(golden, served.signature)


def _server(ports: Ports, served: Served) -> Server:
    from runtime.triton.serve_env import find_server

    server, most = find_server(), served.config.max_batch_size
    if served.config.backend not in server.backends():
        wrong = f"runs on {served.config.backend}, and the server here has {', '.join(server.backends())}"
        todo = "tune it in the triton image on the hardware that will serve it"
        raise BadInput.of("repository", ports.repository, wrong, todo)
    if ports.rows > max(1, most):
        raise BadInput.of("rows", ports.rows, f"is more than the model's max_batch_size, {most}", "send fewer")
    return server


def _load(ports: Ports) -> str:
    from runtime.triton import perf_analyzer

    if ports.load == "perf_analyzer" and not perf_analyzer.there():
        raise BadInput.of("load", ports.load, "is not on PATH", "run it in NGC's Triton SDK image, or say load=own")
    if ports.load == "own" or not perf_analyzer.there():
        return "own"
    print("the requests are perf_analyzer's")
    return "perf_analyzer"


class Bench:
    """A running server, and copies of one model on it, each with settings of its own."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a measurement needs
        self, ports: Ports, served: Served, golden: Golden, running: Running, work: Path, load: str
    ) -> None:
        from runtime.triton import perf_analyzer
        from runtime.triton.client import typed
        from runtime.triton.load import sendable

        self.ports, self.served, self.running, self.work = ports, served, running, work
        self.text = (served.folder / "config.pbtxt").read_text(encoding="utf-8")
        self.requests = sendable(golden.inputs, ports.rows, served.signature.batched)
        self.types, self.count = typed(served.signature.inputs), 0
        self.data = work / ".perf" / "rows.json" if load == "perf_analyzer" else None
        if self.data:
            self.data.parent.mkdir()
            perf_analyzer.write_data(self.data, golden.inputs, batched=served.signature.batched)

    def search(self, trials: list[Trial], metrics: Metrics) -> Trial:
        """Fills `trials`, in order; returns that of the config as it is."""
        from runtime.triton import tune_search

        start = tune_search.settings_of(self.served.config)
        facts = (self.ports.latency_ms, self.ports.rows, os.cpu_count(), _gpus(), bool(self.data))
        key = tune_search.identity(self.served.folder, *facts)
        journal = tune_search.Journal(self.ports.journal, key) if self.ports.journal else None

        def tell(trial: Trial, fresh: bool) -> None:
            if fresh and journal:
                journal.add(trial)
            if trial not in trials:
                _tell(trial, len(trials), metrics, fresh=fresh)
                trials.append(trial)

        known = journal.read() if journal else {}
        devices = _gpus() * PER_GPU or os.cpu_count() or 1
        search = tune_search.Search(self.curve, tell, self.ports.latency_ms, self.ports.seconds, devices, known)
        search.best(start)
        return search.known[start]

    def curve(self, settings: Settings, seconds: float) -> Sequence[Measured]:
        """The points of one trial, a level each."""
        from runtime.triton.tune_search import levels

        with self.loaded(settings) as name:
            until = time.monotonic() + seconds
            return levels(lambda level: self.point(name, level, self.ports.point_s), self.ports.latency_ms, until)

    def point(self, name: str, level: float, most_s: float) -> Measured:
        """One measurement of a model that is loaded."""
        from runtime.triton import perf_analyzer
        from runtime.triton.load_generator import Load, measure

        rows = self.ports.rows if self.served.signature.batched else 1
        if self.data:
            found = perf_analyzer.measure(self.running.grpc, name, self.data, int(level), rows=rows, most_s=most_s)
            if found is not None:
                return found
            print(
                f"perf_analyzer saw no steady rate at {level:g} requests at once: our own generator measures that point"
            )
        return measure(self.running.grpc, name, self.requests, self.types, Load(level), rows=rows, most_s=most_s)

    def compare(self, finalists: Sequence[Trial]) -> dict[Trial, float]:
        """Rows a second of each at the level that suited it, within the bound, measured in turn; medians."""
        if len(finalists) == 1:
            return {finalists[0]: finalists[0].rows_per_s}
        found: dict[Trial, list[float]] = {trial: [] for trial in finalists}
        with contextlib.ExitStack() as stack:
            names = {trial: stack.enter_context(self.loaded(trial.settings)) for trial in finalists}
            for _ in range(COMPARED):
                for trial, name in names.items():
                    point = self.point(name, trial.level or 1, 2 * self.ports.point_s)
                    late = self.ports.latency_ms is not None and point.p99_ms > self.ports.latency_ms
                    found[trial].append(0.0 if late else point.rows_per_s)
        return {trial: statistics.median(figures) for trial, figures in found.items()}

    @contextlib.contextmanager
    def loaded(self, settings: Settings) -> Iterator[str]:
        """A copy of the model with these settings on the server, under a name of its own."""
        from tritonclient.http import InferenceServerClient

        from runtime.triton.tune_search import applied
        from runtime.triton.versions import link

        self.count += 1
        name = f"{self.served.name}_{self.count}"
        folder = self.work / name
        shutil.copytree(self.served.folder, folder, copy_function=link)
        (folder / "config.pbtxt").unlink()
        (folder / "config.pbtxt").write_text(applied(self.text, settings, name), encoding="utf-8")
        client = InferenceServerClient(self.running.http, network_timeout=self.ports.start_timeout_s)
        try:
            _explained(lambda: client.load_model(name), name, self.running.log)
            yield name
            client.unload_model(name)
        finally:
            client.close()


def _explained(load: Any, name: str, log: Path) -> None:
    from tritonclient.utils import InferenceServerException

    from runtime import vendor
    from runtime.errors import ToolFailed
    from runtime.triton.serve import load_error

    try:
        load()
    except InferenceServerException as error:
        tail = vendor.tail(log, 400)
        raise ToolFailed(f"{name}: cannot load: {load_error(str(error.message()), tail)}", log, tail) from error


def _gpus() -> int:
    from runtime.rapids.engine import devices

    return len(devices())


def _tell(trial: Trial, number: int, metrics: Metrics, *, fresh: bool) -> None:
    bound = "" if trial.rows_per_s else ", never within the bound"
    source = "" if fresh else " (from the journal)"
    print(f"trial {number}: {trial.settings.text()}: {trial.rows_per_s:,.0f} rows/s{bound}{source}", flush=True)
    child = metrics.child(f"trial-{number:03d}")
    child.params({k: v for k, v in vars(trial.settings).items() if v is not None})
    for point in trial.points:
        child.log(point.values(), step=int(point.level))
    child.log({"best_rows_per_s": trial.rows_per_s})
    child.end("FINISHED")


def _write_repository(ports: Ports, served: Served, settings: Settings) -> None:
    from runtime.triton.repository import place
    from runtime.triton.tune_search import applied

    shutil.copytree(
        ports.repository, ports.tuned, dirs_exist_ok=True, copy_function=lambda s, t: place(Path(s), Path(t))
    )
    path = ports.tuned / served.folder.relative_to(ports.repository) / "config.pbtxt"
    path.write_text(applied(path.read_text(encoding="utf-8"), settings), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(tune))
