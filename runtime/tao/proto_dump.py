"""Print a network's protobuf messages as JSON, and the verdict of the real text_format on a spec.

A child program, not imported: `python -I proto_dump.py [--parse|--parse-lines] FOLDER NETWORK MESSAGE`, where FOLDER
holds `nvidia_tao_deploy` and MESSAGE is `<module>.<Message>`, say `experiment_pb2.Experiment`, or
`<network>/<module>.<Message>` where the spec is of another network's message. A process of its own for each network,
because the messages have no package and reuse each other's names ("duplicate symbol 'AugmentationConfig'").

With `--parse`, a spec is read from standard input and a verdict is printed in place of the tree: `error` is what
text_format.Merge says, which TAO calls (it takes the last of two values), `strict` what text_format.Parse says.

Only protobuf is needed: the packages' `__init__.py` (tensorrt, pycuda) are never run.
Source: nvidia-tao-deploy 7.3.0 (PyPI), nvidia_tao_deploy/cv/<network>/proto/*_pb2.py.
"""

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

PACKAGE = "nvidia_tao_deploy"
# What TAO's TF1 image knows and the wheel's copy of the network's messages lacks: experiment tracking. Compared
# field by field with the 103 .proto files of GitHub NVIDIA/tao_tensorflow1_backend, commit 2ec95cb.
_TRACKING = {"wandb_config": "wandb_config_pb2.WandBConfig", "clearml_config": "clearml_config_pb2.ClearMLConfig"}
GRAFTS = {
    "classification_tf1": {"train_config.visualizer": _TRACKING},
    "unet": {"training_config.visualizer": _TRACKING},
    "mask_rcnn": {"": _TRACKING},
    "yolo_v3": {"training_config": {"visualizer": "visualizer_config_pb2.VisualizerConfig"}},
}


def make_namespaces(folder: Path, network: str) -> None:
    """Register the packages above the messages as empty ones that only know their folder."""
    for name in (
        PACKAGE,
        f"{PACKAGE}.cv",
        *(f"{PACKAGE}.cv.{n}{p}" for n in (network, "common") for p in ("", ".proto")),
    ):
        module = types.ModuleType(name)
        module.__path__ = [str(folder.joinpath(*name.split(".")))]
        sys.modules[name] = module


def message_class(network: str, message: str) -> Any:
    """The generated class of `<module>.<Message>`."""
    module, _, name = message.rpartition("/")[2].partition(".")
    return getattr(importlib.import_module(f"{PACKAGE}.cv.{network}.proto.{module}"), name)


def dump(descriptor: Any, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """One message: `{"name", "fields": {name: {"type", "repeated", "oneof"?, "options"?, "closed"?, "message"?}}}`."""
    if descriptor.full_name in above:
        return {"name": descriptor.name, "fields": {}, "recursive": True}
    above = (*above, descriptor.full_name)
    return {"name": descriptor.name, "fields": {field.name: _field(field, above) for field in descriptor.fields}}


def _field(field: Any, above: tuple[str, ...]) -> dict[str, Any]:
    names = {getattr(field, name): name[5:].lower() for name in dir(field) if name.startswith("TYPE_")}
    told: dict[str, Any] = {"type": names[field.type], "repeated": _repeated(field), "presence": field.has_presence}
    if field.containing_oneof is not None:
        told["oneof"] = field.containing_oneof.name
    if field.enum_type is not None:
        told["options"] = {value.name: value.number for value in field.enum_type.values}
        told["closed"] = bool(getattr(field.enum_type, "is_closed", False))
    if field.message_type is not None:
        told["message"] = dump(field.message_type, above)
        told["map"] = bool(field.message_type.GetOptions().map_entry)
    return told


def _repeated(field: Any) -> bool:
    """Whether the field may be given more than once; protobuf 6 has deprecated `label`."""
    if hasattr(type(field), "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == field.LABEL_REPEATED)


def graft(tree: "dict[str, Any]", network: str) -> None:
    """Add to a network's Experiment what only the image's own messages have."""
    for path, fields in GRAFTS.get(network, {}).items():
        below = tree
        for name in filter(None, path.split(".")):
            below = below["fields"][name]["message"]
        for name, message in fields.items():
            shape = dump(message_class("common", message).DESCRIPTOR)
            below["fields"][name] = {
                "type": "message",
                "repeated": False,
                "presence": True,
                "message": shape,
                "map": False,
            }


def verdict(cls: Any, text: str) -> "dict[str, str | None]":
    """What the real parser says against the text, as TAO calls it and strictly; None where it takes it."""
    from google.protobuf import text_format

    said: dict[str, str | None] = {"error": None, "strict": None}
    for name, parse in (("error", text_format.Merge), ("strict", text_format.Parse)):
        try:
            parse(text, cls())
        except (text_format.ParseError, ValueError, RecursionError) as error:
            said[name] = str(error) or type(error).__name__
    return said


def main(words: "list[str]") -> int:
    """Print the tree; or, with `--parse`, one verdict; with `--parse-lines`, one verdict a line of JSON strings."""
    mode = words.pop(0) if words[0].startswith("--") else ""
    folder, network, message = words
    network = message.rpartition("/")[0] or network
    make_namespaces(Path(folder), network)
    cls = message_class(network, message)
    if mode == "--parse":
        print(json.dumps(verdict(cls, sys.stdin.buffer.read().decode("utf-8", "replace"))))
    elif mode == "--parse-lines":
        for line in sys.stdin:
            print(json.dumps(verdict(cls, json.loads(line))))
    else:
        tree = dump(cls.DESCRIPTOR)
        if message == "experiment_pb2.Experiment":
            graft(tree, network)
        json.dump(tree, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
