"""`tao_export`: export a trained TAO network to ONNX."""

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
    """Export a trained TAO network to ONNX."""

    checkpoint: Annotated[Path, MODEL]
    exported: Annotated[Path, Output("The exported model and model.json")]


@component(name="tao_export", version="1", image="tao-pyt", also=("tao-tf1", "tao-tf2"))
def export(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `export` of `ports.network` and leave what it wrote in `exported`."""
    from runtime.tao.perform import perform

    perform("export", ports, metrics, ports.exported)


if __name__ == "__main__":
    sys.exit(main(export))
