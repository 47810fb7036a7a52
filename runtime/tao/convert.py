"""`tao_convert`: convert the weights of a TAO network from one form to another."""

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
    """Convert the weights of a TAO network from one form to another."""

    checkpoint: Annotated[Path | None, MODEL] = None
    converted: Annotated[Path, Output("The converted weights")]


@component(name="tao_convert", version="1", image="tao-pyt")
def convert(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `convert` of `ports.network` and leave what it wrote in `converted`."""
    from runtime.tao.perform import perform

    perform("convert", ports, metrics, ports.converted)


if __name__ == "__main__":
    sys.exit(main(convert))
