"""The text of the spec that TAO is given: the user's own or the network's template, with only the asked-for changes.

Order, later wins: the text, the placeholders, what the action needs (`set` in the network's file), the user's
`key=value` words. The user's file is read, never written.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem
from runtime.tao import yaml_edit
from runtime.tao.network import Action, Network, fill, placeholders

KEY_VARIABLE = "NGCRUN_TAO_KEY"  # the encryption key's only way in
KEY_REFERENCE = f"${{oc.env:{KEY_VARIABLE}}}"  # what a saved spec holds in its place; TAO's OmegaConf resolves it
SetValue = Callable[[str, str, Any], str]


@dataclass(frozen=True)
class Given:
    """What a run is given, as text for the placeholders; absent ones are not there."""

    paths: Mapping[str, str] = field(default_factory=dict)
    overrides: Sequence[tuple[str, Any]] = ()
    has_key: bool = False


def parse_overrides(words: str | Sequence[str] | None) -> list[tuple[str, Any]]:
    """`key=value` words, in one text separated as in a shell or as a list, as keys and typed values.

    Values have Hydra's grammar: `1e-4`, `true`, `[1,2]`, `{a: 1}`, `null`, `'two words'`.

    Raises:
        BadInput: with every word that is no `key=value` or whose value cannot be read.
    """
    if isinstance(words, str):
        try:
            words = shlex.split(words)
        except ValueError as error:
            raise BadInput.of("spec_overrides", words, str(error).lower(), "close the quote") from error
    parsed, problems = [], []
    for word in words or ():
        try:
            parsed.append(_parse(word))
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    return parsed


def _parse(word: str) -> tuple[str, Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    match = re.fullmatch(r"\+{0,2}(?P<key>[A-Za-z_][\w.\[\]-]*)=(?P<value>.*)", word, re.DOTALL)
    if match is None:
        todo = "write key=value, such as train.num_epochs=3; to unset a key write key=null"
        raise BadInput.of("spec_overrides", word, "is not key=value", todo)
    try:
        override = OverridesParser.create().parse_override(f"value={match['value']}")
    except HydraException as error:
        line = str(error).splitlines()[0].rstrip(".")
        todo = "quote the word and the value: \"key='...'\""
        raise BadInput.of(match["key"], match["value"], line, todo) from error
    if override.is_sweep_override():
        raise BadInput.of(
            match["key"], match["value"], "is a sweep", "give one value; quote one that holds commas: \"key='...'\""
        )
    return match["key"], override.value()


def template(network: Network, action: Action) -> str:
    """The template that a run without a spec starts from; raises `BadInput` when the network has none."""
    if action.argv and "${spec}" not in action.argv:  # TF1's prune is told all by its flags
        return "{}\n" if network.dialect == "yaml" else ""
    text = action.spec or network.spec
    if not text:
        todo = f"give spec=FILE; `ngcrun tao spec {network.name} {action.name}` prints one with TAO's defaults"
        raise BadInput.of("spec", None, f"{network.name} {action.name} has no template", todo)
    return text


def build(network: Network, action: Action, text: str, given: Given) -> str:
    """The final text; bytes that nobody asked to change stay as they are.

    Raises:
        BadInput: a placeholder is left without a value, or a key cannot be set.
    """
    text = _fill_all(network, action, text, given)
    if network.dialect == "yaml":
        _require_plain(text)
    put = _setter(network)
    for key, value in action.set.items():
        if not placeholders(str(value)) <= set(given.paths):
            continue
        text = put(text, key, fill(value, given.paths) if isinstance(value, str) else value)
    hydra = network.dialect == "yaml" and not action.argv  # a program with flags may not know these keys
    if hydra and "results" in given.paths and "results_dir" not in action.set:
        text = put(text, "results_dir", given.paths["results"])
    if hydra and given.has_key:
        text = put(text, "encryption_key", KEY_REFERENCE)
    for key, value in given.overrides:
        text = put(text, key, value)
    return text


def _fill_all(network: Network, action: Action, text: str, given: Given) -> str:
    filled = fill(text, given.paths)
    left = sorted(placeholders(_without_comments(filled)) - {"spec", "key", "overlay"})
    if left:
        todo = f"give {left[0]}=PATH, or put a path in its place"
        name = f"{network.name} {action.name}"
        raise BadInput(Problem(k, None, f"the spec of {name} holds ${{{k}}} and it is not bound", todo) for k in left)
    return filled


def _require_plain(text: str) -> None:
    """Raise `BadInput` for YAML that is more than mappings, lists and plain values, as `!!python/object`."""
    import yaml

    yaml_edit.parse(text)
    try:
        yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise BadInput.of("spec", where, str(error.problem), "write a plain value there") from error


def _without_comments(text: str) -> str:
    return re.sub(r"(^|\s)#.*", "", text)


def _setter(network: Network) -> SetValue:
    if network.dialect == "yaml":
        return yaml_edit.set_value
    from runtime.tao import prototext

    return prototext.set_value


def put(network: Network, text: str, key: str, value: Any) -> str:
    """The text with one value changed, in the network's dialect."""
    return _setter(network)(text, key, value)


def read_user_spec(path: Path) -> str:
    """The text of a spec file, byte for byte (newlines untranslated); raises `BadInput` for one that is no text."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput.of("spec", path, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    except OSError as error:
        raise BadInput.of("spec", path, (error.strerror or str(error)).lower(), "name a file that is there") from error
