"""A stand-in component that does nothing but write down what reached it: for tests of the way from YAML to dataclass."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from runtime.component import Group, Input, Output, Param, component
from runtime.errors import BadInput, ToolFailed
from runtime.execute import as_plain, main
from runtime.metrics import Metrics


@dataclass
class Tree:
    """Settings of the option `tree`."""

    max_depth: int = 6
    eta: float = 0.3
    note: str = ""


@dataclass
class Line:
    """Settings of the option `line`."""

    l2: float = 0.0


@dataclass(kw_only=True)
class Ports:
    """Write down the ports as JSON."""

    data: Annotated[Path | None, Input("Anything")] = None
    text: Annotated[str, Param("Any text")] = "none"
    note: Annotated[str | None, Param("Any text, or nothing")] = None
    count: Annotated[int, Param("A count", minimum=1, maximum=100)] = 10
    rate: Annotated[float, Param("A rate")] = 0.5
    loud: Annotated[bool, Param("Yes or no")] = False
    mode: Annotated[str, Param("One of three", choices=("good", "fail", "empty"))] = "good"
    model: Annotated[Tree | Line, Group("Which", options={"tree": Tree, "line": Line})] = field(default_factory=Tree)
    out: Annotated[Path, Output("Holds ports.json")]


@component(name="fakes_echo", version="1", image="rapids")
def echo(ports: Ports, metrics: Metrics) -> None:
    """Write `ports.json`; `mode` chooses a way to fail instead."""
    metrics.log({"count": ports.count})
    if ports.mode == "fail":
        (ports.out / "half.txt").write_text("half")
        raise ToolFailed("the tool broke") if ports.loud else BadInput.of("text", ports.text, "is no good", "change it")
    if ports.mode == "good":
        (ports.out / "ports.json").write_text(json.dumps(as_plain(ports)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(echo))
