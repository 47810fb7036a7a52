"""OCRNet on numbers of real handwritten digits: train, prune, retrain, and what comes after; half of each layer goes.

A few steps teach it nothing to show off: what is shown is that every action runs, that the loss falls, and that the
pruned network is the one that is trained again, measured and exported.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from tests.tao import scenes
from tests.tao.conftest import Step

SMALL = "model.feature_channel=64 model.hidden_size=64 dataset.max_label_length=3 dataset.workers=0"
PRUNE = "prune.prune_setting.amount=0.5 prune.prune_setting.granularity=2"


def test_ocrnet_is_pruned_trained_again_and_exported(step: Step) -> None:
    folder, data = step.folder, step.folder / "data"
    scenes.numbers(data, "train", 64, 0)
    scenes.numbers(data, "test", 16, 1)
    common = ("network=ocrnet", f"dataset={data}")
    epochs = f"--spec_overrides={SMALL} train.num_epochs=2"

    step.run("train", *common, epochs, f"trained={folder / 'trained'}")
    losses = [value for _, value in step.logged("train_loss")]
    assert len(losses) == 2
    assert losses[1] < losses[0] / 2

    model = f"checkpoint={folder / 'trained'}"
    step.run("prune", *common, f"--spec_overrides={SMALL} {PRUNE}", model, f"pruned={folder / 'pruned'}")
    said = re.search(r"Params: (\d+) => (\d+)", (folder / "pruned" / "log.txt").read_text())
    assert said
    before, after = map(int, said.groups())
    assert after < before / 3
    file = folder / "pruned" / "prune" / "pruned.pth"
    assert file.stat().st_size < (folder / "trained" / "train" / "best_accuracy.pth").stat().st_size / 3

    step.metrics.unlink()
    step.run("retrain", *common, epochs, f"checkpoint={folder / 'pruned'}", f"trained={folder / 'retrained'}")
    assert [epoch for epoch, _ in step.logged("train_loss")] == [0, 1]
    assert f"pruned_graph_path: {file}" in (folder / "retrained" / "spec.yaml").read_text()
    assert json.loads((folder / "retrained" / "model.json").read_text())["action"] == "retrain"

    model = f"checkpoint={folder / 'retrained'}"
    step.run("evaluate", *common, f"--spec_overrides={SMALL}", model, f"report={folder / 'report'}")
    assert 0 <= json.loads((folder / "report" / "metrics.json").read_text())["test_acc"] <= 1
    step.run("inference", *common, f"--spec_overrides={SMALL}", model, f"predictions={folder / 'predictions'}")
    table = (folder / "predictions" / "log.txt").read_text()  # TAO writes them nowhere else
    assert len(re.findall(r"^\| \S+/test/\d+\.png", table, re.MULTILINE)) == 16
    step.run("quantize", *common, f"--spec_overrides={SMALL}", model, f"quantized={folder / 'quantized'}")
    step.run("export", *common, f"--spec_overrides={SMALL}", model, f"exported={folder / 'exported'}")
    _is_pruned(folder / "exported" / "export" / "model.onnx", after)


def test_ocrnet_s_images_and_words_become_one_lmdb(step: Step) -> None:
    scenes.numbers(step.folder / "data", "train", 8, 0)
    scenes.numbers(step.folder / "data", "test", 2, 1)
    converted = step.folder / "converted"
    step.run("dataset_convert", "network=ocrnet", f"dataset={step.folder / 'data'}", f"converted={converted}")
    assert "Created dataset with 8 samples" in (converted / "log.txt").read_text()
    assert b"label-000000008" in (converted / "dataset_convert" / "data.mdb").read_bytes()


def _is_pruned(path: Path, parameters: int) -> None:
    """The export holds the pruned weights, and reads an image: a character's index and a score, place by place."""
    import onnx
    import onnxruntime

    weights = {w.name: tuple(w.dims) for w in onnx.load(str(path)).graph.initializer}
    assert sum(int(np.prod(shape)) for shape in weights.values() if len(shape) > 1) < parameters
    assert {(32, 4, 3, 3), (32, 16, 3, 3)} <= set(weights.values())  # 32 channels of 64; their input, too
    assert (64, 64, 3, 3) not in weights.values()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: np.zeros((1, 1, 32, 100), np.float32)}
    places, scores = session.run(None, feeds)
    assert places.shape == scores.shape
    assert places.shape[1] > 3
    assert set(np.unique(places)) <= set(range(11))  # ten digits, and none
