"""`tao_train`: train one TAO network on one dataset and write its checkpoints, with live metrics in MLflow."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime.component import Input, Output, component
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.tao.ports import TaoPorts


@dataclass(kw_only=True)
class Ports(TaoPorts):
    """Train one TAO network on one dataset and write its checkpoints, with live metrics in MLflow."""

    pretrained: Annotated[Path | None, Input("Weights to start from: a checkpoint file or its folder")] = None
    trained: Annotated[Path, Output("Checkpoints, spec, status, and model.json, which names the last checkpoint")]
    state: Annotated[Path | None, Output("Checkpoints so far; the next start goes on from them", kept=True)] = None


@component(name="tao_train", version="1", image="tao-pyt", also=("tao-pyt-5.5", "tao-tf1", "tao-tf2"))
def train(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `train` of `ports.network` and leave what it wrote in `trained`."""
    from runtime.tao.perform import perform

    perform("train", ports, metrics, ports.trained, ports.state)


if __name__ == "__main__":
    sys.exit(main(train))
