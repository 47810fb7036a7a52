"""`tao_dataset_convert`: convert a dataset to the form that a TAO network trains on (TFRecords, LMDB, pickles)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime.component import Output, component
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.tao.ports import TaoPorts


@dataclass(kw_only=True)
class Ports(TaoPorts):
    """Convert a dataset to the form that a TAO network trains on (TFRecords, LMDB, pickles)."""

    converted: Annotated[Path, Output("The converted dataset")]


@component(name="tao_dataset_convert", version="1", image="tao-pyt", also=("tao-pyt-5.5", "tao-tf1", "tao-tf2"))
def dataset_convert(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `dataset_convert` of `ports.network` and leave what it wrote in `converted`."""
    from runtime.tao.perform import perform

    perform("dataset_convert", ports, metrics, ports.converted)


if __name__ == "__main__":
    sys.exit(main(dataset_convert))
