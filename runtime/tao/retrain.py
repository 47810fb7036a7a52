"""`tao_retrain`: train a pruned TAO network again, to win back what pruning cost."""

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
    """Train a pruned TAO network again, to win back what pruning cost."""

    checkpoint: Annotated[Path, Input("The pruned model: what tao_prune wrote, or the file")]
    trained: Annotated[Path, Output("Checkpoints, spec, status, and model.json, which names the last checkpoint")]
    state: Annotated[Path | None, Output("Checkpoints so far; the next start goes on from them", kept=True)] = None


@component(name="tao_retrain", version="1", image="tao-pyt", also=("tao-tf1", "tao-tf2"))
def retrain(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `retrain` of `ports.network` and leave what it wrote in `trained`."""
    from runtime.tao.perform import perform

    perform("retrain", ports, metrics, ports.trained, ports.state)


if __name__ == "__main__":
    sys.exit(main(retrain))
