"""A sweep's search space, objective and early termination: read, checked, and asked for values. Nothing runs here.

Source of fields and meanings: MicrosoftDocs/azure-ai-docs, reference-yaml-job-sweep and how-to-tune-hyperparameters;
names of the distributions: azure-ai-ml 1.35.2, `entities/_job/sweep/search_space.py`.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.errors import Problem, nearest
from runtime.local.graph import Step

NEEDED = {
    "choice": ("values",),
    "randint": ("upper",),
    "uniform": ("min_value", "max_value"),
    "quniform": ("min_value", "max_value", "q"),
    "loguniform": ("min_value", "max_value"),
    "qloguniform": ("min_value", "max_value", "q"),
    "normal": ("mu", "sigma"),
    "qnormal": ("mu", "sigma", "q"),
    "lognormal": ("mu", "sigma"),
    "qlognormal": ("mu", "sigma", "q"),
}
ALGORITHMS = ("random", "grid", "bayesian")
POLICIES = ("bandit", "median_stopping", "truncation_selection")
_EDGE = 1e-6  # of a normal distribution, whose ends are infinite
DEFAULT_TRIALS = 1000  # Source: the reference's default of limits.max_total_trials


def problems(step: Step) -> list[Problem]:
    """What is wrong with a sweep step beside its trial."""
    assert step.sweep is not None  # noqa: S101 - the caller has looked; narrows for mypy
    found: list[Problem] = []
    place = ("jobs", step.id.rpartition(".")[2])

    def wrong(where: tuple[str, ...], value: object, what: str, todo: str) -> None:
        found.append(step.pipeline.problem((*place, *where), value, what, todo))

    space = step.sweep.get("search_space") or {}
    if not space:
        wrong(("search_space",), None, "is missing", "name the inputs to search and their values")
    declared = step.spec.get("inputs") or {}
    for name, spec in space.items():
        kind = spec.get("type") if isinstance(spec, Mapping) else None
        if name not in declared:
            wrong(("search_space", name), name, "is not an input of the trial", nearest(name, declared))
        elif kind not in NEEDED:
            wrong(("search_space", name, "type"), kind, "is no distribution", nearest(str(kind), NEEDED))
        elif missing := [key for key in NEEDED[kind] if spec.get(key) is None]:
            wrong(("search_space", name), missing[0], f"is missing, and {kind} needs it", f"add `{missing[0]}:`")
        elif kind != "choice" and algorithm(step.sweep)[0] == "grid":
            wrong(("search_space", name, "type"), kind, "has no grid", "list its values: {type: choice, values: [...]}")
    objective = step.sweep.get("objective") or {}
    if objective.get("goal") not in ("minimize", "maximize"):
        wrong(("objective", "goal"), objective.get("goal"), "is no goal", "write minimize or maximize")
    if not objective.get("primary_metric"):
        wrong(("objective", "primary_metric"), None, "is missing", "name a metric that the trial logs")
    if algorithm(step.sweep)[0] not in ALGORITHMS:
        wrong(
            ("sampling_algorithm",),
            algorithm(step.sweep)[0],
            "is no algorithm",
            nearest(algorithm(step.sweep)[0], ALGORITHMS),
        )
    policy = step.sweep.get("early_termination")
    if policy is not None and (not isinstance(policy, Mapping) or policy.get("type") not in POLICIES):
        wrong(("early_termination",), policy, "is no policy", f"use {', '.join(POLICIES)}")
    return found


def algorithm(sweep: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The sampling algorithm's name in lower case and its settings."""
    given = sweep.get("sampling_algorithm") or "random"
    return (str(given.get("type", "random")).lower(), given) if isinstance(given, Mapping) else (str(given).lower(), {})


def total_trials(sweep: Mapping[str, Any]) -> int:
    """How many trials there are: as the limits say, and no more than a grid has points."""
    wanted = int((sweep.get("limits") or {}).get("max_total_trials") or DEFAULT_TRIALS)
    if algorithm(sweep)[0] != "grid":
        return wanted
    return min(wanted, math.prod(len(spec["values"]) for spec in sweep["search_space"].values()))


def grid(sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination, the last input changing fastest."""
    space = sweep["search_space"]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*(s["values"] for s in space.values()))]


def suggest(trial: Any, name: str, spec: Mapping[str, Any]) -> Any:
    """One value of one input, asked of an Optuna trial."""
    kind = str(spec["type"])
    if kind == "choice":
        return spec["values"][trial.suggest_categorical(name, list(range(len(spec["values"]))))]
    if kind == "randint":
        return trial.suggest_int(name, 0, int(spec["upper"]) - 1)
    if kind.endswith("uniform"):
        value = trial.suggest_float(name, float(spec["min_value"]), float(spec["max_value"]))
    else:
        share = trial.suggest_float(name, _EDGE, 1 - _EDGE)
        value = statistics.NormalDist(float(spec["mu"]), float(spec["sigma"])).inv_cdf(share)
    if "log" in kind:
        value = math.exp(value)
    if kind.startswith("q"):
        value = round(value / float(spec["q"])) * float(spec["q"])
    return value


def better(goal: str, one: float, other: float) -> bool:
    """Whether `one` is the better figure."""
    return one < other if goal == "minimize" else one > other


def stops(policy: Mapping[str, Any], goal: str, own: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether a trial that has logged `own` is to end now, beside what the other trials have logged.

    An interval is one value of the primary metric, as on AzureML.
    """
    count, every, delay = (
        len(own),
        int(policy.get("evaluation_interval") or 1),
        int(policy.get("delay_evaluation") or 0),
    )
    if count == 0 or count <= delay or count % every or not any(others):
        return False
    best = _best(goal, own)
    same = [_best(goal, history[:count]) for history in others if history]
    if policy["type"] == "bandit":
        top = _best(goal, [*same, best])
        amount = policy.get("slack_amount")
        slack = float(amount) if amount is not None else abs(top) * float(policy.get("slack_factor") or 0)
        return better(goal, top + slack if goal == "minimize" else top - slack, best)
    if policy["type"] == "median_stopping":
        averages = [statistics.fmean(history[:count]) for history in others if history]
        return better(goal, statistics.median(averages), best)
    share = float(policy.get("truncation_percentage") or 0) / 100
    worse = sum(better(goal, other, best) for other in same)
    return share > 0 and worse >= math.ceil((1 - share) * (len(same) + 1))


def _best(goal: str, values: Sequence[float]) -> float:
    return min(values) if goal == "minimize" else max(values)
