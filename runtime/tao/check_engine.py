"""What TAO's engine builder refuses of a DetectNet_v2 that was trained quantization-aware, found before it starts.

Source: nvidia-tao-deploy 7.3.0, engine/builder.py (create_engine, calibration_cache_from_dict), read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.tao.finding import Finding, error

SCALES = "calibration.json"  # what export writes beside the model; see conf/network/detectnet_v2.yaml


def check(values: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[Finding]:
    """Errors of an engine at another precision than INT8, or without the scales of the training.

    Args:
        values: the spec, which says by `training_config.enable_qat` how the model was trained.
        given: the placeholders' values: `data_type`, `checkpoint`.
    """
    kind = given.get("data_type")
    if kind is None or not (values.get("training_config") or {}).get("enable_qat"):
        return
    if kind != "int8":
        wrong = "is not what a model that was trained quantization-aware (training_config.enable_qat) can be built at"
        yield error("data_type", kind, wrong, "add data_type=int8")
    elif "checkpoint" in given and not (Path(given["checkpoint"]).parent / SCALES).is_file():
        wrong = f"has no {SCALES} beside it, the scales of a model that was trained quantization-aware"
        todo = "give what tao_export wrote of that model, or set training_config.enable_qat=false to calibrate it"
        yield error("checkpoint", given["checkpoint"], wrong, todo)
