"""`tao_prune`: remove the channels of a trained TAO network that matter least."""

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
    """Remove the channels of a trained TAO network that matter least."""

    checkpoint: Annotated[Path, MODEL]
    pruned: Annotated[Path, Output("The pruned model and model.json")]


@component(name="tao_prune", version="1", image="tao-pyt", also=("tao-tf1", "tao-tf2"))
def prune(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `prune` of `ports.network` and leave what it wrote in `pruned`."""
    from runtime.tao.perform import perform

    perform("prune", ports, metrics, ports.pruned)


if __name__ == "__main__":
    sys.exit(main(prune))
