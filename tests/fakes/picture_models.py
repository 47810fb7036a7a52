"""Small models on images whose answers are known: real ONNX graphs and a python model, in a repository for a server."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.triton import model_config
from runtime.triton.model_config import Plan, Signature, Tensor
from runtime.triton.repository import TEMPLATE

HEIGHT, WIDTH = 64, 96  # of every network's input
IMAGE = Tensor("input_1", "FP32", (3, HEIGHT, WIDTH))


def colours(repository: Path, parameters: Mapping[str, str]) -> None:
    """`colours`: the mean of each channel as its logit, of 0..1."""
    from onnx import helper

    nodes = [helper.make_node("ReduceMean", ["input_1"], ["predictions"], axes=[2, 3], keepdims=0)]
    _onnx(repository, "colours", nodes, [Tensor("predictions", "FP32", (3,))], parameters)


def reds(repository: Path) -> None:
    """`reds`: DetectNet_v2's two grids, where each cell of 16 pixels is as sure as it is red, and its own box.

    The second class is blue. A cell's centre is 0.5 pixels from its corner.
    """
    from onnx import TensorProto, helper

    rows, columns = HEIGHT // 16, WIDTH // 16
    sides = [(0.5 / 35), (0.5 / 35), (15.5 / 35), (15.5 / 35)] * 2
    constants = [
        helper.make_tensor("which", TensorProto.INT64, [2], [0, 2]),
        helper.make_tensor("sides", TensorProto.FLOAT, [1, 8, 1, 1], sides),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
    ]
    pool = {"kernel_shape": [16, 16], "strides": [16, 16]}
    nodes = [
        helper.make_node("AveragePool", ["input_1"], ["cells"], **pool),
        helper.make_node("Gather", ["cells", "which"], ["output_cov"], axis=1),
        helper.make_node("Concat", ["output_cov"] * 4, ["wide"], axis=1),
        helper.make_node("Mul", ["wide", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "sides"], ["output_bbox"]),
    ]
    outputs = [Tensor("output_cov", "FP32", (2, rows, columns)), Tensor("output_bbox", "FP32", (8, rows, columns))]
    _onnx(repository, "reds", nodes, outputs, {}, constants)


def where_red(repository: Path) -> None:
    """`where_red`: for each pixel 0.5 for `other` and its red for `red`."""
    from onnx import TensorProto, helper

    constants = [
        helper.make_tensor("which", TensorProto.INT64, [1], [0]),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]),
    ]
    nodes = [
        helper.make_node("Gather", ["input_1", "which"], ["red"], axis=1),
        helper.make_node("Mul", ["red", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "half"], ["other"]),
        helper.make_node("Concat", ["other", "red"], ["logits"], axis=1),
    ]
    parameters = {"task": "segmentation", "pixels": "unit", "labels": "other;red"}
    _onnx(repository, "where_red", nodes, [Tensor("logits", "FP32", (2, HEIGHT, WIDTH))], parameters, constants)


FINDER = '''"""Finds the bright part of an image, as a DETR and as a YOLO would tell it; refuses what has none."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(pb_utils.get_input_tensor_by_name(r, "input_1").as_numpy()) for r in requests]

    def one(self, images):
        count, _, height, width = images.shape
        bright = images.max(axis=1) > 200
        if not bright.any(axis=(1, 2)).all():
            error = pb_utils.TritonError("the image is dark all over", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(output_tensors=[], error=error)
        corners = np.zeros((count, 4), np.float32)
        for index, mask in enumerate(bright):
            x, y = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
            corners[index] = x[0] / width, y[0] / height, (x[-1] + 1) / width, (y[-1] + 1) / height
        boxes = np.zeros((count, 3, 4), np.float32)
        boxes[:, 1, :2] = (corners[:, :2] + corners[:, 2:]) / 2
        boxes[:, 1, 2:] = corners[:, 2:] - corners[:, :2]
        logits = np.full((count, 3, 2), -9, np.float32)
        logits[:, 1, 1] = 2
        kept = np.zeros((count, 3, 4), np.float32)
        kept[:, 0] = corners
        outputs = {
            "pred_logits": logits, "pred_boxes": boxes,
            "BatchedNMS": np.ones((count, 1), np.int32), "BatchedNMS_1": kept,
            "BatchedNMS_2": np.full((count, 3), 0.75, np.float32), "BatchedNMS_3": np.ones((count, 3), np.float32),
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])
'''
COUNTER = '''"""Answers one request with as many responses as the number in it says, then is done."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            most = int(pb_utils.get_input_tensor_by_name(request, "most").as_numpy().ravel()[0])
            if most < 0:
                error = pb_utils.TritonError("cannot count to less than nothing", pb_utils.TritonError.INVALID_ARG)
                sender.send(pb_utils.InferenceResponse(output_tensors=[], error=error))
            for number in range(most):
                tensor = pb_utils.Tensor("number", np.array([number], np.int32))
                sender.send(pb_utils.InferenceResponse(output_tensors=[tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
'''


SLEEPER = '''"""Sleeps as long as it is told to, and says how long that was; several requests side by side."""

import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            seconds = pb_utils.get_input_tensor_by_name(request, "seconds").as_numpy()
            time.sleep(float(seconds[0]))
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("slept", seconds)]))
        return responses
'''


def sleeper(repository: Path) -> None:
    """`sleeper`: four instances, as one that sleeps goes on when nobody waits any more."""
    one = Signature((Tensor("seconds", "FP32", (1,)),), (Tensor("slept", "FP32", (1,)),), False)
    _python(repository, Plan("sleeper", "python", one, 0, count=4), SLEEPER)


LIAR = '''"""Gives 99 numbers where its configuration says two."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        many = pb_utils.Tensor("many", np.ones((1, 99), np.float32))
        return [pb_utils.InferenceResponse([many]) for _ in requests]
'''


def liar(repository: Path) -> None:
    """`liar`: its answer is larger than its configuration says, which the server does not look at."""
    signature = Signature((Tensor("x", "FP32", (2,)),), (Tensor("many", "FP32", (2,)),), True)
    _python(repository, Plan("liar", "python", signature, 1), LIAR)


ECHO = '''"""Gives its inputs back: the text in upper case, the numbers and ten more."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            words = pb_utils.get_input_tensor_by_name(request, "words/in:0").as_numpy()
            numbers = pb_utils.get_input_tensor_by_name(request, "numbers").as_numpy()
            upper = np.array([w.decode().upper().encode() for w in words.ravel()], dtype=np.object_).reshape(words.shape)
            tensors = [pb_utils.Tensor("WORDS", upper), pb_utils.Tensor("NUMBERS", numbers + 10)]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
'''


def echo(repository: Path) -> None:
    """`echo`: two inputs, text and numbers, and two outputs; at most 4 rows."""
    inputs = (Tensor("words/in:0", "BYTES", (1,)), Tensor("numbers", "INT64", (2,)))
    outputs = (Tensor("WORDS", "BYTES", (1,)), Tensor("NUMBERS", "INT64", (2,)))
    _python(repository, Plan("echo", "python", Signature(inputs, outputs, True), 4), ECHO)


def finder(repository: Path) -> None:
    """`finder`: the box of what is bright, as class `bright`, under the names of DETR's and of YOLO's outputs."""
    outputs = [
        Tensor("pred_logits", "FP32", (3, 2)), Tensor("pred_boxes", "FP32", (3, 4)), Tensor("BatchedNMS", "INT32", (1,)),
        Tensor("BatchedNMS_1", "FP32", (3, 4)), Tensor("BatchedNMS_2", "FP32", (3,)), Tensor("BatchedNMS_3", "FP32", (3,)),
    ]  # fmt: skip
    parameters = {"pixels": "raw", "labels": '["dark", "bright"]'}
    _python(
        repository,
        Plan("finder", "python", Signature((IMAGE,), tuple(outputs), True), 8, parameters=parameters),
        FINDER,
    )


def counter(repository: Path) -> None:
    """`counter`: a decoupled model."""
    plan = Plan(
        "counter", "python", Signature((Tensor("most", "INT32", (1,)),), (Tensor("number", "INT32", (1,)),), False), 0
    )
    _python(repository, plan, COUNTER, decoupled=True)


def _python(repository: Path, plan: Plan, text: str, *, decoupled: bool = False) -> None:
    version = repository / plan.name / "1"
    version.mkdir(parents=True)
    config = model_config.build(plan)
    config.model_transaction_policy.decoupled = decoupled
    config.instance_group[0].kind = 2  # KIND_CPU
    model_config.write(config, version.parent)
    (version / "model.py").write_text(text)


def _onnx(  # noqa: PLR0917 - what a graph is made of
    repository: Path, name: str, nodes: Sequence[object], outputs: Sequence[Tensor], parameters: Mapping[str, str],
    constants: Sequence[object] = (),
) -> None:  # fmt: skip
    import onnx
    from onnx import TensorProto, helper

    def value(tensor: Tensor) -> object:
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, ["n", *tensor.dims])

    graph = helper.make_graph(nodes, name, [value(IMAGE)], [value(tensor) for tensor in outputs], list(constants))
    plan = Plan(
        name, "python", Signature((IMAGE,), tuple(outputs), True), 8, parameters={"numpy_below": "2", **parameters}
    )
    _python(repository, plan, "")
    version = repository / name / "1"
    shutil.copyfile(TEMPLATE, version / "model.py")
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), version / "model.onnx"
    )


if __name__ == "__main__":
    import sys

    colours(Path(sys.argv[1]), {"task": "classification", "pixels": "unit", "labels": "red,green,blue"})
    where_red(Path(sys.argv[1]))
