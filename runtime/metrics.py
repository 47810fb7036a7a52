"""Where numbers go: MLflow, a JSON lines file, or memory. A store that is slow or gone never stops the work.

A step calls `log`, `params`, `tags` and `artifact`; a background thread hands them on in batches.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Kind = Literal["metric", "param", "tag", "artifact", "dataset"]
BATCH = 1000  # MLflow's own limit for metrics in one log_batch. Source: mlflow/utils/validation.py (3.15.0)
PAUSES_S = (0.2, 1.0)  # between tries: sqlite is locked for moments while another step writes
CLOSE_S = 20.0  # how long the end of a step waits for a store that does not answer


@dataclass(frozen=True, slots=True)
class Record:
    """One thing to record.

    `value` is a float for a metric, text for a param or tag, a path for an artifact, a mapping for a dataset.
    """

    kind: Kind
    key: str
    value: Any
    step: int
    time_ms: int


class Sink(Protocol):
    """Something that takes records in batches of at most `BATCH`, in order, from one thread."""

    def write(self, records: Sequence[Record]) -> None:
        """Store the records; after it raised, it is called again with the same object a few times, then given up."""

    def close(self, status: str) -> None:
        """Say how the step ended: FINISHED, FAILED or KILLED."""

    def child(self, name: str) -> Sink:
        """A sink for one part of the step's work, such as a trial, kept apart from the step's own records."""


class Memory:
    """Keeps every record in a list; for tests and for callers that want the figures back."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.status = "RUNNING"
        self.children: dict[str, Memory] = {}

    def write(self, records: Sequence[Record]) -> None:  # noqa: D102 - as in Sink
        self.records.extend(records)

    def close(self, status: str) -> None:  # noqa: D102 - as in Sink
        self.status = status

    def child(self, name: str) -> Memory:  # noqa: D102 - as in Sink
        return self.children.setdefault(name, Memory())

    def latest(self, kind: Kind = "metric") -> dict[str, Any]:
        """The last value of each key."""
        return {r.key: r.value for r in self.records if r.kind == kind}


class JsonLines:
    """Appends each record as one JSON object a line to a file; NaN and infinities are written as text."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, records: Sequence[Record]) -> None:  # noqa: D102 - as in Sink
        lines = []
        for record in records:
            fields = dataclasses.asdict(record)
            if isinstance(record.value, float) and not math.isfinite(record.value):
                fields["value"] = str(record.value)
            lines.append(json.dumps(fields, default=str, ensure_ascii=False) + "\n")
        self._append("".join(lines))

    def close(self, status: str) -> None:  # noqa: D102 - as in Sink
        self._append(json.dumps({"kind": "status", "value": status}) + "\n")

    def child(self, name: str) -> JsonLines:
        """`metrics.jsonl` of the step, `metrics.trial-003.jsonl` of its part `trial-003`."""
        return JsonLines(self.path.with_name(f"{self.path.stem}.{name}{self.path.suffix}"))

    def _append(self, text: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)


class Metrics:
    """What a step reports to. Calls return at once; nothing here raises into the step.

    Args:
        sinks: where the records go, each with a thread of its own, so that a slow one holds up no other.
    """

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self._sinks = list(sinks)
        self._drains = [Drain(sink) for sink in self._sinks]
        self._children: list[Metrics] = []
        self._later: list[threading.Thread] = []

    def child(self, name: str) -> Metrics:
        """What a part of the step's work reports to: in MLflow, a run inside the step's. End it with `end`."""
        made = Metrics(sink.child(name) for sink in self._sinks)
        self._children.append(made)
        return made

    def log(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at `step` (an epoch, a round, a batch; 0 for a figure of the whole run)."""
        now = int(time.time() * 1000)
        self._put([Record("metric", key, float(value), step, now) for key, value in values.items()])

    def params(self, values: Mapping[str, object]) -> None:
        """Record settings, once each: the first value of a name stays."""
        self._text("param", values)

    def tags(self, values: Mapping[str, object]) -> None:
        """Record labels of the run; a later value replaces an earlier one."""
        self._text("tag", values)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Store a copy of a file or folder; it must stay in place until `close`."""
        self._put([Record("artifact", folder, path, 0, int(time.time() * 1000))])

    def dataset(self, name: str, source: str, digest: str, files: int) -> None:
        """Record what was read: the port's name, the path or address, a checksum, and how many files it is."""
        value = {"source": source, "digest": digest, "files": files}
        self._put([Record("dataset", name, value, 0, int(time.time() * 1000))])

    def later(self, act: Callable[[], None]) -> None:
        """Do what takes a while, and ends with a record, beside the work; `close` waits for it. Its failure is told."""

        def guarded() -> None:
            try:
                act()
            except Exception as error:  # a record that is missing must not cost the work
                print(f"warning: metrics: {told(error)}", file=sys.stderr)

        self._later.append(threading.Thread(target=guarded, daemon=True))
        self._later[-1].start()

    def end(self, status: str = "FINISHED") -> None:
        """Take no more records; returns at once, what is left is stored by the time that the step's `close` is over."""
        for drain in self._drains:
            drain.end(status)

    def close(self, status: str = "FINISHED", timeout_s: float = CLOSE_S) -> None:
        """Flush and end; a store that has not answered after `timeout_s` is left behind with a warning."""
        until = time.monotonic() + timeout_s
        for thread in self._later:
            thread.join(max(0.0, until - time.monotonic()))
        for metrics in (*self._children, self):
            metrics.end(status)  # a part that was ended before keeps its status
        drains = [drain for metrics in (*self._children, self) for drain in metrics._drains]
        for why in dict.fromkeys(filter(None, [drain.join(max(0.0, until - time.monotonic())) for drain in drains])):
            print(f"warning: metrics: {why}", file=sys.stderr)

    def _text(self, kind: Kind, values: Mapping[str, object]) -> None:
        now = int(time.time() * 1000)
        self._put([Record(kind, key, str(value), 0, now) for key, value in values.items()])

    def _put(self, records: Sequence[Record]) -> None:
        for drain in self._drains:
            drain.put(records)


class Drain:
    """One sink and the thread that feeds it; `name`: what it is called where something goes wrong."""

    def __init__(self, sink: Sink, name: str = "") -> None:
        self._sink, self._name = sink, name or type(sink).__name__
        self._queue: queue.SimpleQueue[Sequence[Record] | str] = queue.SimpleQueue()
        self._lost = 0
        self._why = ""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def put(self, records: Sequence[Record]) -> None:
        """Hand on some records; returns at once."""
        self._queue.put(records)

    def end(self, status: str) -> None:
        """Close the sink once it has all records; returns at once."""
        self._queue.put(status)

    def join(self, timeout_s: float) -> str:
        """Wait for the last record; returns what went wrong, or nothing."""
        self._thread.join(timeout_s)
        late = self._thread.is_alive()
        why = self._why or ("no answer in time" if late else "")
        if not why:
            return ""
        count = f"{self._lost} records not stored" if self._lost and not late else "the last may not be stored"
        return f"{self._name}: {why}; {count}"

    def _run(self) -> None:
        pending: list[Record] = []
        status = None
        while status is None:
            item = self._queue.get()
            while True:  # take all that has gathered meanwhile, so that a slow store gets full batches
                if isinstance(item, str):
                    status = item
                    break
                pending.extend(item)
                if len(pending) >= BATCH or self._queue.empty():
                    break
                item = self._queue.get()
            for start in range(0, len(pending), BATCH):
                self._write(pending[start : start + BATCH])
            pending.clear()
        self._guard(lambda: self._sink.close(status), 0)

    def _write(self, batch: list[Record]) -> None:
        self._guard(lambda: self._sink.write(batch), len(batch))

    def _guard(self, act: Callable[[], None], count: int) -> None:
        """A store's failure is told at the end, never raised; after one that stayed, each act gets a single try."""
        for pause_s in (*(() if self._why else PAUSES_S), None):
            try:
                return act()
            except Exception as error:
                if pause_s is None:
                    self._lost += count
                    self._why = self._why or told(error)
                else:
                    time.sleep(pause_s)
        return None


def told(error: BaseException) -> str:
    """An error as a short line without the secrets that an address may hold: user, password, query."""
    text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return re.sub(r"(://)[^/\s@]*@", r"\1", re.sub(r"(://[^\s?]*)\?\S*", r"\1", text))[:300]


def from_environment(component: str, environ: Mapping[str, str] = os.environ, extra: Iterable[Sink] = ()) -> Metrics:
    """The metrics of a step as its environment says.

    `NGCRUN_METRICS_FILE`: a JSON lines file. `MLFLOW_TRACKING_URI` or an AzureML job: MLflow (see runtime/tracking.py).
    `extra`: further sinks.
    """
    sinks: list[Sink] = list(extra)
    if environ.get("NGCRUN_METRICS_FILE"):
        sinks.append(JsonLines(Path(environ["NGCRUN_METRICS_FILE"])))
    if environ.get("MLFLOW_TRACKING_URI"):
        from runtime.tracking import MlflowRun

        sinks.append(MlflowRun(component, environ))
    return Metrics(sinks)
