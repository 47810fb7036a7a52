"""`status.json` of a running TAO, followed line by line into metrics.

TAO appends a JSON object a line. What the lines mean was measured (nvidia-tao-pytorch 7.3.0, docs/tao.md):

- "Eval metrics generated." carries the figures of the epoch that the next "Training loop in progress" line names;
  "Train metrics generated." comes after that line. Both are fresh; on every other line `kpi` only repeats.
- a figure may be text ("0.354"), and a line may be torn while it is being written.
- TF1 puts figures into `graphical`, too, and counts epochs in two ways: the Keras networks name an epoch that has
  ended, from 1, after its "Evaluation metrics generated."; the others open an epoch, from 0, with a line that has no
  message, and evaluate after it. Both give the number of epochs as `max_epoch`, and neither has a `step`. Source:
  tao_tensorflow1_backend, cv/common/callbacks/loggers.py, cv/detectnet_v2/tfhooks/task_progress_monitor_hook.py (read).
- a run that went well ends with "... finished successfully." and status RUNNING; SUCCESS is written by TF1 alone.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.metrics import Metrics

LAST_WORD = "finished successfully."
INTERRUPTED = "Training was interrupted"  # TF1 writes SUCCESS after it. Source: tao_tensorflow1_backend, detectnet_v2
FRESH = "metrics generated."


@dataclass
class Followed:
    """What has been read so far.

    Attributes:
        epoch, last_epoch: counted from 0; `last_epoch` is the number of the last one that is planned.
        figures: the latest value of each metric.
        history: every figure with its step, those of an earlier start included.
        message, status: of the last whole line.
        interrupted: whether TAO said so, on any line.
        failures: messages of FAILURE lines; TF1 says in `Error` why.
    """

    epoch: int = -1
    last_epoch: int | None = None
    eta: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    message: str = ""
    status: str = ""
    failures: list[str] = field(default_factory=list)
    started: bool = False
    interrupted: bool = False

    @property
    def finished(self) -> bool:
        """Whether TAO's own last word is that it finished."""
        said = self.message.rstrip().endswith(LAST_WORD) or self.status == "SUCCESS"
        return said and not self.interrupted


class Follower:
    """Reads what was added to a status file since the last call and logs each figure once a step.

    Args:
        path: the file; it need not be there yet.
        metrics: where the figures go, at the epoch as step.
        skip: lines that are there already are read for what was logged before a restart, and not logged again.
    """

    def __init__(self, path: Path, metrics: Metrics, *, skip: bool = False) -> None:
        self.path, self.metrics = path, metrics
        self.followed = Followed()
        self._offset = 0
        self._rest = b""
        self._logged: set[tuple[str, int]] = set()
        self._pending: dict[str, float] = {}
        self._opens = False  # whether the last line with an epoch began it
        self._silent = skip
        if skip:
            self.read()
            self._silent = False
            self.followed.failures.clear()
            self.followed.message = self.followed.status = ""
            self._rest, self._pending = b"", {}

    def read(self) -> Followed:
        """Take in what is new; cheap when nothing is. A file that was cut or replaced is read from its begin."""
        try:
            size = self.path.stat().st_size
            if size < self._offset:
                self._offset, self._rest = 0, b""
            if size == self._offset:
                return self.followed
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return self.followed
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        return self.followed

    def close(self) -> Followed:
        """Read to the end, and log what no further line will place (an evaluation has no epoch)."""
        self.read()
        if self._rest.strip():
            self._take(self._rest)
            self._rest = b""
        self._log(self._pending, max(self.followed.epoch, 0))
        self._pending = {}
        return self.followed

    def _take(self, line: bytes) -> None:
        record = _record(line)
        if record is None:
            return
        followed, message = self.followed, str(record.get("message", ""))
        followed.started = True
        followed.interrupted |= INTERRUPTED in message
        followed.message, followed.status = message, str(record.get("status", ""))
        if followed.status == "FAILURE":
            followed.failures.append(": ".join(filter(None, (message, str(record.get("Error") or "")))))
        figures, drawn = dict(_numbers(record.get("kpi"))), dict(_numbers(record.get("graphical")))
        fresh = message.lower().endswith(FRESH)
        if isinstance(record.get("epoch"), int):
            self._take_epoch(record, message)
            self._log(self._pending, followed.epoch)
            self._log(drawn, followed.epoch)
            self._log(figures, followed.epoch, repeated=True)
            self._pending = {}
        elif fresh and not message.lower().startswith("train") and not self._opens:
            self._log(self._pending, max(followed.epoch, 0))
            self._pending = drawn | figures
        else:
            self._log(drawn, max(followed.epoch, 0), repeated=True)
            self._log(figures, max(followed.epoch, 0), repeated=not fresh)
        followed.figures |= drawn | figures

    def _take_epoch(self, record: Mapping[str, Any], message: str) -> None:
        followed = self.followed
        tf1 = "step" not in record and ("graphical" in record or not message)
        self._opens = tf1 and not message
        followed.epoch = record["epoch"] - (tf1 and not self._opens)
        last = _whole(record.get("max_epoch"), None)
        followed.last_epoch = followed.last_epoch if last is None else last - tf1
        followed.eta = str(record.get("eta", ""))

    def _log(self, figures: Mapping[str, float], step: int, *, repeated: bool = False) -> None:
        """Log once a name and step; of a line that may merely repeat, only what has changed."""
        new = {
            name: value
            for name, value in figures.items()
            if (name, step) not in self._logged and not (repeated and self.followed.figures.get(name) == value)
        }
        self._logged |= {(name, step) for name in new}
        for name, value in new.items():
            self.followed.history.setdefault(name, []).append((step, value))
        if new and not self._silent:
            self.metrics.log(new, step)


def _record(line: bytes) -> dict[str, Any] | None:
    """A line as an object; None for one that is torn or no JSON."""
    with contextlib.suppress(ValueError):
        record = json.loads(line)
        return record if isinstance(record, dict) else None
    return None


def _numbers(figures: Any) -> Iterator[tuple[str, float]]:
    """The figures that are numbers, or text that is one; nested ones by `outer/inner`; NaN is kept."""
    for name, value in figures.items() if isinstance(figures, dict) else ():
        if isinstance(value, dict):
            yield from ((f"{name}/{inner}", number) for inner, number in _numbers(value))
        elif isinstance(value, int | float | str) and not isinstance(value, bool):
            with contextlib.suppress(ValueError):
                yield str(name), float(value)


def _whole(value: Any, otherwise: int | None) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else otherwise
