"""ResNet-18 over 3 x 224 x 224 pixels as ONNX, with random weights: it costs what a trained one does.

Source of the layout: He et al., "Deep Residual Learning for Image Recognition", table 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


class _Graph:
    """Nodes and weights, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.random = np.random.default_rng(0)

    def conv(self, x: str, shape: tuple[int, int, int], stride: int, *, relu: bool) -> str:
        """A convolution with a bias (a trained network's batch norm folds into it): filters, channels, side."""
        from onnx import helper, numpy_helper

        filters, channels, side = shape
        name = f"c{len(self.nodes)}"
        scale = np.sqrt(2 / (channels * side * side))
        weight = self.random.normal(size=(filters, channels, side, side)) * scale
        self.weights += [
            numpy_helper.from_array(weight.astype(np.float32), f"{name}_w"),
            numpy_helper.from_array(np.zeros(filters, np.float32), f"{name}_b"),
        ]
        pads = [side // 2] * 4
        self.nodes.append(
            helper.make_node("Conv", [x, f"{name}_w", f"{name}_b"], [name], strides=[stride] * 2, pads=pads)
        )
        return self.add("Relu", [name]) if relu else name

    def add(self, kind: str, inputs: list[str], **how: Any) -> str:
        from onnx import helper

        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **how))
        return name


def write(path: Path) -> None:
    """Write the model: input `image` [rows, 3, 224, 224], output `scores` [rows, 1000]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = _Graph()
    x = graph.conv("image", (64, 3, 7), 2, relu=True)
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for filters in (64, 128, 256, 512):
        for block in range(2):
            stride = 2 if block == 0 and filters > 64 else 1
            body = graph.conv(x, (filters, channels, 3), stride, relu=True)
            body = graph.conv(body, (filters, filters, 3), 1, relu=False)
            same = stride == 1 and filters == channels
            x = graph.add(
                "Relu",
                [graph.add("Add", [body, x if same else graph.conv(x, (filters, channels, 1), stride, relu=False)])],
            )
            channels = filters
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    graph.weights.append(numpy_helper.from_array(graph.random.normal(size=(512, 1000)).astype(np.float32), "head"))
    graph.nodes.append(helper.make_node("MatMul", [x, "head"], ["scores"]))
    made = helper.make_graph(
        graph.nodes, "resnet18",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["rows", 3, 224, 224])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 1000])], graph.weights,
    )  # fmt: skip
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
