"""ONNX models with the inputs and outputs of what TAO's TF1 networks export, and weights that mean nothing.

Source of names and layout: NVIDIA/tao_tensorflow1_backend, cv/detectnet_v2/export/exporter.py (input_1; output_bbox/BiasAdd
and output_cov/Sigmoid; channels first), docs of DetectNet_v2 (a grid cell is 16 pixels), read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

STRIDE = 16


def detector(path: Path, spec: Any) -> None:
    """Write what stands for an exported DetectNet_v2: its grid of boxes and coverage, from the picture's mean colour."""
    import numpy as np
    from onnx import TensorProto, checker, helper, numpy_helper, save

    size = spec.augmentation_config.preprocessing
    width, height = size.output_image_width, size.output_image_height
    classes = len(spec.cost_function_config.target_classes)
    grid = [height // STRIDE, width // STRIDE]
    heads = {"output_bbox/BiasAdd": 4 * classes, "cov": classes}
    weights = [
        numpy_helper.from_array(np.full((number, 3, 1, 1), 0.1, dtype=np.float32), f"{name}_weights")
        for name, number in heads.items()
    ]
    nodes = [helper.make_node("AveragePool", ["input_1"], ["cells"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2)]
    nodes += [helper.make_node("Conv", ["cells", f"{name}_weights"], [name]) for name in heads]
    nodes.append(helper.make_node("Sigmoid", ["cov"], ["output_cov/Sigmoid"]))
    images = helper.make_tensor_value_info("input_1", TensorProto.FLOAT, ["N", 3, height, width])
    outputs = [
        helper.make_tensor_value_info("output_bbox/BiasAdd", TensorProto.FLOAT, ["N", 4 * classes, *grid]),
        helper.make_tensor_value_info("output_cov/Sigmoid", TensorProto.FLOAT, ["N", classes, *grid]),
    ]
    graph = helper.make_graph(nodes, "stand-in", [images], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    checker.check_model(model)
    save(model, str(path))
