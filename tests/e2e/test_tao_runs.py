"""Whole TAO runs through the real command lines of the steps, on stand-ins of TAO's programs: chains, stops, restarts."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tao_support import SMALL, bytes_below, classes, have_tao, kitti, left_over, plain, records, run

from runtime import catalog
from runtime.tao import network as networks
from runtime.tao.prototext import set_value

ROOT = Path(__file__).parents[2]
KEY = "s3cret' $HOME"
KNOWN = ("bin", "data", "state", "metrics.jsonl", "spec.yaml", "spec.txt", "runs")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-ins first on PATH, two classes of pictures, metrics into a file."""
    have_tao(tmp_path, monkeypatch)
    classes(tmp_path / "data")
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    return tmp_path


def step(verb: str, place: Path, **ports: object) -> int:
    """The exit status of `tao_<verb>` of classification_pyt."""
    given = {"network": "classification_pyt", "dataset": place / "data", "spec_overrides": SMALL, **ports}
    return run(catalog.find(f"tao_{verb}"), **given)


def logged(place: Path) -> list[tuple[str, int, Any]]:
    return [(r["key"], r["step"], r["value"]) for r in records(place / "metrics.jsonl")]


def card(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "model.json").read_text()))


def started(place: Path, verb: str, *words: str, **variables: str) -> subprocess.Popen[str]:
    given = ["--network=classification_pyt", f"--dataset={place / 'data'}", f"--spec_overrides={SMALL}", "--device=cpu"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    argv = [sys.executable, "-m", f"runtime.tao.{verb}", *given, *words]
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place)


def wait_for(met: Callable[[], Any]) -> None:
    until = time.monotonic() + 20
    while not met():
        assert time.monotonic() < until
        time.sleep(0.02)


EPOCHS = [("val_acc_1", 0, 0.5), ("train_loss", 0, 1.0), ("val_acc_1", 1, 0.6667), ("train_loss", 1, 0.5),
          ("val_acc_1", 2, 0.75), ("train_loss", 2, 0.3333)]  # fmt: skip


def test_train_evaluate_inference_and_export_go_hand_in_hand(place: Path, capsys) -> None:
    before = bytes_below(place / "data")
    assert step("train", place, trained=place / "out") == 0
    assert logged(place) == EPOCHS
    assert card(place / "out") == {
        "network": "classification_pyt",
        "action": "train",
        "checkpoint": "train/model_epoch_002.pth",
        "metrics": {"val_acc_1": 0.75, "train_loss": 0.3333},
        "monitor": "val_acc_1",
        "epochs": 3,
    }
    names = {p.name for p in (place / "out").iterdir()} - {"curves.png"}  # drawn where matplotlib is
    assert names == {"log.txt", "metrics.json", "model.json", "spec.yaml", "train"}
    (place / "metrics.jsonl").unlink()
    assert step("evaluate", place, checkpoint=place / "out", report=place / "report") == 0
    assert logged(place) == [("test_acc_1", 0, 0.84)]
    assert step("inference", place, checkpoint=place / "out", predictions=place / "predictions") == 0
    assert (place / "predictions" / "preview.png").is_file()
    assert step("export", place, checkpoint=place / "out", exported=place / "exported") == 0
    assert card(place / "exported")["checkpoint"] == "export/model.onnx"
    assert capsys.readouterr().err == ""
    assert bytes_below(place / "data") == before
    assert left_over(place, KNOWN) == ["exported", "out", "predictions", "report"]


@pytest.mark.parametrize("name", ["rtdetr", "segformer"])
def test_the_other_networks_train_and_export_through_the_same_words(place: Path, name: str) -> None:
    from tests.fakes import tao_datasets

    dataset = place / "other"
    (tao_datasets.coco if name == "rtdetr" else tao_datasets.masks)(dataset)
    words = "train.num_epochs=2" + (" dataset.num_classes=3" if name == "rtdetr" else "")
    ports = {"network": name, "dataset": dataset, "spec_overrides": words}
    assert step("train", place, **ports, trained=place / "out") == 0
    assert card(place / "out")["metrics"] == {networks.find(name).monitor: 0.6667, "train_loss": 0.5}
    assert step("export", place, **ports, checkpoint=place / "out", exported=place / "exported") == 0
    assert (place / "exported" / "export" / "model.onnx").is_file()


def test_the_users_spec_is_not_touched_and_what_ran_differs_in_the_asked_for_lines_alone(place: Path) -> None:
    text = (
        networks.find("classification_pyt")
        .spec.replace("num_classes: 10", "num_classes: 2")
        .replace("batch_size: 32", "batch_size: 2")
    )
    text = "# mine: ünïcode\r\n" + text.replace("num_epochs: 10", "num_epochs:   3   # few")
    (place / "spec.yaml").write_bytes(text.encode())
    assert (
        step("train", place, spec=place / "spec.yaml", spec_overrides="train.optim.lr=0.5", trained=place / "out") == 0
    )
    assert (place / "spec.yaml").read_bytes() == text.encode()
    ran = (place / "out" / "spec.yaml").read_bytes().decode()
    changed = [(a, b) for a, b in zip(text.splitlines(), ran.splitlines(), strict=True) if a != b]
    told = [(a.strip(), b.strip()) for a, b in changed if "${dataset}" not in a]
    assert told == [("lr: 0.001", "lr: 0.5")]
    assert len(changed) == 5  # four paths of the dataset
    assert "\r\n" in ran
    assert f"root_dir: {place / 'data'}" in ran
    assert "partial" not in ran


def test_the_spec_of_a_run_can_be_given_again_and_gives_the_same_bytes(place: Path) -> None:
    assert step("train", place, trained=place / "a") == 0
    assert step("train", place, spec=place / "a" / "spec.yaml", spec_overrides=None, trained=place / "b") == 0
    for name in ("spec.yaml", "model.json", "metrics.json"):
        assert (place / "a" / name).read_bytes() == (place / "b" / name).read_bytes(), name


def test_detectnet_v2_is_trained_pruned_trained_again_and_exported_with_one_key(
    place: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("NGCRUN_TAO_KEY", KEY)
    spec = place / "spec.txt"
    spec.write_text(set_value(networks.find("detectnet_v2").spec, "training_config.num_epochs", 2) + "# the end\n")
    before, text = bytes_below(kitti(place / "kitti")), spec.read_text()
    ports = {"network": "detectnet_v2", "dataset": place / "kitti", "spec": spec, "spec_overrides": None}
    assert step("train", place, **ports, trained=place / "trained") == 0
    assert logged(place) == [
        ("loss", 0, 1.0), ("validation cost", 0, 1.0), ("mean average precision", 0, 0.0),
        ("loss", 1, 0.5), ("validation cost", 1, 0.5), ("mean average precision", 1, 50.0),
    ]  # fmt: skip
    assert step("prune", place, **ports | {"spec": None}, checkpoint=place / "trained", pruned=place / "pruned") == 0
    assert card(place / "pruned")["checkpoint"] == "prune/model.hdf5"
    assert step("retrain", place, **ports, checkpoint=place / "pruned", trained=place / "again") == 0
    ran = (place / "again" / "spec.txt").read_text()
    assert f'pretrained_model_file: "{place / "pruned" / "prune" / "model.hdf5"}"' in ran
    assert "load_graph: true" in ran
    assert ran.endswith("# the end\n")
    assert step("export", place, **ports, checkpoint=place / "again", exported=place / "exported") == 0
    assert spec.read_text() == text
    assert bytes_below(place / "kitti") == before
    assert holding("s3cret", place) == []
    said = capsys.readouterr()
    assert ("s3cret" in said.out, said.err) == (False, "")


def holding(secret: str, folder: Path) -> list[str]:
    """The files below a folder that hold a secret."""
    return [name for name, content in bytes_below(folder).items() if secret.encode() in content]


def test_a_key_that_tao_prints_is_in_no_log_file_metric_or_command_line(place: Path) -> None:
    words = [f"--trained={place / 'out'}", f"--state={place / 'state'}"]
    process = started(place, "train", *words, NGCRUN_TAO_KEY=KEY, FAKE_TAO_LEAK="1", FAKE_TAO_EPOCH_S="0.3")
    seen: set[bytes] = set()
    while process.poll() is None:
        seen |= {line for line in command_lines() if str(place).encode() in line}
        time.sleep(0.02)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "the key is ***." in out
    assert len(seen) >= 3  # the step, the entrypoint, its script
    assert [line for line in seen if b"s3cret" in line] == []
    assert holding("s3cret", place) == []
    assert yaml.safe_load((place / "out" / "spec.yaml").read_text())["encryption_key"] == "${oc.env:NGCRUN_TAO_KEY}"
    assert "the key is ***." in (place / "out" / "log.txt").read_text()


def command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return found


# --- stopped, and started again ---------------------------------------------------------------------------------------


def test_a_training_that_is_stopped_goes_on_from_its_last_checkpoint(place: Path) -> None:
    words = [f"--trained={place / 'out'}", f"--state={place / 'state'}"]
    process = started(place, "train", *words, FAKE_TAO_EPOCH_S="0.8")
    wait_for(lambda: list((place / "state").glob("train/model_epoch_000.pth")))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "tao_train: stopped; no output was written\n"), out
    assert left_over(place, KNOWN) == ["out.log"]
    kept = json.loads((place / "state" / "state.json").read_text())
    assert (kept["network"], kept["action"], kept["checkpoints"][-1]) == (
        "classification_pyt",
        "train",
        sorted(kept["checkpoints"])[-1],
    )
    last = int(kept["checkpoints"][-1][-7:-4])
    assert last < 2
    again = started(place, "train", *words)
    out, err = again.communicate(timeout=20)
    assert (again.returncode, err) == (0, "")
    assert f"resuming from model_epoch_{last:03d}.pth, kept by an earlier start" in out
    assert sorted(logged(place), key=lambda r: (r[1], r[0])) == sorted(EPOCHS, key=lambda r: (r[1], r[0]))
    assert card(place / "out")["checkpoint"] == "train/model_epoch_002.pth"
    messages = [
        json.loads(line)["message"] for line in (place / "out" / "train" / "status.json").read_text().splitlines()
    ]
    assert sum(m.startswith("Resuming training from checkpoint: ") for m in messages) == 1
    assert left_over(place, KNOWN) == ["out"]


def test_going_on_with_another_spec_is_told(place: Path) -> None:
    words = [f"--trained={place / 'out'}", f"--state={place / 'state'}"]
    process = started(place, "train", *words, FAKE_TAO_EPOCH_S="0.8")
    wait_for((place / "state" / "state.json").is_file)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    again = started(place, "train", *words, f"--spec_overrides={SMALL} train.optim.lr=0.002")
    _, err = again.communicate(timeout=20)
    assert (again.returncode, err) == (
        0,
        "warning: state: the earlier start had another spec; this one takes its own\n",
    )


def test_a_stopped_training_leaves_no_process(place: Path) -> None:
    process = started(place, "train", f"--trained={place / 'out'}", FAKE_TAO_EPOCH_S="5")
    wait_for(lambda: [line for line in command_lines() if b"work.py" in line and str(place).encode() in line])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    wait_for(lambda: not [line for line in command_lines() if b"work.py" in line and str(place).encode() in line])
    assert left_over(place, KNOWN) in (["out.log"], ["out.log", "out.state"])


@pytest.mark.parametrize(("spoil", "resumed"), [("last", 0), ("both", None)])
def test_a_checkpoint_cut_short_falls_back_to_the_one_before(
    place: Path, monkeypatch, capsys, spoil: str, resumed: int | None
) -> None:
    monkeypatch.setenv("FAKE_TAO_OOM", "2")
    assert step("train", place, trained=place / "out", state=place / "state") == 3
    kept = sorted((place / "state" / "train").glob("*.pth"))
    assert [p.name for p in kept] == ["model_epoch_000.pth", "model_epoch_001.pth"]
    for path in kept[-1:] if spoil == "last" else kept:
        path.write_bytes(path.read_bytes()[:700])
    monkeypatch.delenv("FAKE_TAO_OOM")
    capsys.readouterr()
    assert step("train", place, trained=place / "out", state=place / "state") == 0
    said = capsys.readouterr()
    assert ("resuming from model_epoch_000.pth" in said.out, "resuming" in said.out) == (resumed == 0, resumed == 0)
    assert said.err == ""
    assert card(place / "out")["epochs"] == 3
    figures = {(key, at): value for key, at, value in logged(place)}
    assert figures == {(key, at): value for key, at, value in EPOCHS}


def test_a_disk_that_is_full_at_a_checkpoint_leaves_the_one_before(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FAKE_TAO_DISK_FULL", "1")
    assert step("train", place, trained=place / "out") == 3
    assert "the disk is full; " in capsys.readouterr().err
    assert [p.name for p in (place / "out.state" / "train").glob("*.pth")] == ["model_epoch_000.pth"]
    monkeypatch.delenv("FAKE_TAO_DISK_FULL")
    assert step("train", place, trained=place / "out") == 0
    assert "resuming from model_epoch_000.pth" in capsys.readouterr().out
    assert left_over(place, KNOWN) == ["out"]


def test_a_training_of_another_network_does_not_go_on_from_this_state(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FAKE_TAO_OOM", "1")
    assert step("train", place, trained=place / "out", state=place / "state") == 3
    capsys.readouterr()
    before = bytes_below(place / "state")
    assert (
        step(
            "distill",
            place,
            checkpoint=next((place / "state").rglob("*.pth")),
            trained=place / "out",
            state=place / "state",
        )
        == 2
    )
    told = [
        "tao_distill: state='<d>/state': holds a run of classification_pyt train; name another folder for classification_pyt distill"
    ]
    assert plain(capsys.readouterr().err, place)[-1:] == told
    assert bytes_below(place / "state") == before


# --- several nodes ----------------------------------------------------------------------------------------------------


def test_a_node_that_is_not_the_first_writes_no_output_and_ends_well(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("NODE_RANK", "1")
    assert step("train", place, trained=place / "out") == 0
    assert plain(capsys.readouterr().err, place) == ["tao_train: node 0 of this job writes the outputs"]
    assert records(place / "metrics.jsonl", "status") == [{"kind": "status", "value": "FINISHED"}]
    monkeypatch.setenv("NODE_RANK", "0")
    assert step("train", place, trained=place / "out") == 0
    assert card(place / "out")["epochs"] == 3


# --- the log, the screen ----------------------------------------------------------------------------------------------


def test_the_log_that_an_error_names_is_there_and_holds_what_tao_printed(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FAKE_TAO_OOM", "1")
    assert step("train", place, trained=place / "deep" / "out") == 3
    first, *tail = capsys.readouterr().err.splitlines()
    log = Path(first.rpartition("; log: ")[2])
    assert log == place / "deep" / "out.log"
    assert "torch.OutOfMemoryError: CUDA out of memory." in log.read_text()
    assert tail == [f"  | {line}" for line in log.read_text().splitlines()[-20:]]
    monkeypatch.delenv("FAKE_TAO_OOM")
    assert step("train", place, trained=place / "deep" / "out") == 0
    assert [p.name for p in (place / "deep").iterdir()] == ["out"]


def test_the_log_on_a_file_has_no_progress_bars(place: Path, capsys) -> None:
    assert step("train", place, trained=place / "out") == 0
    said = capsys.readouterr().out
    assert "%|" not in said
    assert "\x1b" not in said
    assert "Experiment configuration" in said
    assert "%|" in (place / "out" / "log.txt").read_text()


def test_on_a_terminal_one_line_follows_the_training(place: Path) -> None:
    ours, theirs = pty.openpty()
    words = ["--network=classification_pyt", f"--dataset={place / 'data'}", f"--spec_overrides={SMALL}", "--device=cpu"]
    argv = [sys.executable, "-m", "runtime.tao.train", *words, f"--trained={place / 'out'}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_TAO_EPOCH_S": "0.7"}
    process = subprocess.Popen(argv, env=env, stdout=theirs, stderr=subprocess.STDOUT)
    os.close(theirs)
    shown = b""
    while True:
        try:
            read = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not read:
            break
        shown += read
    os.close(ours)
    assert process.wait(20) == 0, shown.decode()
    text = shown.decode()
    assert "Experiment configuration" not in text
    assert "] epoch 1/3  val_acc_1 0.5  train_loss 1  left 0:00:02" in text
    assert "] epoch 3/3  val_acc_1 0.75  train_loss 0.3333" in text
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if "epoch 3/3" in line]
    assert len(lines) == 1  # rewritten in place


def test_ten_thousand_status_lines_a_second_are_followed_without_a_duplicate(place: Path, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_TAO_FLOOD", "5000")
    begin = time.monotonic()
    assert step("train", place, trained=place / "out") == 0
    assert time.monotonic() - begin < 15
    assert logged(place) == EPOCHS


def test_a_status_line_torn_for_good_costs_no_more_than_itself(place: Path, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_TAO_TORN", "1")
    assert step("train", place, trained=place / "out") == 0
    assert logged(place) == EPOCHS  # the figure stands on the next line, too
