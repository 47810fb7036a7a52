"""The TAO networks: one YAML of facts each, in `runtime/tao/conf/network/`. Adding a network is adding its file.

In a file, `${dataset}`, `${checkpoint}` and the other `PLACEHOLDERS` stand for what a run is given
(`${checkpoint_folder}`: the folder that the checkpoint lies in); any other `${...}` is left for TAO's own OmegaConf.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from runtime.errors import BadInput, nearest

FOLDER = Path(__file__).parent / "conf" / "network"
DIALECTS = ("yaml", "prototext")
CHOICES = ("images", "calibration", "data_type")  # only some actions have a use for these
PLACEHOLDERS = (
    "dataset", "records", "checkpoint", "checkpoint_folder", "pretrained", "results", "overlay", "spec", "key", *CHOICES
)  # fmt: skip


@dataclass(frozen=True)
class Action:
    """One thing that a network can do.

    Attributes:
        set: what the run puts into the spec, key by key; a key whose placeholders were not given is left alone.
        writes: globs below the results folder; the action has succeeded only if each matches something.
        argv: TF1 only: what follows `<network> <action>`, in one line or in several; a word with a placeholder that was
            not given falls out together with the flag before it.
        spec: the template of the spec when it is not the network's (TF1: `dataset_convert`, `inference`).
        message: TF1 only: the protobuf message of the spec, `<module>.<Message>`.
        image: row of containers/images.yaml when it is not the network's.
        needs: placeholders without which the action cannot run.
        defaults: what `${images}` or `${data_type}` stands for when a run does not say.
        runs: the action's name on TAO's command line when it is another (`retrain` is TAO's `train`).
        status: whether TAO writes a status file; where it does not, exit status and files have to do.
    """

    name: str
    set: Mapping[str, Any] = field(default_factory=dict)
    writes: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    spec: str = ""
    message: str = ""
    image: str = ""
    needs: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    runs: str = ""
    status: bool = True


@dataclass(frozen=True)
class Network:
    """The facts about one TAO network; each field's vendor facts are named in `sources`.

    Attributes:
        program: console script; or a module, for a network that has no script.
        schema: yaml: the module below `nvidia_tao_core.config` (empty: TAO publishes none); prototext: the folder below
            `nvidia_tao_deploy/cv` (empty: NVIDIA ships no compiled messages).
        layout: how the dataset is laid out, a name that runtime/tao/datasets/ knows, or empty; `layout_paths` maps the
            layout's parts to `spec key` or `${dataset}/...`.
        latest: file of the last checkpoint in `<results>/train`; a glob.
        monitor: the metric that tells how good a model is; `better` is `higher` or `lower`.
        inner_paths: keys of the spec whose paths are relative to a folder that another key names.
        files: name and text of what the program reads besides, made in `${overlay}` (runtime/tao/overlay.py).
        spec: the template: what a run needs beyond the schema's defaults, with `${...}`.
    """

    name: str
    task: str
    dialect: str
    image: str
    program: str
    schema: str
    actions: Mapping[str, Action]
    layout: str = ""
    layout_paths: Mapping[str, str] = field(default_factory=dict)
    inner_paths: tuple[str, ...] = ()
    latest: str = ""
    monitor: str = ""
    better: str = "higher"
    spec: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    successor: str = ""
    sources: tuple[str, ...] = ()

    def action(self, name: str) -> Action:
        """The action `name`; raises `BadInput` with those that the network has."""
        if name not in self.actions:
            known = ", ".join(self.actions)
            raise BadInput.of("action", name, f"{self.name} cannot do it", f"{self.name} has: {known}")
        return self.actions[name]

    @property
    def is_tf1(self) -> bool:
        """Whether it is of TAO's TF1 image: Keras checkpoints, flags in place of a spec's keys, two with YAML specs."""
        return self.image == "tao-tf1"

    def image_of(self, action: Action) -> str:
        """The row of containers/images.yaml that an action runs in."""
        return action.image or self.image


def names() -> list[str]:
    """Every network, sorted: the stems of the files."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(name: str) -> Network:
    """The network `name`; raises `BadInput` with the nearest one."""
    if name not in names():
        todo = nearest(name, names()).replace("`ngcrun show`", "`ngcrun tao networks`")
        raise BadInput.of("network", name, "is not a TAO network", todo)
    return load(FOLDER / f"{name}.yaml")


@functools.cache
def load(path: Path) -> Network:
    """Read one network file; a field that is unknown or of the wrong kind is our bug: `TypeError`."""
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    actions = {name: _action(name, fields or {}) for name, fields in document.pop("actions").items()}
    document |= {key: tuple(document.get(key, ())) for key in ("sources", "inner_paths")}
    network = Network(name=path.stem, actions=actions, **document)
    if network.dialect not in DIALECTS:
        raise TypeError(f"{path.name}: dialect {network.dialect!r} is none of {DIALECTS}")
    return network


def _action(name: str, fields: dict[str, Any]) -> Action:
    lines = [line if isinstance(line, list) else [line] for line in fields.get("argv", ())]
    fields["argv"] = tuple(word for line in lines for word in line)
    for key in ("writes", "needs"):
        fields[key] = tuple(fields.get(key, ()))
    return Action(name=name, **fields)


_PLACEHOLDER = re.compile(r"\$\{(" + "|".join(PLACEHOLDERS) + r")\}")


def placeholders(text: str) -> set[str]:
    """The placeholders of ours in a text."""
    return set(_PLACEHOLDER.findall(text))


def fill(text: str, given: Mapping[str, str]) -> str:
    """The text with each placeholder that is given replaced; others stay."""
    return _PLACEHOLDER.sub(lambda match: given.get(match[1], match[0]), text)
