"""A finished search as files: the trials as a table, and three plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.rapids import figures
from runtime.rapids.space import Space, ranges
from runtime.rapids.study import Row, Study


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write a CSV with a row a trial; without times, so that the same search gives the same bytes."""
    import polars as pl

    records = [
        {"trial": r.place, "state": r.state, "validation_rmse": r.rmse, "rounds": r.rounds, **r.values} for r in rows
    ]
    pl.DataFrame(records, infer_schema_length=None).write_csv(path)


def importances(study: Study) -> dict[str, float]:
    """Each setting's share of what the figure varied by (fANOVA), most first; empty where too few trials completed.

    Source: optuna.importance.get_param_importances (5.0.0).
    """
    import optuna

    figures_seen = {r.rmse for r in study.rows() if r.state == "completed"}
    if len(figures_seen) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=study.asked.seed)
    found = optuna.importance.get_param_importances(study.study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def plot_all(folder: Path, rows: Sequence[Row], space: Space, shares: dict[str, float]) -> list[Path]:
    """Write `history.png`, `importance.png` and `parallel_coordinates.png`; returns their paths."""
    plot_history(folder / "history.png", rows)
    if shares:
        figures.plot_importances(folder / "importance.png", shares)
    else:
        _plot_words(folder / "importance.png", "fewer than two trials completed with different figures")
    plot_parallel(folder / "parallel_coordinates.png", rows, space)
    return [folder / f"{name}.png" for name in ("history", "importance", "parallel_coordinates")]


def _plot_words(path: Path, words: str) -> None:
    figure, axes = figures.canvas(height_in=2)
    axes.set_axis_off()
    axes.text(0.5, 0.5, words, ha="center", va="center")
    figures.save(figure, path)


def plot_history(path: Path, rows: Sequence[Row]) -> None:
    """Each trial's figure, those that were pruned in grey, and the best so far as a line."""
    figure, axes = figures.canvas(height_in=4)
    for state, colour in (("completed", "tab:blue"), ("pruned", "lightgrey")):
        chosen = [r for r in rows if r.state == state]
        axes.scatter([r.place for r in chosen], [r.rmse for r in chosen], color=colour, label=state, s=18)
    best, line = math.inf, []
    for row in rows:
        best = min(best, row.rmse) if row.state == "completed" else best
        line.append(best if math.isfinite(best) else math.nan)
    axes.step([r.place for r in rows], line, where="post", color="black", linewidth=0.8, label="best so far")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("trial")
    axes.set_ylabel("validation RMSE")
    axes.legend()
    figures.save(figure, path)


def plot_parallel(path: Path, rows: Sequence[Row], space: Space) -> None:
    """A line a trial over one axis a setting and one for the RMSE; the darker, the better, those pruned in grey."""
    figure, axes = figures.canvas(height_in=4.5)
    names = [*ranges(space), "validation_rmse"]
    scored = [r.rmse for r in rows]
    low, high = min(scored), max(scored)
    for row in sorted(rows, key=lambda r: -r.rmse):
        heights = [_share(row.values[name], space, name) for name in names[:-1]]
        rank = (row.rmse - low) / (high - low) if high > low else 0.0
        colour: Any = "lightgrey" if row.state == "pruned" else _colour(rank)
        axes.plot(range(len(names)), [*heights, rank], color=colour, linewidth=1, alpha=0.8)
    ends = [(f"{given.low:g}", f"{given.high:g}") for given in ranges(space).values()]
    for place, (bottom, top) in enumerate([*ends, (f"{low:.4g}", f"{high:.4g}")]):
        axes.axvline(place, color="black", linewidth=0.5)
        axes.text(place, -0.05, bottom, ha="center", va="top", fontsize=8)
        axes.text(place, 1.05, top, ha="center", va="bottom", fontsize=8)
    axes.set_ylim(-0.15, 1.15)
    axes.set_yticks([])
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=8)
    figures.save(figure, path)


def _share(value: float, space: Space, name: str) -> float:
    """Where a value lies in its range, 0..1, on the scale on which it was searched."""
    given = ranges(space)[name]
    low, high = float(given.low), float(given.high)
    if given.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _colour(rank: float) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * rank)
