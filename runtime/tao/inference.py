"""`tao_inference`: let a trained TAO network predict, with a preview of the predictions."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime.component import Output, Param, component
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.tao.ports import MODEL, TaoPorts


@dataclass(kw_only=True)
class Ports(TaoPorts):
    """Let a trained TAO network predict, with a preview of the predictions."""

    checkpoint: Annotated[Path, MODEL]
    images: Annotated[
        str | None, Param("Folder of images below the dataset, where the network takes a flag; else its file's own")
    ] = None
    predictions: Annotated[Path, Output("Predictions as TAO writes them, and preview.png")]


@component(name="tao_inference", version="1", image="tao-pyt", also=("tao-pyt-5.5", "tao-tf1", "tao-tf2"))
def inference(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `inference` of `ports.network` and leave what it wrote in `predictions`."""
    from runtime.tao.perform import perform

    perform("inference", ports, metrics, ports.predictions)


if __name__ == "__main__":
    sys.exit(main(inference))
