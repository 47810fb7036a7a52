"""The search of triton_tune: one setting after another, each tried on the server itself, the best so far kept."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.errors import BadInput
from runtime.triton import model_config
from runtime.triton.config_text import Editor
from runtime.triton.load_generator import Measured

GAIN = 0.03  # a setting is taken for this much more throughput, or it is noise
FLATTENS = 0.05  # more requests at once are not tried after less than this
LEVELS = (1, 4, 16, 64)
DELAYS_US = (0, 100, 500, 2000)
THREADS = ("intra_op_threads", "intra_op_thread_count")  # ours of the python backend; onnxruntime_backend's


@dataclass(frozen=True)
class Settings:
    """What is searched. `threads`: of one inference, None where the config does not say."""

    instances: int
    max_batch_size: int
    dynamic: bool
    delay_us: int
    threads: int | None = None

    def text(self) -> str:
        """As the screen and the report say it."""
        batching = f"dynamic, {self.delay_us} us" if self.dynamic else "direct"
        threads = "" if self.threads is None else f", {self.threads} threads"
        return f"{self.instances} x batch {self.max_batch_size}, {batching}{threads}"


@dataclass(frozen=True)
class Trial:
    """Settings, what was measured at each level, and the most rows a second within the latency bound (0: none)."""

    settings: Settings
    points: tuple[Measured, ...]
    rows_per_s: float
    level: float

    @classmethod
    def of(cls, settings: Settings, points: Sequence[Measured], latency_ms: float | None) -> Trial:
        """The trial with its best point chosen."""
        within = [p for p in points if latency_ms is None or p.p99_ms <= latency_ms]
        best = max(within, key=lambda p: p.rows_per_s, default=None)
        return cls(settings, tuple(points), best.rows_per_s if best else 0.0, best.level if best else 0.0)


def settings_of(config: Any) -> Settings:
    """What a config says now; several instance groups count together."""
    texts = [model_config.parameter(config, key) for key in THREADS]
    threads = next((int(text) for text in texts if text and text.isdecimal()), None)
    count = sum(max(1, group.count) for group in config.instance_group) or 1
    batching = config.dynamic_batching
    dynamic = bool(config.HasField("dynamic_batching"))
    return Settings(count, config.max_batch_size, dynamic, batching.max_queue_delay_microseconds, threads)


def applied(text: str, settings: Settings, name: str | None = None) -> str:
    """The config with these settings, under another name where one is given; all else, comments too, stays."""
    now, editor = settings_of(model_config.parse(text)), Editor(text)
    tree = editor.tree
    if name is not None:
        editor.set(tree, "name", f'"{name}"')
    if settings.instances != now.instances:
        groups = tree.blocks("instance_group")
        if len(groups) == 1:
            editor.set(groups[0], "count", str(settings.instances))
        else:
            for entry in tree.named("instance_group"):
                editor.remove(entry)
            editor.add(tree, f"instance_group {{ count: {settings.instances} }}")
    if settings.max_batch_size != now.max_batch_size:
        editor.set(tree, "max_batch_size", str(settings.max_batch_size))
        _warmup(editor, text, settings.max_batch_size)
    _batching(editor, settings, now)
    if settings.threads != now.threads:
        _threads_of(editor, settings.threads)
    return editor.done()


def _threads_of(editor: Editor, threads: int | None) -> None:
    for block in editor.tree.blocks("parameters"):
        keys = {editor.text[field.value : field.end_value].strip("'\"") for field in block.named("key")}
        for value in block.blocks("value") if keys & set(THREADS) else ():
            editor.set(value, "string_value", f'"{threads}"')


def _warmup(editor: Editor, text: str, most: int) -> None:
    """The server refuses a warm-up of more rows than a batch may have."""
    for block, entry in zip(editor.tree.blocks("model_warmup"), model_config.parse(text).model_warmup, strict=True):
        if entry.batch_size > most:
            editor.set(block, "batch_size", str(most))


def _batching(editor: Editor, settings: Settings, now: Settings) -> None:
    there = editor.tree.named("dynamic_batching")
    if not settings.dynamic:
        for entry in there:
            editor.remove(entry)
        return
    wanted = f"max_queue_delay_microseconds: {settings.delay_us}" if settings.delay_us else ""
    if not there:
        editor.add(editor.tree, f"dynamic_batching {{ {wanted} }}")
        return
    block = there[0].blocks[0]
    if settings.delay_us != now.delay_us:
        editor.set(block, "max_queue_delay_microseconds", str(settings.delay_us))
    if settings.max_batch_size < now.max_batch_size:
        for entry in block.named("preferred_batch_size"):  # the server refuses one above max_batch_size
            editor.remove(entry)


@dataclass
class Search:
    """Tries settings until none is better or the time is over. `run` measures one; `tell` is told each trial.

    `devices`: how many instances can be of use: cores, or GPUs times four.
    """

    run: Callable[[Settings, float], Sequence[Measured]]
    tell: Callable[[Trial, bool], None]
    latency_ms: float | None
    seconds: float
    devices: int
    known: dict[Settings, Trial] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def best(self, start: Settings) -> Trial:
        """The best trial that was found from `start`, which is always measured."""
        best = self._trial(start)
        for options in (_schedulers, _instances, _threads, _delays, _batches):
            for settings in options(best.settings, self.devices):
                if time.monotonic() - self.began > self.seconds and settings not in self.known:
                    return best
                trial = self._trial(settings)
                if trial.rows_per_s > best.rows_per_s * (1 + GAIN):
                    best = trial
                elif options is _instances:
                    break  # more of them will not help either
        return best

    def _trial(self, settings: Settings) -> Trial:
        fresh = settings not in self.known
        if fresh:
            points = self.run(settings, max(5.0, self.seconds - (time.monotonic() - self.began)))
            self.known[settings] = Trial.of(settings, points, self.latency_ms)
        self.tell(self.known[settings], fresh)
        return self.known[settings]


def _schedulers(start: Settings, _devices: int) -> Iterator[Settings]:
    if start.max_batch_size > 0:
        yield replace(start, dynamic=not start.dynamic, delay_us=0)


def _instances(start: Settings, devices: int) -> Iterator[Settings]:
    count = 1
    while count <= max(2, devices):
        if count > start.instances:
            yield replace(start, instances=count)
        count *= 2


def _threads(start: Settings, _devices: int) -> Iterator[Settings]:
    if start.threads is not None:
        for count in sorted({1, 2, os.cpu_count() or 1} - {start.threads}):
            yield replace(start, threads=count)


def _delays(start: Settings, _devices: int) -> Iterator[Settings]:
    if start.dynamic:
        yield from (replace(start, delay_us=delay) for delay in DELAYS_US if delay != start.delay_us)


def _batches(start: Settings, _devices: int) -> Iterator[Settings]:
    """A smaller largest batch keeps each execution short; of no use without a batcher."""
    if start.dynamic:
        yield from (replace(start, max_batch_size=size) for size in (8, 32, 128) if size < start.max_batch_size)


def levels(measured: Callable[[int], Measured], latency_ms: float | None, until: float) -> list[Measured]:
    """More and more requests at once, until that brings little, breaks the bound, or the time is over."""
    points: list[Measured] = []
    for level in LEVELS:
        if points and time.monotonic() > until:
            break
        points.append(measured(level))
        if latency_ms is not None and points[-1].p99_ms > latency_ms:
            if len(points) > 1 and level > 2:
                points.append(measured(level // 2))  # between the last that was within the bound and this one
            break
        if len(points) > 1 and points[-1].rows_per_s < points[-2].rows_per_s * (1 + FLATTENS):
            break
    return points


@dataclass(frozen=True)
class Journal:
    """Trials that are done, a line each, so that a search that was stopped goes on. `of` says of which search."""

    path: Path
    of: str

    def read(self) -> dict[Settings, Trial]:
        """The trials so far; raises `BadInput` for a file of another search."""
        if not self.path.exists():
            return {}
        found = {}
        lines = self.path.read_text(encoding="utf-8").split("\n")[
            :-1
        ]  # behind the last newline: one that was cut short
        for number, line in enumerate(lines):
            try:
                record = json.loads(line)
                if record["search"] != self.of:
                    todo = "name another file, or remove it"
                    raise BadInput.of("journal", self.path, "is of another model, bound or machine", todo)
                settings = Settings(**record["settings"])
                points = tuple(Measured(**point) for point in record["points"])
                found[settings] = Trial(settings, points, record["rows_per_s"], record["level"])
            except (ValueError, KeyError, TypeError) as error:
                wrong = f"is no journal of a search: line {number + 1}: {error}"
                raise BadInput.of("journal", self.path, wrong, "name another file, or remove it") from error
        return found

    def add(self, trial: Trial) -> None:
        """Append one trial; what was written is on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.truncate(self.path.read_bytes().rfind(b"\n") + 1 if end else 0)
            file.write(json.dumps({"search": self.of, **asdict(trial)}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def identity(folder: Path, *facts: object) -> str:
    """What a journal is of: the model's files, and what else the figures depend on."""
    total = hashlib.sha256(repr(facts).encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()
