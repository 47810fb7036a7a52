"""A stand-in for `<network> gen_trt_engine` of TAO's deploy image: it builds no engine, which takes a GPU and TensorRT.

It takes the real flags, read from the script in the wheel nvidia-tao-deploy, and the spec by the real messages, and ends
as that script does where it lacks a file. Source: nvidia-tao-deploy 7.3.0, cv/detectnet_v2/scripts/gen_trt_engine.py,
engine/builder.py (create_engine), cv/common/decorators.py (statuses), read.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
from pathlib import Path
from typing import Any

from runtime.tao import network as networks
from tests.fakes.tao_tf1.cli import add_flags

_TYPES = ("int", "float")


def flags(folder: Path, schema: str) -> list[dict[str, Any]]:
    """The flags of the real script, in the form of flags.json; `folder` holds `nvidia_tao_deploy`."""
    source = folder / "nvidia_tao_deploy" / "cv" / schema / "scripts" / "gen_trt_engine.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
            flag: dict[str, Any] = {"flags": [ast.literal_eval(word) for word in call.args]}
            for told in call.keywords:
                if told.arg == "type" and getattr(told.value, "id", "") in _TYPES:
                    flag["type"] = ast.unparse(told.value)
                elif told.arg in ("required", "default", "choices", "action", "nargs"):
                    name = getattr(told.value, "id", None)
                    flag[told.arg] = constants[name] if name else ast.literal_eval(told.value)
            found.append(flag)
    return found


def flags_of(network: str) -> list[dict[str, Any]]:
    """The flags of a network's script, from the wheel that NGCRUN_TAO_SCHEMA names."""
    return flags(Path(os.environ["NGCRUN_TAO_SCHEMA"]), networks.find(network).schema)


def parse(network: str, words: list[str]) -> dict[str, Any]:
    """What follows `gen_trt_engine`, by the real flags; ends with 2, as argparse does, for what they do not take."""
    parser = argparse.ArgumentParser(f"{network} gen_trt_engine")
    add_flags(parser, flags_of(network))
    return vars(parser.parse_args(words))


def build(args: dict[str, Any], spec: Any) -> None:
    """Write what stands for the engine, once everything is there that the real builder would read."""
    import onnx

    onnx.checker.check_model(onnx.load(args["model_path"]))
    trained_for_int8 = bool(spec.training_config.enable_qat) and not args["force_ptq"]
    if trained_for_int8 and args["data_type"] != "int8":
        raise ValueError(f"QAT model only supports data_type int8 but {args['data_type']} was provided.")
    scales = ""
    if args["data_type"] == "int8":
        scales = _scales(args, spec, trained_for_int8=trained_for_int8)
    Path(args["engine_file"]).write_text(f"stand-in engine, {args['data_type']}{scales}")


def _scales(args: dict[str, Any], spec: Any, *, trained_for_int8: bool) -> str:
    """Where the scales of INT8 come from."""
    if trained_for_int8:
        if not Path(args["cal_json_file"]).exists():
            raise FileNotFoundError(
                f"Calibration JSON file is required for QAT but {args['cal_json_file']} does not exist."
            )
        return f", {len(json.loads(Path(args['cal_json_file']).read_text())['tensor_scales'])} scales of the training"
    if args["cal_data_file"]:
        return f", calibrated on {Path(args['cal_data_file']).name}"
    sources = [args["cal_image_dir"]] if args["cal_image_dir"] else [
        s.image_directory_path for s in spec.dataset_config.data_sources
    ]  # fmt: skip
    return f", calibrated on {len(sources)} folders of images"
