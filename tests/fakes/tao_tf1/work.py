"""The stand-in's task: reads the spec with the real messages, writes what the real script writes, fails as it fails.

Statuses and texts: cv/common/logging/logging.py and cv/detectnet_v2/scripts/*.py of the source named in cli.py. Three of
its ways are copied on purpose, because a caller must not believe them: a wrong key and a spec that lacks a message end in
SystemExit, which the script catches, so the exit status is 0 and the last status FAILURE; SIGINT in the training loop
is told, then the model is saved and SUCCESS written; a NaN loss stops the Keras networks and SUCCESS is written too.
"""

from __future__ import annotations

import argparse
import datetime
import glob
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))  # the repository: the stand-in is started by path

from runtime.tao import network as networks  # noqa: E402
from runtime.tao.proto_dump import make_namespaces, message_class  # noqa: E402
from tests.fakes.tao_tf1 import bpnet, deploy, onnx_models  # noqa: E402
from tests.fakes.tao_tf1.cli import add_flags  # noqa: E402

OOM = "Ran out of GPU memory, please lower the batch size, use a smaller input resolution, or use a smaller backbone."
ENDS = {
    "train": "Training finished successfully.",
    "evaluate": "Evaluation finished successfully.",
    "prune": "Pruning finished successfully.",
    "export": "Export finished successfully.",
    "inference": "Inference finished successfully.",
    "dataset_convert": "Dataset convert finished successfully.",
    "kmeans": "K-means finished successfully.",
    "gen_trt_engine": "Gen_trt_engine finished successfully.",
}
TRAINED = {
    "detectnet_v2": "DetectNet_v2 training job complete.",
    "unet": "Experiment complete.",
    "yolo_v3": "YOLO_V3 training finished successfully.",
    "yolo_v4": "YOLO_V4 training finished successfully.",
    "yolo_v4_tiny": "YOLO_V4 training finished successfully.",
    "bpnet": "BPnet training experimenent finished successfully.",
    "multitask_classification": "Multi-Task classification finished successfully",
}
OWN_ENDS = {
    ("multitask_classification", "evaluate"): "Evalation finished successfully.",
    ("multitask_classification", "export"): "Exporting finished.",
}
# These never write SUCCESS: ssd's dataset_convert has the line where it cannot be reached, the others have no status.
SILENT = {("ssd", "dataset_convert"), ("dssd", "dataset_convert")}
SILENT |= {(name, "calibration_tensorfile") for name in ("detectnet_v2", "classification_tf1")}
SILENT |= {("multitask_classification", "confmat")}
# cv/*/hooks and tfhooks of the source; the others have cv/common/callbacks/loggers.py.
PLAIN, FOR_INT8 = "stand-in model", "stand-in model, quantization-aware"
HOOKED = ("detectnet_v2", "fpenet", "bpnet", "efficientdet_tf1", "mask_rcnn", "unet")
TITLES = {"train": "Training job", "evaluate": "Evaluation", "inference": "Inference"}


class Status:
    """status.json: a JSON object a line, appended by train and begun anew by the rest."""

    def __init__(self, folder: str | None, append: bool) -> None:
        self.file = None
        self.kpi: dict[str, Any] = {}
        self.graphical: dict[str, Any] = {}
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.file = (Path(folder) / "status.json").open("a" if append else "w")

    def write(self, message: str | None, status: str = "RUNNING", **data: Any) -> None:
        now = datetime.datetime.now()
        line = {**data, "date": f"{now.month}/{now.day}/{now.year}", "time": f"{now.hour}:{now.minute}:{now.second}"}
        line |= {"status": status, "verbosity": "INFO"} | ({"message": message} if message else {})
        line |= {k: v for k, v in (("graphical", self.graphical), ("kpi", self.kpi)) if v}
        if self.file:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()


def read_spec(network: str, task: str, path: str | None) -> Any:
    """The spec as the real message; None for a network without messages or a task without a spec."""
    net = networks.find(network)
    told = next((a for a in net.actions.values() if (a.runs or a.name) == task), None)
    if path is None or told is None or not told.message:
        return None
    if not Path(path).exists():
        raise OSError(f"Specfile not found at: {path}")
    from google.protobuf import text_format

    schema = told.message.rpartition("/")[0] or net.schema
    make_namespaces(Path(os.environ["NGCRUN_TAO_SCHEMA"]), schema)
    spec = message_class(schema, told.message)()
    text_format.Merge(Path(path).read_text(), spec)
    return spec


def check_inputs(spec: Any, args: dict[str, Any]) -> None:
    """The tfrecords there must be, the model that must open with the key."""
    for source in getattr(getattr(spec, "dataset_config", None), "data_sources", []):
        pattern = getattr(source, "tfrecords_path", "")
        if pattern and not glob.glob(pattern):  # noqa: PTH207 - as the real one
            raise AssertionError(f"No tfrecord files match pattern {pattern}.")
    model = args.get("model_path") or args.get("model") or ""
    model = model or getattr(getattr(spec, "model_config", None), "pretrained_model_file", "")
    if not model:
        return
    assert Path(model).is_file(), f"Pretrained model file not found: {model}"
    if model.endswith(".tlt") and Path(model).read_text() != sealed(args.get("key") or args.get("enc_key") or ""):
        sys.exit(
            "Invalid decryption. Unable to open file (file signature not found). The key used to load the model is incorrect."
        )


def sealed(key: str) -> str:
    """What a `.tlt` of the stand-in holds."""
    return "stand-in model, sealed with " + hashlib.sha256(key.encode()).hexdigest()


def train(network: str, spec: Any, args: dict[str, Any], status: Status) -> None:
    config = getattr(spec, "training_config", None) or getattr(spec, "train_config", None) or spec
    epochs = next((n for n in (getattr(config, k, 0) for k in ("num_epochs", "n_epochs", "epochs")) if n), 3)
    for epoch in range(epochs):
        try:
            time.sleep(float(os.environ.get("FAKE_TAO_EPOCH_S", "0")))
        except KeyboardInterrupt as stop:
            status.write("Training was interrupted", Error=str(stop))
            break
        if os.environ.get("FAKE_TAO_OOM"):
            raise MemoryError(OOM)
        if os.environ.get("FAKE_TAO_NAN"):
            print(f"Batch {epoch}: Invalid loss, terminating training")
            break
        one_epoch(network, epoch, epochs, status)
    if os.environ.get("OMPI_COMM_WORLD_RANK", "0") == "0" and not os.environ.get("FAKE_TAO_SILENT"):
        save(network, args, epochs, for_int8=bool(getattr(config, "enable_qat", False)))


def one_epoch(network: str, epoch: int, epochs: int, status: Status) -> None:
    """Some networks open an epoch without a message and evaluate after it, the Keras ones tell of it afterwards."""
    loss = round(1 / (epoch + 1), 5)
    took = {"max_epoch": epochs, "time_per_epoch": "0:00:01", "eta": str(datetime.timedelta(seconds=epochs - epoch))}
    figures = {"validation cost": loss, "mean average precision": round(100 * (1 - loss), 4)}
    if network in HOOKED:
        status.graphical = {"loss": loss, "learning_rate": "Not logged"}
        status.write(None, epoch=epoch, **took)
        status.kpi = figures
        status.write("Evaluation metrics generated.")
    else:
        status.graphical = figures
        status.write("Evaluation metrics generated.")
        status.graphical = {"loss": str(loss)}
        status.write("Training loop in progress", epoch=epoch + 1, **took)


def save(network: str, args: dict[str, Any], epochs: int, *, for_int8: bool) -> None:
    """The model, under the name that the network's file says."""
    latest = networks.find(network).latest
    name = latest.replace("_*_epoch_*", f"_resnet18_epoch_{epochs:03d}").replace("*_*", f"resnet_{epochs:03d}")
    name = name.replace("epoch-*", f"epoch-{epochs:03d}").replace("*.epoch_*", f"resnet18.epoch_{epochs}")
    path = Path(args.get("results_dir") or args.get("model_dir")) / name.replace("*.", "model.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sealed(args.get("key") or args.get("enc_key") or "") if path.suffix == ".tlt" else PLAIN)
    if for_int8:
        path.write_text(FOR_INT8)


def other(args: dict[str, Any], status: Status) -> None:
    """Evaluate, prune, export, inference, dataset_convert: a file where the real one puts one."""
    status.kpi = {"mean average precision": 83.1}
    for name in ("output_file", "output_filename", "output_path", "output"):
        if args.get(name):
            path = Path(args[name] + ("-fold-000-of-002-shard-00000-of-00010" if name == "output_filename" else ""))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("stand-in output")
    if args.get("image_dir") and args.get("results_dir"):
        (Path(args["results_dir"]) / "labels").mkdir(parents=True, exist_ok=True)
        (Path(args["results_dir"]) / "labels" / "000000.txt").write_text("car 0.00 0 0.00 1 1 9 9 0 0 0 0 0 0 0 0.9\n")


def export(args: dict[str, Any], spec: Any) -> None:
    """An ONNX model with the tensors of the real one; of a quantization-aware model the scales besides."""
    onnx_models.detector(Path(args["output_file"]), spec)
    if args.get("cal_json_file") and Path(args["model"]).read_text() == FOR_INT8:
        Path(args["cal_json_file"]).write_text(
            json.dumps({"tensor_scales": {"input_1": 1.0, "conv1/convolution": 2.5}})
        )


def run(network: str, task: str, args: dict[str, Any], spec: Any, status: Status) -> None:
    if task == "gen_trt_engine":
        deploy.build(args, spec)
        return
    check_inputs(spec, args)
    if network == "bpnet":
        status.kpi = {"AP_0.50:0.95_all": 0.5} if task == "evaluate" else {}
        bpnet.work(task, args)
    elif task == "train":
        train(network, spec, args, status)
    else:
        other(args, status)
    if (network, task) == ("detectnet_v2", "export"):
        export(args, spec)


def main(network: str, task: str, words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog=task)
    recorded = json.loads((HERE / "flags.json").read_text())[network]
    add_flags(parser, deploy.flags_of(network) if task == "gen_trt_engine" else recorded[task])
    args = vars(parser.parse_args(words))
    master = os.environ.get("OMPI_COMM_WORLD_RANK", "0") == "0"
    folder = args.get("results_dir") or args.get("model_dir") or args.get("output_dir")
    status = Status(folder if master else None, append=task == "train")
    status.write(f"Starting {network} {TITLES.get(task, task)}", "STARTED")
    try:
        path = next(
            (args[k] for k in ("experiment_spec_file", "experiment_spec", "dataset_export_spec") if args.get(k)), None
        )
        run(network, task, args, read_spec(network, task, path), status)
    except (KeyboardInterrupt, SystemExit) as stop:
        status.write(f"{task.capitalize()} was interrupted", "FAILURE", Error=str(stop))
        return 0
    except MemoryError:
        print(OOM)
        status.write(OOM, "FAILURE")
        return 1
    except Exception as failure:
        status.write(str(failure), "FAILURE")
        raise
    if (network, task) not in SILENT:
        end = TRAINED.get(network) if task == "train" else OWN_ENDS.get((network, task))
        status.write(end or ENDS[task], "SUCCESS")
    return int(os.environ.get("FAKE_TAO_EXIT", "0"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
