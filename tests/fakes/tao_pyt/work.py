"""The stand-in's script: reads the spec, writes what the real one writes, fails as the real one fails.

Files, status lines and messages were recorded with nvidia-tao-pytorch 7.3.0 on a CPU (classification_pyt, rtdetr,
segformer): SUCCESS is never written, SIGTERM ends with exit status 0 and without a last word, status.json is appended
to, a training goes on from `*_latest.pth`, a figure may be text (rtdetr), and the log holds the whole configuration.
"""

from __future__ import annotations

import datetime
import errno
import io
import json
import math
import os
import pickle
import signal
import struct
import sys
import time
import traceback
import zipfile
import zlib
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[3]))  # the repository: the stand-in is started by path

from runtime.tao import network as networks

TITLES = {"classification_pyt": "Classification", "rtdetr": "RT-DETR", "segformer": "Segformer"}
FIGURE = {"classification_pyt": "val_acc_1", "rtdetr": "val_mAP50", "segformer": "val_miou"}
STEPS = 4  # an epoch has
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 15.77 GiB "
    "of which 1.02 GiB is free."
)


def knob(name: str) -> str:
    """The value of FAKE_TAO_<name>; empty when it is not asked for."""
    return os.environ.get(f"FAKE_TAO_{name}", "")


def at(name: str, epoch: int) -> bool:
    """Whether FAKE_TAO_<name> asks for something at this epoch."""
    return knob(name) == str(epoch)


class Status:
    """status.json: a JSON object a line, appended; `kpi` is repeated on every later line."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a")
        self.kpi: dict[str, Any] = {}

    def write(self, message: str, status: str = "RUNNING", **data: Any) -> None:
        now = datetime.datetime.now()
        line = {**data, "date": f"{now.month}/{now.day}/{now.year}", "time": f"{now.hour}:{now.minute}:{now.second}"}
        line |= {"status": status, "verbosity": "INFO", "message": message} | ({"kpi": self.kpi} if self.kpi else {})
        self.raw(json.dumps(line) + "\n")

    def raw(self, text: str) -> None:
        self.file.write(text)
        self.file.flush()


def checkpoint_bytes(network: str, name: str, epoch: int) -> bytes:
    """A zip as torch.save writes it: a pickle with a real checkpoint's names, one tensor's bytes; and the epoch."""
    config = f"nvidia_tao_pytorch.config.{networks.find(network).schema}.default_config"
    globals_ = [(config, "ExperimentConfig"), ("omegaconf.dictconfig", "DictConfig"), ("omegaconf.base", "Metadata"),
                ("omegaconf.nodes", "AnyNode"), ("torch._utils", "_rebuild_tensor_v2"), ("torch", "FloatStorage"),
                ("collections", "OrderedDict"), ("__builtin__", "unicode")]  # fmt: skip
    names = b"".join(f"c{module}\n{cls}\n0".encode() for module, cls in globals_)  # each is named and dropped
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{name}/data.pkl", b"\x80\x02" + names + pickle.dumps({"epoch": epoch}, protocol=2)[2:])
        archive.writestr(f"{name}/byteorder", "little")
        archive.writestr(f"{name}/data/0", b"\0" * 4096)
        archive.writestr(f"{name}/version", "3\n")
        archive.writestr(f"{name}/.stand_in", json.dumps({"network": network, "epoch": epoch}))
    return buffer.getvalue()


def load(path: str) -> dict[str, Any]:
    """What torch.load would do with a checkpoint: refuse a missing, a torn and, by default, every one of TAO's."""
    if not Path(path).is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if not zipfile.is_zipfile(path):
        raise RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory")
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") != "1":
        raise pickle.UnpicklingError(
            "Weights only load failed. This file can still be loaded, to do so you have two options\n"
            "\tWeightsUnpickler error: Unsupported global: GLOBAL omegaconf.listconfig.ListConfig was not an allowed global"
        )
    with zipfile.ZipFile(path) as archive:
        named = [n for n in archive.namelist() if n.endswith("/.stand_in")]
        return dict(json.loads(archive.read(named[0]))) if named else {"epoch": -1}


def save(network: str, folder: Path, epoch: int) -> None:
    """The checkpoint, and the link `*_latest.pth`; each epoch's stays."""
    steps = f"_step_{STEPS * (epoch + 1):05d}" if network == "segformer" else ""
    path = folder / f"model_epoch_{epoch:03d}{steps}.pth"
    data = checkpoint_bytes(network, path.stem, epoch)
    if at("DISK_FULL", epoch):
        path.write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    path.write_bytes(data)
    link = folder / networks.find(network).latest
    link.unlink(missing_ok=True)
    link.symlink_to(path.name)


def train(network: str, spec: dict[str, Any], folder: Path, status: Status) -> None:
    train_ = spec.get("train", {})
    epochs, interval = int(train_.get("num_epochs", 10)), int(train_.get("checkpoint_interval", 1))
    assert interval <= epochs, f"Checkpoint interval {interval} > Number of epochs {epochs}."
    first = 0
    if latest := sorted(folder.glob("*_latest.pth")):
        resumed = str(latest[0].resolve())
        status.write(f"Resuming training from checkpoint: {resumed}")
        first = load(resumed)["epoch"] + 1
    if train_.get("pretrained_model_path"):
        load(train_["pretrained_model_path"])
    status.write("Starting Training Loop.", "STARTED")
    for epoch in range(first, epochs):
        one_epoch(network, epoch, epochs, status)
        if (epoch + 1) % interval == 0 and not knob("NO_ARTEFACT"):
            save(network, folder, epoch)
    status.write("Training loop complete.")


def one_epoch(network: str, epoch: int, epochs: int, status: Status) -> None:
    for step in range(STEPS + 1):
        shown = f"{step}/{STEPS} [00:01<00:00,  4.28it/s, v_num=1, lr=0.001]"
        print(f"\rEpoch {epoch}: {100 * step // STEPS:3d}%|{'█' * step}| {shown}", end="", flush=True)
        time.sleep(float(knob("EPOCH_S") or 0) / (STEPS + 1))
    if at("OOM", epoch):
        print(f"\n{OOM}")
        sys.exit(1)
    if at("KILL_ALL", epoch):
        os.kill(os.getppid(), signal.SIGKILL)
    if at("KILL", epoch) or at("KILL_ALL", epoch):
        os.kill(os.getpid(), signal.SIGKILL)
    if at("TORN", epoch):
        status.raw('{"epoch": 0, "step": 13, "max_ep')
    bad = knob("NAN") and epoch >= int(knob("NAN"))
    value = round(1 - 1 / (epoch + 2), 4)
    status.kpi = {FIGURE[network]: str(value) if network == "rtdetr" else value}
    status.write("Eval metrics generated.")
    took = {"time_per_epoch": "0:00:01.5", "time_per_step": "0:00:00.4", "eta": f"0:00:{epochs - 1 - epoch:02d}"}
    count = {"epoch": epoch, "step": STEPS * (epoch + 1), "max_epoch": epochs - 1, "max_step": STEPS * epochs}
    for _ in range(int(knob("FLOOD") or 1)):
        status.write("Training loop in progress", **count, **took)
    status.kpi = {"train_loss": math.nan if bad else round(1 / (epoch + 1), 4)}
    status.write("Train metrics generated.")


def other(network: str, action: str, spec: dict[str, Any], folder: Path, status: Status) -> None:
    """Evaluate, inference, export, quantize, distill: the checkpoint is loaded, and the files are there."""
    section = spec.get(action, {})
    given = section.get("checkpoint") or section.get("model_path") or section.get("pretrained_teacher_model_path")
    status.write(f"Loading checkpoint: {given}")
    load(given)
    if knob("NO_ARTEFACT"):
        return
    if action == "evaluate":
        status.kpi = {FIGURE[network].replace("val_", "test_"): 0.84}
        status.write("Test metrics generated.")
        (folder / "result.csv").write_text("img_name,pred_label,pred_score\n")
    elif action == "inference":
        (folder / "result.csv").write_text("img_name,pred_label,pred_score\n0.png,cat,0.9\n")
        for number in range(3):
            write_png(folder / "visualize" / f"{number}.png", number)
    elif action == "export":
        target = Path(section["onnx_file"])
        assert not target.exists(), f"Default onnx file {target} already exists"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"stand-in ONNX")
    elif action == "quantize":
        (folder / "quantized_model_torchao.pth").write_bytes(checkpoint_bytes(network, "quantized", 0))
    else:
        save(network, folder, 0)


def write_png(path: Path, number: int) -> None:
    """An 8 by 8 picture of one grey."""
    path.parent.mkdir(exist_ok=True)
    rows = zlib.compress((b"\0" + bytes([80 * number]) * 8) * 8)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def images(spec: dict[str, Any]) -> None:
    """The classifier's own complaint about a folder without images, which names no path."""
    folder = spec.get("dataset", {}).get("train_dataset", {}).get("images_dir")
    if folder and not any(Path(folder).glob("*/*")):
        raise ValueError("num_samples should be a positive integer value, but got num_samples=0")


def run(network: str, action: str, spec: dict[str, Any]) -> None:
    """What TAO's `monitor_status` does around an action."""
    folder = Path(spec["results_dir"]) / action
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.yaml").write_text(yaml.safe_dump(spec))
    shown = yaml.safe_dump({**spec, "encryption_key": "**********"})
    print(
        f"Train results will be saved at: {folder}\n[TAO Toolkit] - INFO - Experiment configuration:{shown}", flush=True
    )
    status = Status(folder / "status.json")
    status.write(f"Starting {TITLES[network]} {action}.", "STARTED")
    status.write(f"Experiment configuration:\n{shown}")
    try:
        if knob("LEAK"):
            print(f"the key is {os.environ.get('NGCRUN_TAO_KEY')}.", flush=True)
        if knob("SAYS"):
            print(knob("SAYS"))
            sys.exit(1)
        if action == "train":
            images(spec)
            train(network, spec, folder, status)
        else:
            other(network, action, spec, folder, status)
    except (ValueError, TypeError) as error:
        status.write(f"Parameter validation error: {error}", "FAILURE")
        raise
    except OSError as error:
        status.write(f"File system error: {error}", "FAILURE")
        raise
    if not knob("SILENT"):
        status.write(f"{action.capitalize()} finished successfully.")


def main(words: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as measured: Lightning ends the loop, and the status is 0
    network, action = os.environ["FAKE_TAO_TASK"].split()
    path = Path(words[words.index("--config-path") + 1]) / words[words.index("--config-name") + 1]
    try:
        run(network, action, yaml.safe_load(path.read_text()))
    except Exception:
        print("Error executing job with overrides: []")
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
