"""One MLflow run, fed in batches through `MlflowClient`; imported and connected on the metrics thread, not in the step.

Works the same on a laptop (sqlite) and in an AzureML job: the environment says which run. Never uses `log_model`:
AzureML has no `/logged-models` endpoint (azure-sdk-for-python#44896), so models are saved as artifacts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from runtime.metrics import Record

FOLLOWED = "NGCRUN_METRICS_FOLLOWED"  # the file of figures that is passed on by who started the step
PARAMS_PER_CALL = 100  # Source: mlflow/utils/validation.py MAX_PARAMS_TAGS_PER_BATCH (3.15.0)
VALUE_CHARS = 500  # what every MLflow server since 2.0 takes in a param; longer values are cut
# Source: MicrosoftDocs/azure-ai-docs resource-limits-capacity (metric rows), azure-sdk-for-python#35685 (params)
AZURE_METRICS_PER_CALL = 200
AZURE_PARAMS_PER_RUN = 200


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names with text values; absent values are left out."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = str(value)
    return flat


class MlflowRun:
    """A sink that writes to the run that `MLFLOW_RUN_ID` names, or to a new one that it then also ends.

    A step that is followed (see `FOLLOWED`) sends only its artifacts and its parts' runs itself: one that has neither
    does without importing MLflow, which takes longer than the work of many steps.

    Args:
        name: of a new run.
        environ: `MLFLOW_TRACKING_URI` and the rest.
        parent: the sink whose run a new one is to be in.
        client: one that is connected already.
    """

    def __init__(
        self, name: str, environ: Mapping[str, str], parent: MlflowRun | None = None, client: Any = None
    ) -> None:
        self._name, self._environ, self._parent = name, environ, parent
        self._client: Any = client
        self._lock = threading.Lock()  # its own thread and its children's connect it
        self._run_id = "" if parent else environ.get("MLFLOW_RUN_ID", "")
        self._owned = not self._run_id
        self._followed = bool(self._run_id) and environ.get(FOLLOWED, "") == environ.get("NGCRUN_METRICS_FILE")
        self._params: set[str] = set()
        self._records: Sequence[Record] = ()
        self._calls: list[Callable[[], None]] = []
        self._azure = environ["MLFLOW_TRACKING_URI"].startswith("azureml")

    def write(self, records: Sequence[Record]) -> None:
        """Store the records with as few calls as the server allows; tried again, it goes on at the call that failed."""
        own = [r for r in records if r.kind == "artifact" or not self._followed]
        if not own:
            return
        self._connect()
        if records is not self._records:
            self._records, self._calls = records, list(self._calls_for(own))
        while self._calls:
            self._calls[0]()
            del self._calls[0]

    def _calls_for(self, records: Sequence[Record]) -> Iterator[Callable[[], None]]:
        """First the metrics, then params and tags, then the artifacts in their order."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(r.key, r.value, r.time_ms, r.step) for r in records if r.kind == "metric"]
        params = [Param(r.key, r.value[:VALUE_CHARS]) for r in records if r.kind == "param" and self._is_new(r.key)]
        tags = [RunTag(r.key, r.value[:VALUE_CHARS]) for r in records if r.kind == "tag"]
        size = AZURE_METRICS_PER_CALL if self._azure else max(len(metrics), 1)
        for start in range(0, len(metrics), size):
            yield partial(self._client.log_batch, self._run_id, metrics=metrics[start : start + size])
        for start in range(0, max(len(params), len(tags)), PARAMS_PER_CALL):
            end = start + PARAMS_PER_CALL
            yield partial(self._client.log_batch, self._run_id, params=params[start:end], tags=tags[start:end])
        for record in records:
            if record.kind == "artifact":
                yield partial(self._artifact, record)
            elif record.kind == "dataset":
                yield partial(self._dataset, record)

    def _is_new(self, param: str) -> bool:
        """Whether a param is still to be sent: MLflow refuses a whole batch for one that comes twice or changes."""
        if param in self._params or (self._azure and len(self._params) >= AZURE_PARAMS_PER_RUN):
            return False
        self._params.add(param)
        return True

    def close(self, status: str) -> None:
        """End the run if it is ours; a run given by the environment is ended by who gave it."""
        if self._owned:
            self._connect()
            self._client.set_terminated(self._run_id, status)

    def _artifact(self, record: Record) -> None:
        path = Path(record.value)
        if path.is_dir():
            self._client.log_artifacts(self._run_id, str(path), record.key or None)
        else:
            self._client.log_artifact(self._run_id, str(path), record.key or None)

    def _dataset(self, record: Record) -> None:
        """A dataset input; a tag on AzureML, whose server is not known to take inputs."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        value = record.value
        if self._azure:
            tag = f"{value['source']} {value['digest']}"[:VALUE_CHARS]
            self._client.set_tag(self._run_id, f"dataset.{record.key}", tag)
            return
        profile = json.dumps({"files": value["files"]})
        found = Dataset(record.key, value["digest"], "local" if "://" not in value["source"] else "uri",
                        json.dumps({"uri": value["source"]}), profile=profile)  # fmt: skip
        # Source of the tag: mlflow/utils/mlflow_tags.py (3.15.0), MLFLOW_DATASET_CONTEXT
        tags = [InputTag("mlflow.data.context", record.key)]
        self._client.log_inputs(self._run_id, datasets=[DatasetInput(found, tags)])

    def child(self, name: str) -> MlflowRun:
        """A run inside this one."""
        return MlflowRun(name, self._environ, self)

    def _connect(self) -> None:
        with self._lock:
            if self._client is not None:
                return
            client = self._parent.connected() if self._parent else new_client(self._environ["MLFLOW_TRACKING_URI"])
            if self._parent:
                # Source of the tag that nests runs: mlflow/utils/mlflow_tags.py (3.15.0)
                self._begin(client, self._parent.experiment(), {"mlflow.parentRunId": self._parent.run_id})
            elif self._owned:
                self._begin(client, experiment_id(client, self._environ.get("MLFLOW_EXPERIMENT_NAME", self._name)), {})
            self._client = client

    def _begin(self, client: Any, experiment: str, tags: Mapping[str, str]) -> None:
        now = int(time.time() * 1000)
        self._run_id = client.create_run(experiment, run_name=self._name, start_time=now, tags=tags).info.run_id

    @property
    def run_id(self) -> str:
        """The run's id, once it is connected."""
        return self._run_id

    def connected(self) -> Any:
        """The client, connected now if it was not."""
        self._connect()
        return self._client

    def experiment(self) -> str:
        """The id of the experiment that the run is in."""
        return str(self.connected().get_run(self._run_id).info.experiment_id)


def new_client(uri: str) -> Any:
    """An `MlflowClient` for `uri`, quiet: MLflow and alembic log each migration of a fresh store otherwise."""
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # usage reports are the user's to switch on, not ours
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with _alone(uri):
        client = MlflowClient(tracking_uri=uri)
        if uri.startswith("sqlite:"):
            client.search_experiments(max_results=1)  # makes the tables of a fresh store
    return client


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time makes the tables of a sqlite store: two at once fail ("duplicate column name")."""
    folder = Path(uri.partition("?")[0].removeprefix("sqlite:///")).parent
    if not uri.startswith("sqlite:///") or not folder.is_dir():
        yield
        return
    lock = os.open(folder, os.O_RDONLY)  # the folder itself, so that no lock file is left
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def artifact_location(uri: str) -> str | None:
    """Beside a sqlite store, and not in whatever folder the caller stands in; a server has its own."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///")).with_name("mlartifacts").resolve().as_uri()


def experiment_id(client: Any, name: str) -> str:
    """The id of the experiment `name`, made if it is new; two processes may both try."""
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is not None:
        return str(known.experiment_id)
    try:
        return str(client.create_experiment(name, artifact_location=artifact_location(client.tracking_uri)))
    except MlflowException:
        return str(client.get_experiment_by_name(name).experiment_id)
