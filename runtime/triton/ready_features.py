"""Ready-made step `features`: which columns it takes and what it is told, of rapids_transform's and of a recipe's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem, nearest
from runtime.rapids.model_folder import RECIPE
from runtime.rapids.schemas import CANONICAL
from runtime.triton import model_config, step_features, step_recipe

PARAMETER = "recipe"  # of config.pbtxt: how the model's features are made


@dataclass(frozen=True)
class Features:
    """`columns`: the inputs by name, as Triton's types; `settings`: what the step is told besides its features."""

    module: str
    columns: Mapping[str, str]
    settings: Mapping[str, Any]


def parameters_of(features: Path) -> dict[str, str]:
    """What config.pbtxt says of a features.json that rapids_recipe wrote; nothing of any other."""
    if not features.is_file():
        return {}
    content = json.loads(features.read_text(encoding="utf-8"))
    if any(key not in content for key in RECIPE):
        return {}
    return {PARAMETER: json.dumps({key: content[key] for key in RECIPE}, ensure_ascii=False)}


def features_of(config: Any, names: Sequence[str]) -> Features:
    """How the features of a packaged model are made; raises `BadInput` for what no request can carry."""
    recipe = model_config.parameter(config, PARAMETER)
    if recipe is None:
        return _of_trips(names)
    told = json.loads(recipe)
    made = set(told["expressions"]) | set(told["categories"])
    problems = [
        Problem("for", name, "is a feature of the model that its recipe does not make", nearest(name, made))
        for name in names
        if name not in made
    ]
    problems += [
        Problem("for", name, f"is a column of the type {kind}, which no request carries exactly", _todo(kind))
        for name, kind in told["column_types"].items()
        if kind not in step_recipe.TYPE_OF
    ]
    if not told["column_types"]:
        problems.append(Problem("for", config.name, "has features of no column", "write a recipe that uses the table"))
    if problems:
        raise BadInput(problems)
    columns = {name: step_recipe.TYPE_OF[kind] for name, kind in told["column_types"].items()}
    return Features("step_recipe", columns, told)


def _todo(kind: str) -> str:
    if kind.startswith("Date"):
        return "make it a time without a zone, in microseconds, before rapids_recipe, such as by rapids_validate"
    return "make it a number, a text, a time or a flag before rapids_recipe, such as by rapids_validate"


def _of_trips(names: Sequence[str]) -> Features:
    from runtime.rapids.features import feature_expressions

    known = feature_expressions()
    unknown = [
        Problem("for", name, "is a feature of the model that rapids_transform does not make", nearest(name, known))
        for name in names
        if name not in known
    ]
    if unknown:
        raise BadInput(unknown)
    columns = {name: step_features.TYPE_OF[CANONICAL[name]] for name in step_features.columns_of(names)}
    return Features("step_features", columns, {})
