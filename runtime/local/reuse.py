"""Taking over what a step made before, when nothing that it depends on has changed. AzureML does it too, by name.

The key of a step is what it depends on: its command, the value of each literal, the content of each input, its code,
its environment variables, its Python or image. An entry below `<runs>/.cache/steps/` says where the outputs for a key
lie and what they held; a hit counts only when they still hold that. It is written once a step has completed and its
outputs were read, so what a killed run left half written has none.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import sys
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime import snapshot
from runtime.local import content
from runtime.local.content import Content
from runtime.local.plan import Planned
from runtime.masks import Masks

_OURS = Path(__file__).resolve().parents[1]
_SHOWN_CHARS = 60


@dataclass(frozen=True)
class Key:
    """What a step depends on, by name; equal keys give equal outputs, as far as the step is deterministic."""

    fields: Mapping[str, str]

    @property
    def digest(self) -> str:
        """One SHA-256 of all fields."""
        return content.digest_of(json.dumps(sorted(self.fields.items())))


@dataclass(frozen=True)
class Found:
    """Outputs that were made before with the same key, and still hold what they held."""

    folder: Path  # of the step that made them
    outputs: Mapping[str, Path]


@dataclass
class Reuse:
    """The cache of one `runs` folder, for one run. `read=False`: everything runs again, and is remembered."""

    folder: Path  # <runs>/.cache
    pipeline: str
    read: bool = True
    contents: dict[Path, Content] = field(default_factory=dict)
    masks: Masks = field(default_factory=Masks)

    def key(self, planned: Planned) -> Key:
        """What the step depends on now; its inputs must be complete. Raises OSError where one cannot be read."""
        spec, step = planned.step.spec, planned.step
        fields = {"command": str(spec["command"]), "outputs": ", ".join(sorted(spec.get("outputs") or {}))}
        for name, text in planned.inputs.items():
            if planned.is_data(name):
                place = planned.downloads.get(name, Path(text))
                fields[f"input {name}"] = f"sha256:{self.content(place).digest}"
            else:
                shown = self.masks.text(text)
                fields[f"input {name}"] = text if shown == text else f"{shown} sha256:{content.digest_of(text)}"
        if planned.code is not None:
            fields["code"] = f"sha256:{content.of(planned.code, self._manifests, planned.code_files()).digest}"
        for path in planned.included:
            fields[f"additional_includes {path.name}"] = f"sha256:{self.content(path).digest}"
        own = {**{str(k): str(v) for k, v in (spec.get("environment_variables") or {}).items()}, **step.env}
        if own:
            fields["environment_variables"] = f"sha256:{content.digest_of(json.dumps(own, sort_keys=True))}"
        if step.sweep is not None:
            keys = ("search_space", "objective", "sampling_algorithm", "limits", "early_termination")
            asked = {key: step.sweep[key] for key in keys if key in step.sweep}
            fields["sweep"] = json.dumps(asked, sort_keys=True, default=str)
        if spec.get("distribution"):
            asked = {**spec["distribution"], "instance_count": (spec.get("resources") or {}).get("instance_count", 1)}
            fields["distribution"] = json.dumps(asked, sort_keys=True, default=str)
        return Key(fields | ({"image": planned.image} if planned.image else self._python(fields["command"])))

    def _python(self, command: str) -> dict[str, str]:
        """What `python` means here: its version and what is installed; for our own commands our own source, too."""
        python = {"python": f"{platform.python_version()} {platform.machine()} sha256:{installed()}"}
        return python | {"ngcrun": self._ours} if "runtime" in command or "ngcrun" in command else python

    @functools.cached_property
    def _ours(self) -> str:
        return f"sha256:{content.of(_OURS, self._manifests, snapshot.files(_OURS)).digest}"

    def content(self, path: Path) -> Content:
        """What a path holds, looked at once a run: inputs are read-only, and outputs complete."""
        path = path.resolve()
        if path not in self.contents:
            self.contents[path] = content.of(path, self._manifests)
        return self.contents[path]

    @property
    def _manifests(self) -> Path:
        return self.folder / "contents"

    def find(self, key: Key) -> tuple[Found | None, str]:
        """What was made before with this key; or None, and why nothing can be taken over."""
        if not self.read:
            return None, "--force"
        entry = _load(self.folder / "steps" / f"{key.digest}.json")
        if not entry:
            return None, ""
        outputs = {}
        for port, held in entry["outputs"].items():
            path = Path(entry["folder"], held["path"])
            try:
                now = content.of(path, self._manifests)
            except OSError:
                return None, f"its output {port} of {entry['folder']} is gone"
            if now.digest != held["digest"]:
                return None, f"its output {port} in {entry['folder']} has been changed"
            self.contents[path.resolve()] = now
            outputs[port] = path
        return Found(Path(entry["folder"]), outputs), ""

    def cannot(self, planned: Planned) -> str:
        """Why nothing can be known of what a step depends on; empty when it can."""
        for name, text in planned.inputs.items():
            if planned.is_data(name) and planned.folder.is_relative_to(Path(text).resolve()):
                return f"input {name} holds the run folder, and so changes while it is read"
        return ""

    def remember(self, key: Key, planned: Planned) -> dict[str, Content]:
        """Note what a completed step made; returns the content of each output, none where one cannot be read."""
        try:
            made = {port: self.content(path) for port, path in planned.outputs.items()}
        except OSError:  # the step has completed all the same; it will run again
            return {}
        outputs = {
            port: {"path": os.path.relpath(planned.outputs[port], planned.folder), "digest": made[port].digest}
            for port in made
        }
        entry = {"folder": str(planned.folder), "outputs": outputs, "fields": dict(key.fields), "when": time.time()}
        _save(self.folder / "steps" / f"{key.digest}.json", entry)
        return made

    def last(self, step: str) -> Mapping[str, str]:
        """The key's fields when this step of this pipeline was looked at last; empty at the first time."""
        return dict(_load(self._last(step)))

    def note(self, step: str, key: Key) -> None:
        """Remember the key for the next `last`."""
        _save(self._last(step), dict(key.fields))

    def _last(self, step: str) -> Path:
        return self.folder / "last" / content.digest_of(self.pipeline)[:16] / f"{step}.json"


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Which fields of a key differ, each as `input count: '3', now '5'`."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old != new:
            found.append(f"{name}: {_shown(old)}, now {_shown(new)}")
    return found


def _shown(value: str | None) -> str:
    if value is None:
        return "not there"
    if value.startswith("sha256:"):
        return value[:19]
    return repr(value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "...")


@functools.cache
def installed() -> str:
    """A hash of the names and versions of everything that is installed in this Python."""
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")} | {p for p in sys.path if "-packages" in p}
    names = set()
    for folder in folders:
        with contextlib.suppress(OSError):
            names |= {name for name in os.listdir(folder) if name.endswith(".dist-info")}  # noqa: PTH208 - ten times faster
    return content.digest_of("\n".join(sorted(names)))


def _load(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _save(path: Path, data: Mapping[str, Any]) -> None:
    """Written beside and renamed; a cache that cannot be written costs the next run time, not this one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8", errors="surrogateescape")
        partial.replace(path)
