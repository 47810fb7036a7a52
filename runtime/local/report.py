"""`report.html`: one self-contained page a run: a time line, the figures of each step, its plots, why it failed."""

from __future__ import annotations

import base64
import contextlib
import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PLOT_BYTES = 500_000  # larger pictures are linked, not embedded
_COLOURS = {"completed": "#3a9d5d", "failed": "#c8382e", "skipped": "#b58900", "canceled": "#b58900"}
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .3rem}table{border-collapse:collapse}
td,th{padding:.15rem .9rem .15rem 0;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{height:1.1rem;border-radius:3px;min-width:2px}.lane{position:relative;background:#f3f3f3;border-radius:3px;width:26rem}
code,pre{font:13px ui-monospace,monospace}pre{background:#f6f6f6;padding:.6rem;overflow:auto}
img{max-width:28rem;border:1px solid #ddd}
.why{color:#c8382e}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}.lane,pre{background:#262626}}
"""


def write(folder: Path) -> Path:
    """Write `<folder>/report.html` from `run.json` and the steps' files; returns its path."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    title = f"{record['name']}: {record['status']}"
    parts = [f"<h1>{html.escape(title)}</h1>", _head(record), _timeline(record["steps"])]
    parts += [_step(step) for step in record["steps"]]
    page = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>" + "\n".join(
        parts
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _head(record: Mapping[str, Any]) -> str:
    names = ("started", "pipeline", "ngcrun", "python", "platform", "cpu_count", "read_only_inputs")
    rows = {name: record[name] for name in names} | {f"input {k}": v for k, v in record["inputs"].items()}
    if record["mlflow"]:
        rows |= {"mlflow": f"{record['mlflow']['tracking_uri']}, run {record['mlflow']['run_id']}"}
    return _table((k, str(v)) for k, v in rows.items())


def _table(rows: Iterator[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{html.escape(k)}<td>{html.escape(v)}" for k, v in rows)
    return f"<table>{cells}</table>"


def _timeline(steps: list[dict[str, Any]]) -> str:
    ran = [s for s in steps if s["began_s"] is not None]
    whole = max((s["began_s"] + s["seconds"] for s in ran), default=0.0) or 1.0
    lines = []
    for step in steps:
        bar = ""
        if step["began_s"] is not None:
            left, width = 100 * step["began_s"] / whole, 100 * step["seconds"] / whole
            colour = _COLOURS.get(step["status"], "#888")
            bar = f"<div class=bar style='margin-left:{left:.2f}%;width:{width:.2f}%;background:{colour}'></div>"
        name = html.escape(step["name"])
        lines.append(f"<tr><th><a href='#{name}'>{name}</a><td>{step['status']}<td class=n>{step['seconds']:.1f} s"
                     f"<td><div class=lane>{bar}</div>")  # fmt: skip
    return f"<h2>Steps</h2><table>{''.join(lines)}</table>"


def _step(step: Mapping[str, Any]) -> str:
    name = html.escape(step["name"])
    parts = [f"<h2 id='{name}'>{name} <small>{html.escape(step['component'])}</small></h2>"]
    if step["why"]:
        parts.append(f"<p class=why>{html.escape(step['why'])}</p>")
    figures = _figures(Path(step["log"]).with_name("metrics.jsonl"))
    if figures:
        parts.append(_table((k, f"{v:,.6g}") for k, v in figures.items()))
    parts += [_plot(path) for output in step["outputs"].values() for path in _pictures(Path(output))]
    parts.append(f"<details><summary>command</summary><pre>{html.escape(' '.join(step['command']))}</pre></details>")
    parts.append(f"<a href='steps/{name}/log.txt'>log</a>")
    return "\n".join(parts)


def _figures(path: Path) -> dict[str, float]:
    """The last value of each metric; a step that is not ours has none, one that was killed may end in half a line."""
    if not path.is_file():
        return {}
    figures = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            match json.loads(line):
                case {"kind": "metric", "key": str(key), "value": int() | float() as value}:
                    figures[key] = value
    return figures


def _pictures(output: Path) -> list[Path]:
    """A step's own pictures, which lie on top; else the first ones that a tool wrote somewhere below."""
    if not output.is_dir():
        return []
    return sorted(output.glob("*.png"))[:4] or sorted(output.rglob("*.png"))[:4]


def _plot(path: Path) -> str:
    if path.stat().st_size > _PLOT_BYTES:
        return f"<p>{html.escape(path.name)} is too large to show"
    data = base64.b64encode(path.read_bytes()).decode()
    return f"<p><img alt='{html.escape(path.name)}' src='data:image/png;base64,{data}'>"
