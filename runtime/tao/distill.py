"""`tao_distill`: train a small TAO network to answer as a large trained one does."""

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
    """Train a small TAO network to answer as a large trained one does."""

    checkpoint: Annotated[Path, Input("The teacher: what an earlier step wrote, or a checkpoint file")]
    trained: Annotated[Path, Output("Checkpoints of the student, spec, status and model.json")]
    state: Annotated[Path | None, Output("Checkpoints so far; the next start goes on from them", kept=True)] = None


@component(name="tao_distill", version="1", image="tao-pyt")
def distill(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `distill` of `ports.network` and leave what it wrote in `trained`."""
    from runtime.tao.perform import perform

    perform("distill", ports, metrics, ports.trained, ports.state)


if __name__ == "__main__":
    sys.exit(main(distill))
