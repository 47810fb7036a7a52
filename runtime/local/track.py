"""The MLflow runs of a pipeline: one parent, one child a step, kept on a thread of their own.

A step finds its run as in an AzureML job: through MLFLOW_TRACKING_URI and MLFLOW_RUN_ID. What a step of ours records is
passed on from its file of figures: MLflow is imported here once, and not by each step. A server that does not answer
costs the pipeline `WAIT_S` seconds once, and a warning; never the work.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import re
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.errors import BadInput
from runtime.metrics import CLOSE_S, Drain, Record, told

WAIT_S = 30.0
STOPPED_WAIT_S = 4.0  # after Ctrl-C
FOLLOW_S = 1.0  # between two looks at what a step has recorded
PASSED_ON = ("metric", "param", "tag", "dataset")  # an artifact is gone when its step's outputs are put in place
_MLFLOW_STATUS = {"completed": "FINISHED", "canceled": "KILLED"}


def store_uri(runs: Path) -> str | None:
    """Where runs are recorded: as the environment says, else a sqlite file in `runs`; None where mlflow is missing.

    Raises `BadInput` for a path that no sqlite URI can hold.
    """
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return os.environ["MLFLOW_TRACKING_URI"]
    if importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("sqlalchemy") is None:
        return None
    path = str(runs.resolve() / "mlflow.db")
    if re.search("[?#%]", path):  # they end or change the path in a URI, and no quoting is undone by every reader of it
        todo = "use another folder, or set MLFLOW_TRACKING_URI"
        raise BadInput.of("runs", path, "holds ?, # or %, which MLflow's sqlite store cannot", todo)
    return f"sqlite:///{path}"


class Tracker:
    """Records one pipeline; every method returns at once, except `environment`, which waits for the step's run."""

    def __init__(self, uri: str, experiment: str, steps: Sequence[str], params: Mapping[str, str]) -> None:
        self.uri, self.experiment, self.params = uri, experiment, dict(params)
        self.run_ids: dict[str, str] = {}
        self._client: Any = None
        self._stopped = False
        self.parent_id = self._experiment_id = ""
        self.failed = ""
        self._made = {step: threading.Event() for step in steps}
        self._todo: queue.SimpleQueue[Callable[[Any], None]] = queue.SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="tracker", daemon=True)
        self._thread.start()

    def environment(self, step: str, parent: str = "") -> dict[str, str]:
        """What the step needs to report to its own run; empty when there is no store to report to.

        `parent`: the step whose trial it is; else the run is a child of the pipeline's.
        """
        self._made.setdefault(step, threading.Event())
        self._todo.put(lambda client: self._begin(client, step, parent))
        if not self.failed and not self._made[step].wait(WAIT_S):
            self._give_up(f"no answer within {WAIT_S:.0f} s")
        if self.failed or step not in self.run_ids:
            return {}
        names = {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_RUN_ID": self.run_ids[step]}
        return names | {"MLFLOW_EXPERIMENT_NAME": self.experiment}

    def history(self, step: str, metric: str) -> list[float]:
        """The values of a metric that a step has logged to its run, in the order of their steps."""
        if self.failed or step not in self.run_ids:
            return []
        from runtime.tracking import new_client

        points = new_client(self.uri).get_metric_history(self.run_ids[step], metric)
        return [point.value for point in sorted(points, key=lambda p: (p.step, p.timestamp))]

    @contextlib.contextmanager
    def followed(self, step: str, figures: Path, hide: Callable[[bytes], bytes] = bytes) -> Iterator[None]:
        """While the block runs, pass on what the step writes into its file of figures, as it writes it.

        `hide` takes secrets out of its lines. A store that is slow holds up neither the step nor another, and the end
        of the block for `CLOSE_S` at most.
        """
        if self.failed or step not in self.run_ids:  # as where the store does not answer
            yield
            return
        from runtime.tracking import MlflowRun

        environ = {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_RUN_ID": self.run_ids[step]}
        done, drain = threading.Event(), Drain(MlflowRun(step, environ, client=self._client), step)
        thread = threading.Thread(target=_follow, args=(figures, hide, done, drain), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            drain.end("")  # the run itself is ended by `ended`
            if why := drain.join(STOPPED_WAIT_S if self._stopped else CLOSE_S):
                print(f"warning: metrics: {why}", file=sys.stderr)

    def wait_no_more(self) -> None:
        """Let `environment` return at once, as after Ctrl-C: the steps that wait for their runs will not start."""
        self._stopped = True
        for event in self._made.values():
            event.set()

    def ended(self, step: str, status: str, figures: Mapping[str, float]) -> None:
        """A step has ended: `status` is the engine's word for how. One that never began has no run."""
        self._todo.put(lambda client: self._end(client, self.run_ids.get(step, ""), status, figures))

    def close(self, status: str, figures: Mapping[str, float]) -> None:
        """End the parent run and wait for the store: at most `WAIT_S` seconds, `STOPPED_WAIT_S` after Ctrl-C."""

        def last(client: Any) -> None:
            self._end(client, self.parent_id, status, figures)
            self._ended = True

        self._todo.put(last)
        wait_s = STOPPED_WAIT_S if status == "canceled" else WAIT_S
        self._thread.join(0.0 if self.failed else wait_s)
        if self._thread.is_alive():
            self._give_up(f"no answer within {wait_s:.0f} s")

    def _give_up(self, why: str) -> None:
        if not self.failed:
            self.failed = why
            print(f"warning: metrics: MLflow at {shown_uri(self.uri)}: {why}; the pipeline goes on", file=sys.stderr)
        self.wait_no_more()

    def _run(self) -> None:
        try:
            from runtime.tracking import VALUE_CHARS, experiment_id, new_client

            client = self._client = new_client(self.uri)
            self._experiment_id = experiment_id(client, self.experiment)
            self.parent_id = self._new_run(client, self.experiment, {})
            for name, value in self.params.items():
                client.log_param(self.parent_id, name, value[:VALUE_CHARS])
            while not self._ended:
                self._todo.get()(client)
        except Exception as error:
            self._give_up(told(error))

    def _new_run(self, client: Any, name: str, tags: Mapping[str, str]) -> str:
        tags = {"mlflow.source.name": "ngcrun pipeline", "mlflow.source.type": "LOCAL", **tags}
        run = client.create_run(self._experiment_id, run_name=name, tags=tags, start_time=int(time.time() * 1000))
        return str(run.info.run_id)

    def _begin(self, client: Any, step: str, parent: str) -> None:
        # Source of the tag that nests runs: mlflow/utils/mlflow_tags.py (3.15.0)
        self.run_ids[step] = self._new_run(
            client, step, {"mlflow.parentRunId": self.run_ids.get(parent, self.parent_id)}
        )
        self._made[step].set()

    def _end(self, client: Any, run_id: str, status: str, figures: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        if not run_id:
            return
        now = int(time.time() * 1000)
        client.log_batch(run_id, metrics=[Metric(k, v, now, 0) for k, v in figures.items()])
        client.set_terminated(run_id, _MLFLOW_STATUS.get(status, "FAILED"))


def _follow(figures: Path, hide: Callable[[bytes], bytes], done: threading.Event, drain: Drain) -> None:
    """Hand on what comes into the file, until its step is done."""
    place, last = 0, False
    while not last:
        last = done.wait(FOLLOW_S)
        records, place = new_records(figures, place, hide)
        if records:
            drain.put(records)


def new_records(path: Path, place: int, hide: Callable[[bytes], bytes] = bytes) -> tuple[list[Record], int]:
    """What a step has recorded since byte `place`, whole lines and no artifacts, and where to go on.

    `hide` takes secrets out of the lines.
    """
    if not path.is_file():
        return [], place
    with path.open("rb") as file:
        file.seek(place)
        whole, newline, _ = file.read().rpartition(b"\n")
    records = []
    for line in hide(whole).splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError):  # a line of somebody else's, or one that is torn
            found = json.loads(line)
            if found["kind"] in PASSED_ON:
                value = float(found["value"]) if found["kind"] == "metric" else found["value"]
                records.append(Record(found["kind"], found["key"], value, int(found["step"]), int(found["time_ms"])))
    return records, place + len(whole) + len(newline)


def shown_uri(uri: str) -> str:
    """The URI without a user name, a password or a query, any of which may be a secret."""
    parts = urllib.parse.urlsplit(uri)
    if not parts.netloc:
        return uri.partition("?")[0]
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
