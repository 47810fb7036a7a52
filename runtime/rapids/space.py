"""What a search may change: ranges of a learner's settings, as a Hydra config group."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput, Problem
from runtime.rapids.learners import BOUNDS

if TYPE_CHECKING:
    from runtime.rapids.learners import XGBoost


@dataclass
class Whole:
    """Whole numbers from `low` to `high`, both included; `log`: as many below the geometric mean as above."""

    low: int
    high: int
    log: bool = False


@dataclass
class Real:
    """Numbers from `low` to `high`; `log`: as many below the geometric mean as above."""

    low: float
    high: float
    log: bool = False


@dataclass
class Wide:
    """Five settings of XGBoost; a setting whose range is null keeps the value that `model` has."""

    max_depth: Whole | None = field(default_factory=lambda: Whole(3, 12))
    learning_rate: Real | None = field(default_factory=lambda: Real(0.02, 0.5, log=True))
    min_child_weight: Real | None = field(default_factory=lambda: Real(1.0, 100.0, log=True))
    subsample: Real | None = field(default_factory=lambda: Real(0.5, 1.0))
    reg_lambda: Real | None = field(default_factory=lambda: Real(0.1, 100.0, log=True))


@dataclass
class DepthAndRate:
    """The two settings that matter most, for few trials."""

    max_depth: Whole | None = field(default_factory=lambda: Whole(3, 12))
    learning_rate: Real | None = field(default_factory=lambda: Real(0.02, 0.5, log=True))


Space = Wide | DepthAndRate
NAMES: dict[str, type[Any]] = {"wide": Wide, "depth_and_rate": DepthAndRate}


def ranges(space: Space) -> dict[str, Whole | Real]:
    """The range of each setting that is searched."""
    return {name: value for name, value in vars(space).items() if value is not None}


def check(space: Space) -> None:
    """Raises `BadInput` with every range that is empty or leaves the bounds of its setting."""
    problems = []
    for name, given in ranges(space).items():
        low, high = BOUNDS[name]
        shown = f"{given.low:g}..{given.high:g}"
        if not given.low < given.high:
            problems.append(Problem(f"space.{name}", shown, "holds no values", "make low less than high"))
        elif given.low < low or given.high > high:
            problems.append(Problem(f"space.{name}", shown, "is out of range", f"stay within {low:g}..{high:g}"))
        elif given.log and given.low <= 0:
            todo = "make low greater than 0, or log=false"
            problems.append(Problem(f"space.{name}", shown, "has no logarithm", todo))
    if problems:
        raise BadInput(problems)
    if not ranges(space):
        raise BadInput.of("space", None, "searches nothing", "leave at least one range that is not null")


def inside(space: Space, learner: XGBoost) -> dict[str, Any] | None:
    """The learner's own values of what is searched; None where one lies outside its range."""
    values = {name: getattr(learner, name) for name in ranges(space)}
    fits = all(given.low <= values[name] <= given.high for name, given in ranges(space).items())
    return values if fits else None


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """A value of each searched setting, asked of an Optuna trial."""
    return {
        name: (trial.suggest_int if isinstance(given, Whole) else trial.suggest_float)(
            name, given.low, given.high, log=given.log
        )
        for name, given in ranges(space).items()
    }


def plain(space: Space) -> dict[str, Any]:
    """The ranges as values that JSON takes."""
    return {name: dataclasses.asdict(given) for name, given in ranges(space).items()}
