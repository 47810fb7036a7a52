"""What a verification found, as report.json, report.md and a plot."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.triton.load import Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from runtime.triton.under_load import Finding


@dataclass(frozen=True)
class Answer:
    """How the answers of one output over one protocol compare with the golden ones."""

    protocol: str
    output: str
    rows: int
    max_abs: float
    max_rel: float
    ok: bool


@dataclass
class Report:
    """One verification. `live`: `run`, `twin` (the same ONNX on the python backend) or `not run`, and why."""

    model: str
    versions: tuple[int, ...]
    backend: str
    inputs: list[str]
    outputs: list[str]
    max_batch_size: int
    live: str = "not run"
    live_reason: str = ""
    server: str = ""
    golden_source: str = ""
    ready_s: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    under_load: list[Finding] = field(default_factory=list)
    figures: list[Figures] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write report.json, report.md and, where something was measured, latency.png."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")
        (folder / "report.md").write_text(self.markdown(), encoding="utf-8")
        if self.figures:
            _plot(self.figures, folder / "latency.png")

    def markdown(self) -> str:
        """The report to read."""
        lines = [
            f"# {self.model}", "",
            f"- backend: {self.backend}, versions {', '.join(map(str, self.versions))}",
            f"- rows a batch: at most {self.max_batch_size}",
            f"- inputs: {'; '.join(self.inputs)}", f"- outputs: {'; '.join(self.outputs)}",
            "- without a server: config.pbtxt agrees with the model",
            f"- with a server: {self.live} ({self.live_reason})",
        ]  # fmt: skip
        if self.server:
            lines.append(f"- server: {self.server}, model ready after {self.ready_s:.1f} s")
        if self.answers:
            lines += ["", f"## Answers to {self.answers[0].rows} golden rows ({self.golden_source})", ""]
            lines += _table(
                ["protocol", "output", "max abs", "max rel", "within tolerance"],
                [
                    [a.protocol, a.output, f"{a.max_abs:.3g}", f"{a.max_rel:.3g}", "yes" if a.ok else "NO"]
                    for a in self.answers
                ],
            )
        if self.under_load:
            lines += ["", "## Not one thing at a time", ""]
            rows = [[finding.what, finding.requests, finding.wrong or "as it should"] for finding in self.under_load]
            lines += _table(["what", "requests", "how it went"], rows)
        if self.figures:
            lines += ["", f"## Latency and throughput ({self.figures[0].clients} client on the same machine)", ""]
            lines += _table(
                ["protocol", "batch", "requests", "p50 ms", "p95 ms", "p99 ms", "rows/s"],
                [
                    [
                        f.protocol,
                        f.batch,
                        f.requests,
                        f"{f.p50_ms:.2f}",
                        f"{f.p95_ms:.2f}",
                        f"{f.p99_ms:.2f}",
                        f"{f.rows_per_s:,.0f}",
                    ]
                    for f in self.figures
                ],
            )
        return "\n".join(lines) + "\n"


def _table(head: list[str], rows: list[list[object]] | list[list[str]]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in [head, ["---"] * len(head), *rows]]


def _plot(figures: list[Figures], path: Path) -> None:
    """Latency over batch size, a line a percentile; left out where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, protocol in zip(figure.subplots(1, 2, sharey=True), ("http", "grpc"), strict=True):
        _draw(axes, protocol, [f for f in figures if f.protocol == protocol])
    figure.savefig(path, dpi=120, metadata={"Software": None})  # no version in it: the same figures, the same bytes


def _draw(axes: Axes, protocol: str, figures: list[Figures]) -> None:
    for key in ("p50_ms", "p95_ms", "p99_ms"):
        axes.plot(
            [f.batch for f in figures], [getattr(f, key) for f in figures], marker="o", label=key.removesuffix("_ms")
        )
    axes.set(xscale="log", yscale="log", title=protocol, xlabel="rows a request", ylabel="latency, ms")
    axes.legend()
