"""A Dask cluster for `engine=distributed`: found where it is, formed by the processes of one job, or started here.

Dask schedules, moves and repeats the work; this module says only where it is and what is sent. Sources: distributed
2026.7.1 (the version that RAPIDS 26.10 takes), LocalCluster, Client and Worker; dask-cuda, LocalCUDACluster.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.errors import BadInput, OutputsElsewhere, ToolFailed, summary

DISTRIBUTED = "distributed"
WORKERS_HELP = "Processes that engine=distributed starts on this machine; 0 for one a GPU, or one for two cores"
ADDRESS = "DASK_SCHEDULER_ADDRESS"  # Dask's own variable
_JOIN_S = 300.0  # for the processes of a job to find each other: nodes start minutes apart
_CORES_A_WORKER = 2  # of the CPU: reading and computing overlap


@dataclass(frozen=True)
class Cluster:
    """A client of a running cluster.

    `engine` is what each worker computes on, `cpu` or `gpu`, and `why`; `threads` of the CPU for each, 0 if not known.
    """

    client: Any
    engine: str
    why: str
    threads: int = 0

    @property
    def workers(self) -> int:
        """How many there are now."""
        return len(self.addresses())

    def addresses(self) -> set[str]:
        """Where each worker is now."""
        return set(self.client.scheduler_info(n_workers=-1)["workers"])

    def each(self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """`work(*item)` for each item on some worker, in order; what a lost worker had begun is begun anew.

        Raises what the work raises; `ToolFailed` for work at which worker after worker was lost.
        """
        import distributed

        futures = [self.client.submit(work, *item, pure=False) for item in items]
        try:
            for future in futures:
                yield future.result()
        except distributed.KilledWorker as error:
            lost = f"workers were lost one after another at the same piece of work ({summary(error)})"
            raise ToolFailed(f"{lost}; give each more memory: fewer workers, or smaller files") from error
        finally:
            self.client.cancel(futures)


@contextlib.contextmanager
def cluster(workers: int, gpu_problem: str | None) -> Iterator[Cluster]:
    """The cluster for as long as the block runs.

    An address in `DASK_SCHEDULER_ADDRESS` is used, and left as it is. In a job of several processes (AzureML's
    `distribution: {type: pytorch}`) process 0 holds the scheduler and a worker, and the others are workers: for them
    this raises `OutputsElsewhere` when all is done. Else `workers` processes are started here; 0: one a GPU, or one for
    two cores.

    Raises:
        BadInput: Dask is not installed, or nobody answers at the address.
        ToolFailed: the processes of the job do not find each other.
    """
    _require()
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if os.environ.get(ADDRESS):
        with _found(os.environ[ADDRESS]) as client:
            yield Cluster(client, *_engine(gpu_problem))
    elif size > 1:
        if rank > 0:
            _serve()
            raise OutputsElsewhere("process 0 of this job writes the outputs")
        with _formed(size) as client:
            yield Cluster(client, *_engine(gpu_problem), threads=_cores())
    else:
        with _started(workers, gpu_problem) as found:
            yield found


def _require() -> None:
    if importlib.util.find_spec("distributed") is None:
        todo = "pip install 'ngcrun[distributed]', or set engine=cpu"
        raise BadInput.of("engine", DISTRIBUTED, "needs Dask, which is not installed", todo)
    # Before the import, and for the processes that are started: what matters of it is told in our words.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


def _engine(gpu_problem: str | None) -> tuple[str, str]:
    return ("cpu", gpu_problem) if gpu_problem else ("gpu", "each worker has a GPU")


@contextlib.contextmanager
def _found(address: str) -> Iterator[Any]:
    import distributed

    try:
        client = distributed.Client(address, timeout=_JOIN_S / 10)
    except (OSError, ValueError) as error:
        todo = "start it (`dask scheduler`), or unset the variable"
        raise BadInput.of(ADDRESS, address, f"does not answer as a Dask scheduler ({summary(error)})", todo) from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise BadInput.of(ADDRESS, address, "has no workers", f"start some: dask worker {address}")
        yield client


@contextlib.contextmanager
def _started(workers: int, gpu_problem: str | None) -> Iterator[Cluster]:
    import distributed

    where = {"host": "127.0.0.1", "dashboard_address": None}
    engine, why = _engine(gpu_problem)
    if engine == "gpu" and importlib.util.find_spec("dask_cuda") is None:
        engine, why = "cpu", "the package dask_cuda is not installed"
    count = workers or max(1, _cores() // _CORES_A_WORKER)
    each = max(1, _cores() // count)
    if engine == "gpu":
        from dask_cuda import LocalCUDACluster

        made = LocalCUDACluster(n_workers=workers or None, **where)
    else:
        # One piece of work at a time in each, on several threads: Polars' and XGBoost's own.
        env = {"POLARS_MAX_THREADS": str(each), "OMP_NUM_THREADS": str(each)}
        made = distributed.LocalCluster(n_workers=count, threads_per_worker=1, memory_limit=0, env=env, **where)
    with made, distributed.Client(made) as client:
        yield Cluster(client, engine, why, 0 if engine == "gpu" else each)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def _formed(size: int) -> Iterator[Any]:
    """The scheduler and a worker in processes of this one, with `size` - 1 workers elsewhere."""
    import distributed

    host, port = _master()
    where = {"host": host, "scheduler_port": port, "dashboard_address": None}
    made = distributed.LocalCluster(n_workers=1, threads_per_worker=1, memory_limit=0, env=_own_gpu(), **where)
    with made, distributed.Client(made) as client:
        try:
            client.wait_for_workers(size, timeout=_JOIN_S)
        except TimeoutError as error:
            there = len(client.scheduler_info()["workers"])
            raise ToolFailed(f"{there} of {size} processes of this job have met within {_JOIN_S:.0f} s") from error
        yield client
        client.shutdown()  # lets go of the workers elsewhere


def _serve() -> None:
    """Be a worker until the scheduler goes; raises `ToolFailed` where there is none."""
    import asyncio  # here: most steps that could be distributed are not, and would import it in vain

    import distributed

    os.environ.update(_own_gpu())
    host, port = _master()

    async def worker() -> None:
        async with distributed.Worker(
            f"tcp://{host}:{port}", nthreads=1, dashboard=False, death_timeout=_JOIN_S, memory_limit=0
        ) as one:
            await one.finished()

    try:
        asyncio.run(worker())
    except (OSError, TimeoutError) as error:
        raise ToolFailed(f"process 0 of this job is not at {host}:{port} ({summary(error)})") from error


def _master() -> tuple[str, int]:
    """Where process 0 is. Source: MicrosoftDocs/azure-ai-docs, how-to-train-distributed-gpu."""
    try:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError):
        todo = "give the step `distribution: {type: pytorch}`, or unset WORLD_SIZE"
        raise BadInput.of("MASTER_ADDR and MASTER_PORT", None, "do not say where process 0 is", todo) from None


def _own_gpu() -> dict[str, str]:
    """Of the GPUs that this node's processes all see, the one of this process."""
    from runtime.rapids.engine import devices

    seen = devices()
    return {"CUDA_VISIBLE_DEVICES": seen[int(os.environ.get("LOCAL_RANK", "0")) % len(seen)]} if seen else {}
