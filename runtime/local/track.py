"""The MLflow runs of a pipeline: one parent, one child a step, made on a thread while the first steps get ready.

A step finds its run as in an AzureML job: through MLFLOW_TRACKING_URI and MLFLOW_RUN_ID. A server that does not answer
costs the pipeline `WAIT_S` seconds once, and a warning; never the work.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WAIT_S = 30.0
_MLFLOW_STATUS = {"completed": "FINISHED", "canceled": "KILLED", "skipped": "KILLED"}


def store_uri(runs: Path) -> str | None:
    """Where runs are recorded: as the environment says, else a sqlite file in `runs`; None where mlflow is missing."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return os.environ["MLFLOW_TRACKING_URI"]
    if importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("sqlalchemy") is None:
        return None
    return f"sqlite:///{runs.resolve() / 'mlflow.db'}"


class Tracker:
    """Records one pipeline; every method returns at once, except `environment`, which waits for the step's run."""

    def __init__(self, uri: str, experiment: str, steps: Sequence[str], params: Mapping[str, str]) -> None:
        self.uri, self.experiment, self.steps, self.params = uri, experiment, list(steps), dict(params)
        self.run_ids: dict[str, str] = {}
        self.parent_id = ""
        self.failed = ""
        self._made = {step: threading.Event() for step in steps}
        self._ended: queue.SimpleQueue[tuple[str, str, dict[str, float]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tracker", daemon=True)
        self._thread.start()

    def environment(self, step: str) -> dict[str, str]:
        """What the step needs to report to its own run; empty when there is no store to report to."""
        if not self.failed and not self._made[step].wait(WAIT_S):
            self._give_up(f"no answer within {WAIT_S:.0f} s")
        if self.failed:
            return {}
        names = {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_RUN_ID": self.run_ids[step]}
        return names | {"MLFLOW_EXPERIMENT_NAME": self.experiment}

    def ended(self, step: str, status: str, figures: Mapping[str, float]) -> None:
        """A step has ended: `status` is the engine's word for how."""
        self._ended.put((step, _MLFLOW_STATUS.get(status, "FAILED"), dict(figures)))

    def close(self, status: str, figures: Mapping[str, float]) -> None:
        """End the parent run and wait for the store, at most `WAIT_S` seconds."""
        self._ended.put(("", _MLFLOW_STATUS.get(status, "FAILED"), dict(figures)))
        self._thread.join(0.0 if self.failed else WAIT_S)

    def _give_up(self, why: str) -> None:
        if not self.failed:
            self.failed = why
            print(f"warning: metrics: MLflow at {self.uri.split('?')[0]}: {why}; the pipeline goes on", file=sys.stderr)
        for event in self._made.values():
            event.set()

    def _run(self) -> None:
        try:
            client = self._make_runs()
            while True:
                step, status, figures = self._ended.get()
                run_id = self.run_ids[step] if step else self.parent_id
                self._figures(client, run_id, figures)
                client.set_terminated(run_id, status)
                if not step:
                    return
        except Exception as error:
            self._give_up(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300])

    def _make_runs(self) -> Any:
        from runtime.tracking import experiment_id, new_client

        client = new_client(self.uri)
        experiment = experiment_id(client, self.experiment)
        parent = client.create_run(experiment, run_name=self.experiment, start_time=int(time.time() * 1000))
        self.parent_id = parent.info.run_id
        for step in self.steps:
            # Source of the tag that nests runs: mlflow/utils/mlflow_tags.py (3.15.0)
            tags = {"mlflow.parentRunId": self.parent_id}
            run = client.create_run(experiment, run_name=step, tags=tags, start_time=int(time.time() * 1000))
            self.run_ids[step] = run.info.run_id
            self._made[step].set()
        for name, value in self.params.items():
            client.log_param(self.parent_id, name, value[:500])
        return client

    def _figures(self, client: Any, run_id: str, figures: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        client.log_batch(run_id, metrics=[Metric(k, v, now, 0) for k, v in figures.items()])
