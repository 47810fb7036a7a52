"""Serves the `model.onnx` beside this file with onnxruntime, on a Triton server that lacks the onnxruntime backend.

Copied as it is into `<repository>/<model>/<version>/`. Everything it needs comes from config.pbtxt: names, types and
dims from its inputs and outputs, the rest from its parameters:
    intra_op_threads: threads that one inference may use; 0 lets onnxruntime choose.
    refuse: which values are an error of the client: any of `nan`, `inf`, separated by commas; empty for none.
    numpy_below: the major version of numpy that this server cannot work with.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

Array = np.ndarray[Any, Any]
Feed = dict[str, Array]


class TritonPythonModel:
    """The class that Triton looks for. Source: python_backend README, "Usage"."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the model; what is raised here is the reason that the server gives for not loading it."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        check_numpy(parameters.get("numpy_below", ""))
        self.refuse = [word for word in parameters.get("refuse", "").split(",") if word]
        self.batched = config["max_batch_size"] > 0
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters.get("intra_op_threads", "1"))
        options.inter_op_num_threads = 1
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        check_names("input", self.inputs, [tensor.name for tensor in self.session.get_inputs()])
        check_names("output", self.outputs, [tensor.name for tensor in self.session.get_outputs()])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, in order; requests that fit together are answered by one inference."""
        responses: list[Any] = [None] * len(requests)
        feeds: dict[int, Feed] = {}
        for index, request in enumerate(requests):
            feed = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            bad = self.bad_value(feed)
            if bad:
                responses[index] = refusal(bad)
            else:
                feeds[index] = feed
        for group in self.groups(feeds):
            for index, response in self.answer(group, feeds):
                responses[index] = response
        return responses

    def bad_value(self, feed: Feed) -> str | None:
        """What is wrong with the values of one request, or nothing."""
        for name, array in feed.items():
            if array.dtype.kind != "f":
                continue
            if "nan" in self.refuse and np.isnan(array).any():
                return f"input '{name}' holds NaN; this model needs a number in each place"
            if "inf" in self.refuse and np.isinf(array).any():
                return f"input '{name}' holds an infinity; this model takes finite numbers and NaN for missing"
        return None

    def groups(self, feeds: Mapping[int, Feed]) -> list[list[int]]:
        """Requests that can be one batch: those that agree in every dimension but the first."""
        if not self.batched:
            return [[index] for index in feeds]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, feed in feeds.items():
            groups.setdefault(tuple(array.shape[1:] for array in feed.values()), []).append(index)
        return list(groups.values())

    def answer(self, group: list[int], feeds: Mapping[int, Feed]) -> list[tuple[int, Any]]:
        """One inference for the whole group; each request gets its own rows of the result."""
        try:
            if len(group) == 1:
                return [(group[0], self.response(self.run(feeds[group[0]])))]
            merged = {name: np.concatenate([feeds[index][name] for index in group]) for name in self.inputs}
            results = self.run(merged)
        except Exception as error:  # whatever onnxruntime says goes to the client, not into a dead stub
            if len(group) == 1:
                return [(group[0], refusal(str(error)))]
            return [pair for index in group for pair in self.answer([index], feeds)]
        ends = np.cumsum([len(next(iter(feeds[index].values()))) for index in group])
        parts = zip(*(np.split(result, ends[:-1]) for result in results), strict=True)
        return [(index, self.response(part)) for index, part in zip(group, parts, strict=True)]

    def run(self, feed: Feed) -> list[Array]:
        """The outputs of one inference, in the order of config.pbtxt."""
        results: list[Array] = self.session.run(self.outputs, feed)
        return results

    def response(self, arrays: Sequence[Array]) -> Any:
        """The outputs of one request."""
        tensors = [pb_utils.Tensor(name, as_sent(array)) for name, array in zip(self.outputs, arrays, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def as_sent(array: Array) -> Array:
    """Contiguous; text as bytes, which is what the server's BYTES type holds."""
    if array.dtype.kind in "OU":
        return np.array([str(item).encode() for item in array.ravel()], dtype=np.object_).reshape(array.shape)
    return np.ascontiguousarray(array)


def refusal(message: str) -> Any:
    """An answer that tells the client that its request was wrong (HTTP 400, gRPC INVALID_ARGUMENT)."""
    error = pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG)
    return pb_utils.InferenceResponse(output_tensors=[], error=error)


def check_numpy(below: str) -> None:
    """Stop a server that would answer wrongly: its stub reads numpy 2 arrays as garbage without any error.

    Source: measured with nvidia-pytriton 0.7.0 (server 2.51.0); fixed by python_backend#384 in later servers.
    """
    if below and int(np.__version__.split(".")[0]) >= int(below):
        raise RuntimeError(f"numpy {np.__version__} gives wrong results in this server; install numpy<{below} for it")


def check_names(what: str, configured: list[str], real: list[str]) -> None:
    """Stop a config.pbtxt that does not belong to this model.onnx."""
    unknown = [name for name in configured if name not in real]
    if unknown:
        raise RuntimeError(f"config.pbtxt names {what} {unknown}, the model has {real}")
