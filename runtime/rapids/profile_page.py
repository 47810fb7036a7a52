"""The page about a table: one self-contained HTML file, and its maps as pictures."""

from __future__ import annotations

import base64
import datetime
import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.rapids.profiling import Apart, Column

WIDTH, HEIGHT = 220, 56  # of a histogram, in pixels
STYLE = """
:root { color-scheme: light dark; --bar: #4c78a8; --line: #8884; --bad: #d1495b; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: .3rem .6rem; text-align: right; vertical-align: top; }
tr { border-top: 1px solid var(--line); }
td:first-child, th:first-child, td:nth-child(4), th:nth-child(4) { text-align: left; }
svg rect { fill: var(--bar); } .bad { color: var(--bad); font-weight: 600; } img { max-width: 100%; }
.scroll { overflow-x: auto; } small { opacity: .7; }
"""


def write(  # noqa: PLR0913, PLR0917 - what stands on the page
    folder: Path, title: str, rows: int, columns: Sequence[Column], drift: Mapping[str, Apart], max_psi: float
) -> None:
    """Write `profile.html`, with the maps that lie in the folder inside it."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if drift:
        parts.append(_drift(drift, max_psi))
    lines = "".join(_row(c, rows) for c in columns)
    parts.append(f'<h2>Columns</h2><div class="scroll"><table>{_head()}{lines}</table></div>')
    for path in sorted(folder.glob("map_*.png")):
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        name = html.escape(path.stem.removeprefix("map_"))
        parts.append(f'<h2>Map: {name}</h2><img alt="rows by place: {name}" src="data:image/png;base64,{data}">')
    body = "\n".join(parts)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>{body}</body></html>\n'
    )
    (folder / "profile.html").write_text(page, encoding="utf-8")


def _head() -> str:
    names = ("column", "type", "missing", "values", "smallest", "median", "mean", "largest")
    return "<tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"


def _row(column: Column, rows: int) -> str:
    share = f"{column.missing / rows:.1%}" if column.missing else "none"
    cells = [html.escape(column.name), f"<small>{html.escape(column.dtype)}</small>", share, _picture(column)]
    if column.kind == "text":
        cells += [f"{column.unique:,} values", "", "", ""]
    else:
        cells += [_figure(column, key) for key in ("min", "p50", "mean", "max")]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _figure(column: Column, key: str) -> str:
    if key not in column.figures:
        return ""
    value = column.figures[key]
    if column.kind == "time":
        return f"{datetime.datetime.fromtimestamp(value, datetime.UTC):%Y-%m-%d %H:%M}"
    return f"{value:,.4g}"


def _picture(column: Column) -> str:
    """A histogram; of a text, its most frequent values."""
    if column.kind == "text":
        most = zip(column.values[:5], column.counts[:5], strict=True)
        return "<br>".join(f"{html.escape(value[:40])} <small>{count:,}</small>" for value, count in most)
    if not column.counts:
        return ""
    width, tallest = WIDTH / len(column.counts), max(*column.counts, 1)
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{HEIGHT - count / tallest * HEIGHT:.1f}" width="{max(1.0, width - 1):.1f}" '
        f'height="{count / tallest * HEIGHT:.1f}"><title>{count:,}</title></rect>'
        for i, count in enumerate(column.counts)
    )
    name = html.escape(column.name)
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="histogram of {name}">{bars}</svg>'


def _drift(drift: Mapping[str, Apart], max_psi: float) -> str:
    rows = []
    for name, apart in sorted(drift.items(), key=lambda entry: -entry[1].psi):
        mark = ' class="bad"' if apart.psi > max_psi else ""
        ks = "" if math.isnan(apart.ks) else f"{apart.ks:.3f}"
        width = f"{min(1.0, apart.psi) * WIDTH:.1f}"
        bar = f'<svg width="{WIDTH}" height="12"><rect width="{width}" height="12"></rect></svg>'
        cells = [html.escape(name), f"<span{mark}>{apart.psi:.3f}</span>", ks, f"{apart.missing:+.1%}", bar]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>column</th><th>PSI</th><th>KS</th><th>missing</th><th></th></tr>"
    note = f"<p>Above a PSI of {max_psi:g} a column counts as drifted.</p>"
    return f"<h2>Drift from the reference</h2>{note}<table>{head}{''.join(rows)}</table>"


def draw_map(path: Path, name: str, cells: Sequence[Sequence[int]], extent: tuple[float, ...]) -> None:
    """Write a picture of the rows at each place, by their logarithm; `extent`: west, east, south, north in degrees."""
    import numpy as np

    from runtime.rapids import figures

    figure, axes = figures.canvas(height_in=6)
    shown = np.log1p(np.array(cells, dtype=np.float64))
    west, east, south, north = extent
    squeeze = math.cos(math.radians((south + north) / 2))  # a degree of longitude is shorter than one of latitude
    axes.imshow(shown, origin="lower", extent=(west, east, south, north), cmap="magma", aspect=1 / max(0.05, squeeze))
    axes.set(title=name, xlabel="longitude", ylabel="latitude")
    figures.save(figure, path)
