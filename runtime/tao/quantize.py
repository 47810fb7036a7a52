"""`tao_quantize`: quantize a trained TAO network to lower precision."""

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
    """Quantize a trained TAO network to lower precision."""

    checkpoint: Annotated[Path, MODEL]
    quantized: Annotated[Path, Output("The quantized model and model.json")]


@component(name="tao_quantize", version="1", image="tao-pyt")
def quantize(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `quantize` of `ports.network` and leave what it wrote in `quantized`."""
    from runtime.tao.perform import perform

    perform("quantize", ports, metrics, ports.quantized)


if __name__ == "__main__":
    sys.exit(main(quantize))
