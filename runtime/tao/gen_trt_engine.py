"""`tao_gen_trt_engine`: build a TensorRT engine from an exported TAO network, for the GPU that this runs on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime.component import Input, Output, Param, component
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.tao.ports import TaoPorts


@dataclass(kw_only=True)
class Ports(TaoPorts):
    """Build a TensorRT engine from an exported TAO network, for the GPU that this runs on."""

    checkpoint: Annotated[Path, Input("The ONNX model: what tao_export wrote, or the file")]
    calibration: Annotated[
        Path | None, Input("DetectNet_v2: what tao_calibration_tensorfile wrote, for INT8; else the dataset's images")
    ] = None
    data_type: Annotated[
        str | None,
        Param("DetectNet_v2: precision, else fp16; others name it in their spec", choices=("fp32", "fp16", "int8")),
    ] = None
    engine: Annotated[Path, Output("The TensorRT engine, model.json, and engine.json: for which GPU it is")]


@component(name="tao_gen_trt_engine", version="1", image="tao-deploy")
def gen_trt_engine(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `gen_trt_engine` of `ports.network` and leave what it wrote in `engine`."""
    from runtime.tao.perform import perform
    from runtime.triton import engine_card

    perform("gen_trt_engine", ports, metrics, ports.engine)
    engine_card.write(ports.engine)


if __name__ == "__main__":
    sys.exit(main(gen_trt_engine))
