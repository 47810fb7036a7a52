"""Carry an old spec over: a TF1 spec to the network that took its place, or a TAO 3.22 spec to TAO 5.

Pure functions on texts. What is carried, what is not and why, and what only a person can decide are all told; nothing
is guessed. The rows are in `runtime/tao/conf/migrate.yaml`. Command lines: runtime/tao/migrate_command.py.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runtime.errors import BadInput
from runtime.tao import migrate_parts, network
from runtime.tao.check_prototext import CHANGED, check
from runtime.tao.prototext import set_value, to_dict

ROWS = Path(__file__).parent / "conf" / "migrate.yaml"
NO_SUCCESSOR = "no network of TAO 7 does its task; it stays on the image 5.0.0-tf1.15.5"


@dataclass(frozen=True)
class Left:
    """Something of the old text that the new one does not have, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class Ask:
    """A value that a person has to decide on; given as `key=value`. `old` is what the old text has, if it has any."""

    key: str
    question: str
    old: str = ""


@dataclass(frozen=True)
class Migration:
    """The new text, and the account of how it came about. It is complete when `asks` is empty."""

    text: str
    carried: tuple[str, ...] = ()
    not_carried: tuple[Left, ...] = ()
    asks: tuple[Ask, ...] = ()


def to_successor(name: str, text: str, given: Mapping[str, str] | None = None, gpus: int = 1) -> Migration:
    """The YAML spec of the network that took the place of the TF1 network `name`.

    `given` holds new keys and their values, which win over carried ones; a key that is still open stands as `???`,
    which TAO refuses by name. Raises `BadInput` when there is no successor, and `ProtoTextError` when the text is none.
    """
    family, rules = _rules(name)
    successor = network.find(name).successor
    old = to_dict(text)
    new: dict[str, Any] = {}
    put(new, "results_dir", "???")
    put(new, "train.num_gpus", gpus)
    put(new, "train.gpu_ids", list(range(gpus)))
    carried: list[tuple[str, str, Any]] = []  # old key, or empty for what is always so; new key; value
    taken: set[str] = set()
    for old_key, new_key, value in (*_by_row(old, rules["rows"]), *migrate_parts.PARTS[family](old)):
        if new_key and new_key not in taken:
            taken.add(new_key)
            put(new, new_key, value)
            carried.append((old_key, new_key, value))
    for key, value in (given or {}).items():
        taken.add(key)
        put(new, key, yaml.safe_load(value))
    asks = [Ask(key, question) for key, question in {"results_dir": "folder for the results", **rules["asks"]}.items()]
    asks = [ask for ask in asks if ask.key not in taken]
    for ask in asks:
        put(new, ask.key, "???")
    head = (
        f"# {successor}, from a spec of {name} by `ngcrun tao migrate`. The learning rate is that of another network.\n"
    )
    body = yaml.safe_dump(new, sort_keys=False, default_flow_style=None, width=120)
    told = tuple(f"{old_key or 'always'} -> {new_key}={value!r}" for old_key, new_key, value in carried)
    old_keys = {old_key for old_key, _, _ in carried if old_key}
    return Migration(head + body, told, tuple(_left(old, old_keys, rules["why"], successor)), tuple(asks))


def to_tao5(text: str, tree: Mapping[str, Any], given: Mapping[str, str] | None = None) -> Migration:
    """The same TF1 spec for the image 5.0.0-tf1.15.5; `tree` is the descriptor of its message.

    A fraction where TAO 5 takes a whole number is asked for and never rounded: `given` says it by full key, or by the
    field's name for all its places at once. What else is wrong with the spec is told in `not_carried` and left alone.
    """
    carried, left, asks = [], [], []
    given = dict(given or {})
    for finding in check(tree, text):
        problem = finding.problem
        name = problem.port.rpartition(".")[2].partition("[")[0]
        decided = given.get(problem.port, given.get(name))
        if name not in CHANGED or "is a fraction" not in problem.wrong:
            left.append(Left(problem.port, f"{problem.wrong}; {problem.todo}"))
        elif decided is None:
            question = f"a whole number; {CHANGED[name]} ({problem.wrong.partition(': ')[0]})"
            asks.append(Ask(problem.port, question, str(problem.value)))
        elif not re.fullmatch(r"\d+", decided):
            raise BadInput.of(problem.port, decided, "is not a whole number", f"give it as {name}=4")
        else:
            text = set_value(text, problem.port, int(decided))
            carried.append(f"{problem.port}={decided} (was {problem.value})")
    return Migration(text, tuple(carried), tuple(left), tuple(asks))


@functools.cache
def _document() -> Any:
    return yaml.safe_load(ROWS.read_text(encoding="utf-8"))


def _rules(name: str) -> tuple[str, Any]:
    families = _document()["families"]
    if name not in families:
        network.find(name)
        raise BadInput.of("network", name, NO_SUCCESSOR, f"these have a successor: {', '.join(families)}")
    return families[name], _document()[families[name]]


def _by_row(old: Mapping[str, Any], rows: list[list[str]]) -> Iterator[tuple[str, str, Any]]:
    for old_key, new_key in rows:
        value: Any = old
        for part in old_key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None and not isinstance(value, Mapping):
            yield old_key, new_key, value


def put(spec: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; `name[0]` makes or extends a list."""
    *parents, last = key.split(".")
    here: Any = spec
    for part in parents:
        here = _into(here, part)
    name, _, index = last.partition("[")
    if index:
        values = here.setdefault(name, [])
        values[int(index[:-1]) : int(index[:-1]) + 1] = [value]
    else:
        here[name] = value


def _into(here: dict[str, Any], part: str) -> Any:
    name, _, index = part.partition("[")
    if not index:
        return here.setdefault(name, {})
    values = here.setdefault(name, [])
    while len(values) <= int(index[:-1]):
        values.append({})
    return values[int(index[:-1])]


def _left(old: Mapping[str, Any], carried: set[str], why: Mapping[str, str], successor: str) -> Iterator[Left]:
    """What was not carried: a whole section as one entry, else key by key."""
    for section, value in old.items():
        leaves = list(dict.fromkeys(_leaves(section, value)))
        open_ = [leaf for leaf in leaves if not any(leaf == key or leaf.startswith(key + ".") for key in carried)]
        for key in [section] if open_ == leaves and leaves else open_:
            reason = next(
                why[k] for k in sorted(why, key=len, reverse=True) if key == k or key.startswith(f"{k}.") or not k
            )
            yield Left(key, f"{successor}: {reason}")


def _leaves(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(f"{path}.{name}", below)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for item in value:
            yield from _leaves(path, item)
    else:
        yield path
