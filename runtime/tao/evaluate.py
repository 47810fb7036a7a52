"""`tao_evaluate`: measure a trained TAO network on its evaluation set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime.component import Output, component
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.tao.ports import MODEL, TaoPorts


@dataclass(kw_only=True)
class Ports(TaoPorts):
    """Measure a trained TAO network on its evaluation set."""

    checkpoint: Annotated[Path, MODEL]
    report: Annotated[Path, Output("Figures (metrics.json), status, and what TAO writes beside them")]


@component(name="tao_evaluate", version="1", image="tao-pyt", also=("tao-pyt-5.5", "tao-tf1", "tao-tf2"))
def evaluate(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `evaluate` of `ports.network` and leave what it wrote in `report`."""
    from runtime.tao.perform import perform

    perform("evaluate", ports, metrics, ports.report)


if __name__ == "__main__":
    sys.exit(main(evaluate))
