"""The one place that chooses between CPU and GPU, and that runs a Polars query on what was chosen.

A GPU is probed through the driver itself: `import cudf` succeeds without one, and Polars' own fallback covers only
operations that the GPU lacks, never a GPU that is not there (measured with cudf-polars 26.10).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import lean_import
from runtime.errors import BadInput, ToolFailed
from runtime.metrics import Metrics
from runtime.rapids import cluster as clusters
from runtime.rapids import duckdb_check, naive_times, translation
from runtime.remote_path import as_remote

if TYPE_CHECKING:
    import polars as pl

CHOICES = ("auto", "cpu", "gpu")
# Of the steps whose queries are also written in SQL: the CPU's result, compared with what DuckDB makes of it.
CHECKED = "duckdb-check"
TRAIN_CHOICES = (*CHOICES, clusters.DISTRIBUTED)
QUERY_CHOICES = (*TRAIN_CHOICES, CHECKED)
_APART = ".apart-"  # begins the name of a file that a worker is writing
FALLBACKS = ("cpu", "refuse")  # what becomes of a query that the GPU cannot run
# A row group is what a reader decodes at once, on either engine. At 500,000 rows transform held 620 MiB on 8 million
# rows, at 200,000 it holds 470 MiB (two cores).
ROW_GROUP = 200_000
# On 2.5 million trips level 1 took 1.07 s of CPU where level 3 took 1.40 s, for 4 percent more bytes. cudf-polars
# knows no levels: a query that names one falls back to the CPU.
CPU_ZSTD = 1


def gpu_problem(package: str) -> str | None:
    """Why `package` cannot run on a GPU here, as a clause; None if it can. Honours CUDA_VISIBLE_DEVICES."""
    if importlib.util.find_spec(package) is None:
        return f"the package {package} is not installed"
    if package == "xgboost" and not _xgboost_has_cuda():
        return "this build of xgboost has no CUDA"
    count = _count()
    return count if isinstance(count, str) else None if count else "the NVIDIA driver shows no device"


def _count() -> int | str:
    """How many devices the driver shows, or why it shows none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1)"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return f"the NVIDIA driver answers with CUDA error {status}" if status else count.value


def devices() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each device that this process sees; empty without one."""
    count = _count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    shown = 0 if isinstance(count, str) else count
    return named[:shown] if named else [str(number) for number in range(shown)]


def _xgboost_has_cuda() -> bool:
    """XGBoost itself only warns when it lacks a GPU, and trains on the CPU."""
    xgboost = lean_import.xgboost()

    return bool(xgboost.build_info().get("USE_CUDA"))


# Seconds of a step with cudf-polars and without, measured with bench/gpu.py on 27 November 2026: rapids_prepare and
# rapids_transform on 2 and 10 million rows, one H200 beside 16 cores. Starting cudf-polars is most of the difference.
GPU_START_S, GPU_ROW_S = 3.2, 0.19e-6
CPU_START_S, CPU_CORE_ROW_S = 1.1, 2.6e-6
BYTES_A_ROW = {".parquet": 24, ".csv": 110}  # of the same trips


def rows_about(data: Path) -> int:
    """How many rows of trips a file or a folder holds, by its bytes."""
    files = [data] if data.is_file() else [path for path in data.rglob("*") if path.is_file()]
    return int(sum(path.stat().st_size / BYTES_A_ROW.get(path.suffix, 110) for path in files))


def faster(rows: int, cores: int) -> tuple[str, str]:
    """`cpu` or `gpu`, whichever is expected to be done first with queries over so many rows, and why."""
    cpu, gpu = CPU_START_S + CPU_CORE_ROW_S * rows / cores, GPU_START_S + GPU_ROW_S * rows
    took = f"{cpu:.1f} s are expected on {cores} cores, {gpu:.1f} s on a GPU (bench/gpu.py)"
    return ("cpu" if cpu <= gpu else "gpu"), f"engine=auto: about {rows / 1e6:,.1f} million rows: {took}"


def choose(wanted: str, package: str, metrics: Metrics, data: Path | None = None) -> str:
    """`cpu` or `gpu`, logged with its reason; raises `BadInput` when `gpu` was asked for and cannot be had.

    `data`: what is going to be queried; with it, `auto` takes the CPU where the GPU would not be faster.
    """
    on_cpu = wanted in ("cpu", CHECKED)
    problem = None if on_cpu else gpu_problem(package)
    if wanted == "auto" and problem is None and data is not None:
        name, why = faster(rows_about(data), os.cpu_count() or 1)
        problem = why if name == "cpu" else None
    if wanted == "gpu" and problem:
        raise BadInput.of(
            "engine", wanted, problem, "set engine=cpu or engine=auto, or run it in the rapids image on a GPU"
        )
    name = "cpu" if on_cpu or problem else "gpu"
    metrics.tags({"engine": name, "engine_reason": problem or f"engine={wanted}"})
    metrics.log({"engine_gpu": float(name == "gpu"), "engine_fallbacks": 0.0})
    return name


@dataclass
class Engine:
    """Runs Polars queries; `name` is `cpu` (the streaming engine) or `gpu` (cudf-polars)."""

    name: str
    metrics: Metrics
    checked: bool = False
    fallback: str = "cpu"
    compared: int = 0
    fallbacks: int = 0
    cluster: clusters.Cluster | None = None
    apart: bool = False  # on a worker: another one may have been given the same piece of work

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls, wanted: str, metrics: Metrics, data: Path, fallback: str = "cpu", workers: int = 0
    ) -> Iterator[Engine]:
        """As `of`; with `engine=distributed` the cluster is there for as long as the block runs."""
        if wanted != clusters.DISTRIBUTED:
            yield cls.of(wanted, metrics, data, fallback)
            return
        with cluster(workers, "cudf_polars", metrics) as made:
            yield cls("cpu", metrics, fallback=fallback, cluster=made)

    def each(
        self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]], folders: Sequence[Path]
    ) -> Iterator[Any]:
        """`work(engine, *item)` for each item, in order: here, or each on some worker of the cluster.

        `folders`: where the work writes; what a lost worker had half written there is removed.
        """
        if self.cluster is None:
            yield from (work(self, *item) for item in items)
            return
        there = [(work, self.cluster.engine, self.fallback, *item) for item in items]
        try:
            for result, reasons in self.cluster.each(_on_worker, there):
                for reason in reasons:
                    self._fell_back(reason)
                yield result
        finally:
            for path in (path for folder in folders for path in folder.glob(f"{_APART}*")):
                path.unlink(missing_ok=True)

    @classmethod
    def of(cls, wanted: str, metrics: Metrics, data: Path, fallback: str = "cpu") -> Engine:
        """The engine for a port's value, one of `QUERY_CHOICES`, and what it will read; raises `BadInput`.

        `fallback`: one of `FALLBACKS`. `refuse` raises for a query that the GPU cannot run, before it runs, also on a
        CPU where cudf-polars is installed.
        """
        if wanted == CHECKED:
            duckdb_check.require()
            if as_remote(data) is not None:
                raise BadInput.of("engine", wanted, "reads only what is on this machine", "download the data first")
        if fallback == "refuse":
            metrics.tags({"fallback_foreseen": "yes" if translation.can_tell() else "no: cudf-polars is not installed"})
        # Polars reads ahead of a slow sink: on 50 million trips in Parquet bench/etl.py saw 1,083 MiB with two row
        # groups ahead, and 438 with one (polars 1.44.2, two cores, row groups of 250,000). What is elsewhere takes
        # longer to come. Read once, at a process's first query.
        cores = os.cpu_count() or 2
        ahead = cores if as_remote(data) is not None else cores // 2
        os.environ.setdefault("POLARS_ROW_GROUP_PREFETCH_SIZE", str(max(1, ahead)))
        return cls(choose(wanted, "cudf_polars", metrics, data), metrics, wanted == CHECKED, fallback)

    def check(self, written: Path, sql: Callable[[], str]) -> None:
        """With `engine=duckdb-check`: raises `ToolFailed` unless DuckDB's result of `sql` is what was written."""
        if self.checked:
            self.compared = duckdb_check.compare(sql(), written, self.metrics, self.compared)

    def collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        """The result of a query, which must be small."""
        self._refuse([query])
        return self._run(query, lambda engine: query.collect(engine=engine))  # type: ignore[no-any-return]

    def shared(self, query: pl.LazyFrame) -> pl.LazyFrame:
        """The query, to be computed once for all that `write` makes of it, where the engine can."""
        return query.cache() if self.name == "cpu" else query

    def write(self, outputs: Mapping[Path, pl.LazyFrame], summary: pl.LazyFrame) -> pl.DataFrame:
        """Write each query to its Parquet file and return the result of `summary`.

        On the CPU all of it is one pass over the data; the GPU engine has no such call, so it makes one pass each.
        """
        if self.apart:
            own = {path.with_name(f"{_APART}{uuid.uuid4().hex}-{path.name}"): path for path in outputs}
            row = replace(self, apart=False).write({mine: outputs[path] for mine, path in own.items()}, summary)
            for mine, path in own.items():
                mine.replace(path)
            return row
        import polars as pl

        plans = {path: _sink(query, path, lazy=True) for path, query in outputs.items()}
        self._refuse([*plans.values(), summary])
        if self.name == "cpu":
            sinks = [_sink(query, path, lazy=True, compression_level=CPU_ZSTD) for path, query in outputs.items()]
            return pl.collect_all([*sinks, summary], engine="streaming")[-1]
        for path, query in outputs.items():
            self._run(plans[path], lambda engine, query=query, path=path: _sink(query, path, engine=engine))
            naive_times.restore(path, query.collect_schema())
        return self.collect(summary)

    def _refuse(self, plans: list[pl.LazyFrame]) -> None:
        """With `fallback=refuse`: raises `BadInput` for the first that the GPU cannot run, where that can be told."""
        if self.fallback == "refuse" and translation.can_tell():
            for reason in filter(None, map(translation.problem, plans)):
                self._fell_back(reason)

    def _fell_back(self, reason: str) -> None:
        """Tell it; raises `BadInput` with `fallback=refuse`."""
        self.fallbacks += 1
        self.metrics.tags({"engine_fallback": reason})
        self.metrics.log({"engine_fallbacks": float(self.fallbacks)})
        if self.fallback == "refuse":
            raise BadInput.of("fallback", "refuse", f"the GPU cannot run a query: {reason}", "set fallback=cpu")

    def _run(self, plan: pl.LazyFrame, act: Any) -> Any:
        import polars as pl

        if self.name == "cpu":
            return act("streaming")
        reason = translation.problem(plan)
        if reason is None:
            try:
                return act(pl.GPUEngine(executor="streaming", raise_on_fail=True))
            except pl.exceptions.ComputeError as error:
                reason = str(error).strip().splitlines()[0][:300]
                # Source: cudf_polars/callback.py (26.10): it raises this for a plan with operations that the GPU lacks.
                if "NotImplementedError" not in reason:
                    raise ToolFailed(f"the GPU engine failed: {reason}; try engine=cpu") from error
        self._fell_back(reason)
        return act("streaming")


def _on_worker(work: Callable[..., Any], name: str, fallback: str, *item: Any) -> tuple[Any, list[str]]:
    """What `Engine.each` does on a worker: the result, and why queries fell back to the CPU."""
    told = _Reasons()
    return work(Engine(name, told, fallback=fallback, apart=True), *item), told.reasons


class _Reasons(Metrics):
    """Keeps the reasons of fallbacks, which process 0 reports."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []

    def tags(self, values: Mapping[str, object]) -> None:
        self.reasons += [str(values["engine_fallback"])] if "engine_fallback" in values else []


@contextlib.contextmanager
def cluster(workers: int, package: str, metrics: Metrics) -> Iterator[clusters.Cluster]:
    """The cluster of `engine=distributed`, logged; `package`: what computes on a GPU, where the workers have some."""
    with clusters.cluster(workers, gpu_problem(package)) as made:
        metrics.tags({"engine": clusters.DISTRIBUTED, "engine_of_workers": made.engine, "engine_reason": made.why})
        metrics.log({"workers": made.workers, "engine_gpu": float(made.engine == "gpu"), "engine_fallbacks": 0.0})
        yield made


def _sink(query: pl.LazyFrame, path: Path, **how: Any) -> Any:
    return query.sink_parquet(path, compression="zstd", row_group_size=ROW_GROUP, **how)
