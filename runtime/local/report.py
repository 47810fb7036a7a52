"""`report.html`: one self-contained page a run, for a screen of any size, light or dark, with a keyboard alone.

It needs no network and no script: everything folds by itself, and pictures are in the page.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runtime import vendor
from runtime.local import report_draw as draw

_PLOT_BYTES = 500_000  # larger pictures are linked, not embedded
_LOG_LINES = 200
_PLOTS = 40  # a step; the rest is in its metrics.jsonl
_STYLE = Path(__file__).with_name("report.css")


def write(folder: Path) -> Path:
    """Write `<folder>/report.html` from `run.json` and the steps' files; returns its path."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    title = html.escape(f"{record['name']}: {record['status']}")
    steps = record["steps"]
    parts = [
        "<a class=skip href='#steps'>to the steps</a>",
        f"<header><h1>{title}</h1>{_head(record)}</header><main>",
        f"<h2>Graph</h2>{draw.graph(steps)}",
        _timeline(steps),
        *(_step(step) for step in steps),
        "</main>",
    ]
    style = _STYLE.read_text(encoding="utf-8")
    page = (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,"
        f"initial-scale=1'><title>{title}</title><style>{style}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8", errors="replace")
    return path


def _head(record: Mapping[str, Any]) -> str:
    names = ("started", "pipeline", "runner", "ngcrun", "python", "platform", "cpu_count", "read_only_inputs")
    rows = {name: record.get(name) for name in names} | {f"input {k}": v for k, v in record["inputs"].items()}
    if record["mlflow"]:
        rows |= {"mlflow": f"{record['mlflow']['tracking_uri']}, run {record['mlflow']['run_id']}"}
    return f"<details><summary>about this run</summary>{_table((k, str(v)) for k, v in rows.items())}</details>"


def _table(rows: Iterable[tuple[str, ...]], head: tuple[str, ...] = ()) -> str:
    top = "<tr>" + "".join(f"<th scope=col>{html.escape(cell)}" for cell in head) if head else ""
    cells = "".join(
        f"<tr><th scope=row>{html.escape(first)}" + "".join(f"<td>{html.escape(cell)}" for cell in rest)
        for first, *rest in rows
    )
    return f"<div class=scroll tabindex=0><table>{top}{cells}</table></div>"


def _timeline(steps: list[dict[str, Any]]) -> str:
    whole = max((s["began_s"] + s["seconds"] for s in steps if s["began_s"] is not None), default=0.0) or 1.0
    lines = []
    for step in steps:
        name, state = html.escape(step["name"]), _state(step)
        lines.append(
            f"<tr><th scope=row><a href='#{name}'>{name}</a><td>{state}<td class=n>{step['seconds']:.1f} s"
            f"<td class=lane><div>{draw.bar(step, whole)}</div>"
        )
    return f"<h2 id=steps>Steps</h2><div class=scroll tabindex=0><table class=steps>{''.join(lines)}</table></div>"


def _state(step: Mapping[str, Any]) -> str:
    return "taken over" if step.get("reused") else str(step["status"])


def _step(step: Mapping[str, Any]) -> str:
    name = html.escape(step["name"])
    about = f"{html.escape(step['component'])}, {_state(step)}"
    parts = [f"<section aria-labelledby='{name}'><h2 id='{name}'>{name} <small>{about}</small></h2>"]
    if step["why"]:
        parts.append(f"<p class='{'why' if step['status'] != 'completed' else 'told'}'>{html.escape(step['why'])}</p>")
    parts += [
        _figures(Path(step["log"]).with_name("metrics.jsonl")),
        _trials(Path(step["log"]).with_name("trials.json")),
    ]
    parts += [_picture(path) for output in step["outputs"].values() for path in _pictures(Path(output))]
    parts.append(_ports(step))
    parts.append(_folded("command", " ".join(step["command"])))
    parts.append(_folded(f"log (last {_LOG_LINES} lines)", vendor.tail(Path(step["log"]), _LOG_LINES)))
    return "\n".join(part for part in parts if part) + f"<a href='steps/{name}/log.txt'>whole log</a></section>"


def _folded(title: str, text: str) -> str:
    body = f"<pre tabindex=0>{html.escape(text)}</pre>"
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>" if text else ""


def _ports(step: Mapping[str, Any]) -> str:
    """Inputs and outputs: where each is, how much it holds, its hash."""
    key = step.get("key") or {}
    rows = [("input", n, v, "", key.get(f"input {n}", "")[:19]) for n, v in step["inputs"].items()]
    for name, path in step["outputs"].items():
        held = (step.get("contents") or {}).get(name)
        size = f"{held['bytes']:,} bytes in {held['files']} file{'s' if held['files'] != 1 else ''}" if held else ""
        rows.append(("output", name, path, size, f"sha256:{held['sha256'][:12]}" if held else ""))
    because = "".join(f"<li>{html.escape(text)}" for text in step.get("because") or ())
    why = f"<p>ran because:<ul>{because}</ul>" if because and not step.get("reused") else ""
    if step.get("reused"):
        why = f"<p>taken over from {html.escape(step['reused'])}"
    table = _table(rows, ("", "port", "value", "size", "content"))
    return f"<details><summary>inputs and outputs</summary>{table}{why}</details>"


def _figures(path: Path) -> str:
    """The last value of each metric, and the course of those that have one."""
    points: dict[str, list[tuple[int, float]]] = {}
    for record in _records(path):
        match record:
            case {"kind": "metric", "key": str(key), "value": int() | float() as value}:
                points.setdefault(key, []).append((int(record.get("step") or 0), float(value)))
    single = [(name, f"{course[-1][1]:,.6g}") for name, course in points.items() if len({x for x, _ in course}) < 2]
    courses = [draw.plot(name, course) for name, course in points.items() if len({x for x, _ in course}) > 1]
    plots = f"<div class=plots>{''.join(courses[:_PLOTS])}</div>" if courses else ""
    return (_table(single) if single else "") + plots


def _records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of figures; a step that is not ours has none, one that was killed may end in half a line."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            if isinstance(record, dict):
                records.append(record)
    return records


def _trials(path: Path) -> str:
    """The trials of a sweep, the best one marked."""
    if not path.is_file():
        return ""
    held = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        (f"{t['number']}{' (best)' if t['number'] == held['best'] else ''}", *(str(v) for v in t["values"].values()),
         "" if t["metric"] is None else f"{t['metric']:.6g}", t["status"], f"{t['seconds']:.1f} s")
        for t in held["trials"]
    ]  # fmt: skip
    names = tuple(held["trials"][0]["values"]) if held["trials"] else ()
    return _table(rows, ("trial", *names, held["metric"], "status", "time"))


def _pictures(output: Path) -> list[Path]:
    """A step's own pictures, which lie on top; else the first ones that a tool wrote somewhere below."""
    if not output.is_dir():
        return []
    return sorted(output.glob("*.png"))[:4] or sorted(output.rglob("*.png"))[:4]


def _picture(path: Path) -> str:
    if path.stat().st_size > _PLOT_BYTES:
        return f"<p>{html.escape(path.name)} is too large to show"
    data = base64.b64encode(path.read_bytes()).decode()
    return f"<p><img alt='{html.escape(path.name)}' src='data:image/png;base64,{data}'>"
