"""What a tuning found, as a page, a table and a plot."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.triton.tune_search import Trial


@dataclass(frozen=True)
class Result:
    """The trials in order, the one of the config as it was, the chosen one, and rows a second of both, in turn."""

    model: str
    latency_ms: float | None
    rows: int
    trials: list[Trial]
    base: Trial
    chosen: Trial
    compared: tuple[float, float]


def headline(result: Result) -> str:
    """The outcome in one line."""
    before, after = result.compared
    if not after:
        return f"{result.model}: nothing was within the bound; its config stays as it is"
    if result.chosen is result.base:
        return f"{result.model}: no setting was better by more than 3 percent; its config stays as it is"
    return (
        f"{result.model}: {result.chosen.settings.text()}: {after:,.0f} rows/s"
        + (f", {after / before:.2f} times the {before:,.0f}" if before else ", and none within the bound")
        + f" of {result.base.settings.text()}, measured in turn"
    )


def write(folder: Path, result: Result) -> None:
    """Write `tuning.md`, `trials.csv`, `trials.json` and `curve.png`."""
    (folder / "tuning.md").write_text(markdown(result), encoding="utf-8")
    document = [asdict(trial) for trial in result.trials]
    (folder / "trials.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    head = ["trial", "settings", "level", "requests", "rows_per_s", "p50_ms", "p95_ms", "p99_ms", "interval", "steady"]
    lines = [",".join(head)]
    for number, trial in enumerate(result.trials):
        for p in trial.points:
            figures = [p.requests, p.rows_per_s, p.p50_ms, p.p95_ms, p.p99_ms, p.interval, p.steady]
            lines.append(",".join([str(number), f'"{trial.settings.text()}"', f"{p.level:g}", *map(str, figures)]))
    (folder / "trials.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plot(folder / "curve.png", result)


def markdown(result: Result) -> str:
    """The page."""
    bound = "none" if result.latency_ms is None else f"p99 of at most {result.latency_ms:g} ms"
    lines = [
        f"# Tuning of {result.model}", "", headline(result), "",
        f"Bound: {bound}. Rows of one request: {result.rows}. Sent over gRPC from the same machine.", "",
        "| trial | settings | rows/s | requests at once | p99 ms | |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for number, trial in enumerate(result.trials):
        best = next((p for p in trial.points if p.level == trial.level), None)
        mark = "chosen" if trial is result.chosen else "as it was" if trial is result.base else ""
        cells = (
            [f"{best.rows_per_s:,.0f}", f"{best.level:g}", f"{best.p99_ms:.2f}"] if best else ["not within it", "", ""]
        )
        lines.append(f"| {number} | {trial.settings.text()} | {' | '.join(cells)} | {mark} |")
    return "\n".join(lines) + "\n"


def plot(path: Path, result: Result) -> None:
    """Throughput against p99 latency, a line a trial; what was chosen and what it was stand out."""
    from runtime.rapids import figures

    figure, axes = figures.canvas(height_in=4)
    for trial in result.trials:
        colour, width, name = "#c8c8c8", 1.0, None
        if trial is result.base:
            colour, width, name = "#666666", 2.0, f"as it was: {trial.settings.text()}"
        if trial is result.chosen:
            colour, width, name = "#76b900", 2.5, f"chosen: {trial.settings.text()}"
        x, y = [p.p99_ms for p in trial.points], [p.rows_per_s for p in trial.points]
        axes.plot(x, y, color=colour, linewidth=width, marker="o", markersize=3, label=name, zorder=width)
    if result.latency_ms is not None:
        axes.axvline(result.latency_ms, color="#c00000", linestyle="--", linewidth=1, label="bound")
    axes.set(xscale="log", xlabel="p99 latency, ms", ylabel="rows a second", title=result.model)
    axes.legend(fontsize="small")
    figures.save(figure, path)
