"""Metric points a second into MLflow's sqlite store: ours against `mlflow.log_metric` in a loop, A B A B, medians.

Counted from the first call until every point is in the store (our `close` has returned), in a store that exists.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlflow

from runtime.metrics import from_environment
from runtime.tracking import new_client

LOOP_POINTS, BATCH_POINTS, ROUNDS, PER_CALL = 300, 20_000, 5, 4


def loop(uri: str) -> float:
    """Seconds a point of `mlflow.log_metric` in a loop."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("bench")
    with mlflow.start_run():
        began = time.perf_counter()
        for step in range(LOOP_POINTS):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        return (time.perf_counter() - began) / LOOP_POINTS


def ours(uri: str) -> float:
    """Seconds a point through `runtime.metrics`, as a step uses it: a few figures a call."""
    log = from_environment("bench", {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "bench"})
    log.log({"warm": 0.0})
    began = time.perf_counter()
    for step in range(BATCH_POINTS // PER_CALL):
        log.log({f"figure{i}": 1.0 / (step + 1) for i in range(PER_CALL)}, step=step)
    log.close(timeout_s=120)
    return (time.perf_counter() - began) / BATCH_POINTS


def main() -> None:
    """Print the table in Markdown, after checking that nothing was lost."""
    rows: dict[str, Callable[[str], float]] = {"mlflow.log_metric in a loop": loop, "runtime.metrics": ours}
    times: dict[str, list[float]] = {title: [] for title in rows}
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{Path(folder) / 'mlflow.db'}"
        client = new_client(uri)
        client.create_experiment("bench", (Path(folder) / "artifacts").as_uri())
        for _ in range(ROUNDS):
            for title, run in rows.items():
                times[title].append(run(uri))
        found = client.search_runs([client.get_experiment_by_name("bench").experiment_id])
        for run_ in found:
            if "figure0" in run_.data.metrics:
                stored = len(client.get_metric_history(run_.info.run_id, "figure0"))
                assert stored == BATCH_POINTS // PER_CALL, stored
    middle = {title: statistics.median(values) for title, values in times.items()}
    slowest = middle["mlflow.log_metric in a loop"]
    print("| way | points a second | times the loop |\n|---|---|---|")
    for title, value in middle.items():
        print(f"| {title} | {1 / value:,.0f} | {slowest / value:.0f} |")


if __name__ == "__main__":
    main()
