"""Serves the function `predict` of the `function.py` beside this file on Triton's python backend.

Copied as it is to `<repository>/<model>/<version>/model.py`. The function takes a dict of arrays by input name and
gives one of arrays by output name; names and types are those of config.pbtxt, to which what it gives is held.
    numpy_below: a parameter of config.pbtxt, the major version of numpy that this server cannot work with.
"""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]


class TritonPythonModel:
    """The class that Triton looks for. Source: python_backend README, "Usage"."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Import the function; what is raised here is the reason that the server gives for not loading the model."""
        config = json.loads(args["model_config"])
        below = config.get("parameters", {}).get("numpy_below", {}).get("string_value", "")
        if below and int(np.__version__.split(".")[0]) >= int(below):
            # Its stub reads numpy 2 arrays as garbage, without an error. Source: nvidia-pytriton 0.7.0 (server 2.51.0).
            raise RuntimeError(f"numpy {np.__version__} gives wrong results in this server; install numpy<{below}")
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = {t["name"]: pb_utils.triton_string_to_numpy(t["data_type"]) for t in config["output"]}
        path = Path(args["model_repository"]) / args["model_version"] / "function.py"
        spec = importlib.util.spec_from_file_location("function", path)
        assert spec is not None  # noqa: S101 - the path ends in .py
        assert spec.loader is not None  # noqa: S101 - likewise
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.predict = module.predict

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request; what the function raises goes to the client of that request alone."""
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        """The outputs of one request; `ValueError` is the client's mistake, anything else the server's."""
        feed = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        try:
            found = self.predict(feed)
            tensors = [pb_utils.Tensor(name, held(name, found, kind)) for name, kind in self.outputs.items()]
        except ValueError as error:
            wrong = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(output_tensors=[], error=wrong)
        except Exception as error:  # the next request may well go right
            return pb_utils.InferenceResponse(
                output_tensors=[], error=pb_utils.TritonError(f"{type(error).__name__}: {error}")
            )
        return pb_utils.InferenceResponse(output_tensors=tensors)


def held(name: str, found: Mapping[str, Any], kind: Any) -> Any:
    """An output in the type that config.pbtxt promises: the server itself does not look."""
    if name not in found:
        raise KeyError(f"predict gave no {name!r}, only {sorted(found)}")
    array = np.asarray(found[name])
    if kind == np.object_:
        return np.array([str(item).encode() for item in array.ravel()], dtype=np.object_).reshape(array.shape)
    return np.ascontiguousarray(array, dtype=kind)
