"""`tao_calibration_tensorfile`: write the tensors that TF1 networks calibrate INT8 engines with."""

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
    """Write the tensors that TF1 networks calibrate INT8 engines with."""

    tensorfile: Annotated[Path, Output("The calibration tensors")]


@component(name="tao_calibration_tensorfile", version="1", image="tao-tf1")
def calibration_tensorfile(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `calibration_tensorfile` of `ports.network` and leave what it wrote in `tensorfile`."""
    from runtime.tao.perform import perform

    perform("calibration_tensorfile", ports, metrics, ports.tensorfile)


if __name__ == "__main__":
    sys.exit(main(calibration_tensorfile))
