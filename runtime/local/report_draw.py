"""The drawings of a run's report, as SVG text: the graph of steps, the time line, a metric's course."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

BOX, HIGH, GAP_X, GAP_Y = 150, 34, 46, 16  # of a step in the graph, in SVG units
PLOT_W, PLOT_H = 300, 110


def state(step: Mapping[str, Any]) -> str:
    """How a step went, as the classes of report.css have it."""
    return "reused" if step.get("reused") else str(step["status"])


def layers(steps: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The column of each step: one right of the last step that it needs."""
    found: dict[str, int] = {}
    for step in steps:  # run.json has them in an order in which they can run
        found[step["name"]] = 1 + max((found.get(n, -1) for n in step.get("needs") or ()), default=-1)
    return found


def graph(steps: Sequence[Mapping[str, Any]]) -> str:
    """The steps as boxes that link to their sections, and what each needs as curves."""
    column = layers(steps)
    rows: dict[int, int] = {}
    place: dict[str, tuple[int, int]] = {}
    for step in steps:
        x = column[step["name"]]
        rows[x] = rows.get(x, 0) + 1
        place[step["name"]] = (x * (BOX + GAP_X) + 1, (rows[x] - 1) * (HIGH + GAP_Y) + 1)
    wide = (max(column.values(), default=0) + 1) * (BOX + GAP_X) - GAP_X + 2
    high = max(rows.values(), default=1) * (HIGH + GAP_Y) - GAP_Y + 2
    curves = [_curve(place[n], place[s["name"]]) for s in steps for n in s.get("needs") or () if n in place]
    boxes = [_box(step, *place[step["name"]]) for step in steps]
    label = f'viewBox="0 0 {wide} {high}" role=img aria-label="{len(steps)} steps"'
    return (
        '<div class=scroll tabindex=0 role=group aria-label="graph of the steps">'
        f"<svg class=graph width={wide} height={high} {label}>{''.join(curves + boxes)}</svg></div>"
    )


def _curve(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1, x2, y2 = start[0] + BOX, start[1] + HIGH / 2, end[0], end[1] + HIGH / 2
    bend = max(20.0, (x2 - x1) / 2)
    return f'<path class=edge d="M{x1} {y1} C{x1 + bend:g} {y1} {x2 - bend:g} {y2} {x2} {y2}"/>'


def _box(step: Mapping[str, Any], x: int, y: int) -> str:
    name = html.escape(step["name"])
    shown = name if len(step["name"]) <= 19 else html.escape(step["name"][:18]) + "…"
    return (
        f'<a href="#{name}"><title>{name}: {state(step)}</title>'
        f'<rect class="box {state(step)}" x={x} y={y} width={BOX} height={HIGH} rx=6></rect>'
        f"<text x={x + BOX / 2:g} y={y + HIGH / 2 + 4:g} text-anchor=middle>{shown}</text></a>"
    )


def bar(step: Mapping[str, Any], whole: float) -> str:
    """When one step ran, as a bar across the whole run; nothing for one that never began."""
    if step["began_s"] is None:
        return ""
    left, width = 100 * step["began_s"] / whole, 100 * step["seconds"] / whole
    return f'<div class="bar {state(step)}" style="margin-left:{left:.2f}%;width:{width:.2f}%"></div>'


def plot(name: str, points: Sequence[tuple[int, float]]) -> str:
    """The course of one metric over its steps; values that are no numbers leave a gap."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    low, high = min((y for _, y in finite), default=0.0), max((y for _, y in finite), default=0.0)
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    across, up = (last - first) or 1, (high - low) or 1

    def spot(x: int, y: float) -> str:
        return f"{4 + (PLOT_W - 8) * (x - first) / across:.1f},{PLOT_H - 4 - (PLOT_H - 8) * (y - low) / up:.1f}"

    line = " ".join(spot(x, y) for x, y in finite)
    told = f"{name}: {points[0][1]:.6g} at {first}, {points[-1][1]:.6g} at {last}, lowest {low:.6g}, highest {high:.6g}"
    title, caption = html.escape(told), f"{html.escape(name)} <b>{points[-1][1]:,.6g}</b>"
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<svg class=plot viewBox="0 0 {PLOT_W} {PLOT_H}" role=img aria-label="{title}"><title>{title}</title>'
        f'<polyline points="{line}"/></svg><small>{low:.4g} … {high:.4g}; steps {first} … {last}</small></figure>'
    )
