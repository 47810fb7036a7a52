"""classification_pyt on real digits: the whole life of a model, and a training that is killed and goes on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
from PIL import Image

from runtime.execute import main
from runtime.triton.infer_images import infer_images
from tests.fakes.triton_server import packaged, server
from tests.tao.conftest import IMAGES, SPEC, Step

COMMON = ("network=classification_pyt", f"dataset={IMAGES}", f"spec={SPEC}")


def test_a_model_is_trained_evaluated_quantized_and_exported(step: Step) -> None:
    folder, before = step.folder, SPEC.read_bytes()
    step.run("train", *COMMON, "--spec_overrides=train.num_epochs=3", f"trained={folder / 'trained'}")
    accuracy = step.logged("val_acc_1")
    assert [s for s, _ in accuracy] == [0, 1, 2]
    assert accuracy[-1][1] > 0.5  # of ten classes; by chance 0.1
    card = json.loads((folder / "trained" / "model.json").read_text())
    assert card["checkpoint"] == "train/model_epoch_002.pth"
    assert not (folder / "trained.state").exists()
    assert SPEC.read_bytes() == before

    model = f"checkpoint={folder / 'trained'}"
    step.run("evaluate", *COMMON, model, f"report={folder / 'report'}")
    figures = json.loads((folder / "report" / "metrics.json").read_text())
    assert abs(max(v for k, v in figures.items() if k.endswith("acc_1")) - accuracy[-1][1]) < 1e-6

    step.run("inference", *COMMON, model, f"predictions={folder / 'predictions'}")
    rows = [line.split(",") for line in (folder / "predictions" / "inference" / "result.csv").read_text().splitlines()]
    with Image.open(folder / "predictions" / "preview.png") as preview:
        assert preview.width > 240

    step.run("quantize", *COMMON, model, f"quantized={folder / 'quantized'}")
    step.run("export", *COMMON, model, f"exported={folder / 'exported'}")
    agree = _answers_like_tao(folder / "exported" / "export" / "model.onnx", rows[1:])
    assert agree > 0.97
    assert _served_like_tao(folder / "exported", rows[1:], folder / "served") < 1e-4


def _served_like_tao(exported: Path, rows: list[list[str]], folder: Path) -> float:
    """The largest difference of a score of TAO's own from that of its model on a tritonserver; the labels are the same."""
    repository, _ = packaged(folder, exported, "model_name=digits", "max_batch_size=64")
    images, labels = IMAGES / "test", IMAGES / "classes.txt"
    with server(repository, "digits") as running:
        words = [f"images={images}", f"url={running.grpc}", "protocol=grpc", "model_name=digits", f"labels={labels}"]
        assert main(infer_images, [*words, "task=classification", f"predictions={folder / 'out'}"]) == 0
    told = [json.loads(line) for line in (folder / "out" / "predictions.jsonl").read_text().splitlines()]
    served = {one["image"]: one["classes"][0] for one in told}
    theirs = {"/".join(Path(name).parts[-2:]): (label, float(score)) for name, label, score in rows}
    assert {name: best["name"] for name, best in served.items()} == {name: label for name, (label, _) in theirs.items()}
    return max(abs(best["score"] - theirs[name][1]) for name, best in served.items())


def _answers_like_tao(onnx: Path, rows: list[list[str]]) -> float:
    """Share of TAO's own predictions that the exported model gives as well."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    names = (IMAGES / "classes.txt").read_text().split()
    mean, spread = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    agree = 0
    for name, label, *_ in rows:
        pixels = (
            np.asarray(Image.open(name).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR), dtype=np.float32)
            / 255
        )
        batch = ((pixels - mean) / spread).transpose(2, 0, 1)[None].astype(np.float32)
        scores = session.run(None, {session.get_inputs()[0].name: batch})[0]
        agree += names[int(np.argmax(scores))] == label
    return agree / len(rows)


def test_a_training_that_is_stopped_goes_on_where_it_was(step: Step) -> None:
    calm = Step(step.folder / "calm")
    calm.folder.mkdir()
    words = (*COMMON, "--spec_overrides=train.num_epochs=4 model.backbone.type=resnet_18")
    calm.run("train", *words, f"trained={calm.folder / 'trained'}")

    trained, state = step.folder / "trained", step.folder / "state"
    process = step.start("train", *words, f"trained={trained}", f"state={state}")
    step.wait_for("train_loss", 1, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not trained.exists()
    assert list(state.rglob("*.pth"))

    out = step.run("train", *words, f"trained={trained}", f"state={state}")
    assert "resuming from model_epoch_00" in out
    undisturbed, resumed = calm.logged("val_acc_1"), step.logged("val_acc_1")
    assert [s for s, _ in resumed] == [0, 1, 2, 3] == [s for s, _ in undisturbed]
    assert resumed[:2] == undisturbed[:2]  # the same seed, the same bytes
    assert abs(resumed[-1][1] - undisturbed[-1][1]) < 0.08  # the order of the batches after the restart is another


def test_a_training_whose_node_dies_goes_on_where_it_was_and_its_key_stays_secret(step: Step) -> None:
    step.key = "sesame-7301"
    words = (
        *COMMON,
        "--spec_overrides=train.num_epochs=3 model.backbone.type=resnet_18",
        f"trained={step.folder / 'trained'}",
    )
    process = step.start("train", *words)
    step.wait_for("train_loss", 1, process)
    lines = [_command_line(folder) for folder in Path("/proc").glob("[0-9]*")]
    assert any("classification_pyt" in line for line in lines)
    assert not [line for line in lines if step.key in line]
    process.kill()
    process.communicate(timeout=60)
    out = step.run("train", *words)
    files = [path for path in step.folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path.name for path in files if step.key.encode() in path.read_bytes()] == []
    assert step.key not in out
    assert "resuming from model_epoch_00" in out
    assert [s for s, _ in step.logged("val_acc_1")] == [0, 1, 2]


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:  # it has ended
        return ""
