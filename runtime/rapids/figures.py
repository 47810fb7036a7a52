"""How good predictions are: sums that add up over batches, the figures made of them, and the plots."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Sums = dict[str, float]


def sums(truth: Array, predicted: Array, centre: float) -> Sums:
    """The sums that `figures` needs, of one batch, in float64; `centre` near the mean of all truth keeps them exact."""
    import numpy as np

    y, p = truth.astype(np.float64), predicted.astype(np.float64)
    error, shifted = p - y, y - centre
    return {
        "rows": float(y.size),
        "absolute": float(np.abs(error).sum()),
        "squared": float((error**2).sum()),
        "shifted": float(shifted.sum()),
        "shifted_squared": float((shifted**2).sum()),
    }


def add(left: Sums, right: Sums) -> Sums:
    """The sums of two batches with the same centre."""
    return {key: left.get(key, 0.0) + value for key, value in right.items()}


def figures(total: Sums) -> dict[str, float]:
    """`rmse` and `mae` in the target's unit, and `r2`, which is 0 when all truth is one value."""
    rows = total["rows"]
    variation = total["shifted_squared"] - total["shifted"] ** 2 / rows
    return {
        "rmse": math.sqrt(total["squared"] / rows),
        "mae": total["absolute"] / rows,
        "r2": 1.0 - total["squared"] / variation if variation > 0 else 0.0,
    }


def plot_importances(path: Path, importances: dict[str, float]) -> None:
    """Write a bar for each feature, the most important on top, as PNG."""
    names = sorted(importances, key=lambda name: importances[name])
    figure, axes = canvas(height_in=1 + 0.3 * len(names))
    axes.barh(names, [importances[name] for name in names])
    axes.set_xlabel("share of importance")
    save(figure, path)


def plot_predicted(path: Path, truth: Array, predicted: Array, target: str, unit: str) -> None:
    """Write predicted against true values, as PNG, with the line where they would be equal."""
    figure, axes = canvas(height_in=6)
    axes.scatter(truth, predicted, s=2, alpha=0.3, linewidths=0)
    both = [float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))]
    axes.plot(both, both, color="black", linewidth=0.8)
    axes.set_xlabel(f"true {target} ({unit})")
    axes.set_ylabel(f"predicted {target} ({unit})")
    save(figure, path)


def canvas(height_in: float) -> Any:
    """A figure and its axes that need no screen."""
    # Said on stderr when matplotlib first looks for fonts; it means nothing to who runs a step.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height_in), layout="tight")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=100, metadata={"Software": None})  # without the version, so that bytes stay the same
