"""RT-DETR and SegFormer on scenes of real digits: train, evaluate, predict, export, and the export answers.

Two epochs teach RT-DETR nothing: what is shown is that every action runs. SegFormer does learn.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.tao import scenes
from tests.tao.conftest import Step


def _onnx_runs(path: Path, side: int) -> list[tuple[int, ...]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {i.name: np.zeros((1, 3, side, side), np.float32) for i in session.get_inputs()}
    return [answer.shape for answer in session.run(None, feeds)]


def test_rtdetr_is_trained_evaluated_and_exported(step: Step) -> None:
    folder, data = step.folder, step.folder / "data"
    for split, count, seed in (("train", 16, 0), ("val", 8, 100)):
        scenes.coco(data, split, count, seed)
    size = "dataset.augmentation.train_spatial_size=[128,128] dataset.augmentation.eval_spatial_size=[128,128]"
    keys = f"{size} dataset.augmentation.multi_scales=[128] dataset.num_classes=3 dataset.workers=0 model.backbone=resnet_18"
    common = ("network=rtdetr", f"dataset={data}")
    train = f"--spec_overrides={keys} train.num_epochs=2 train.validation_interval=1 train.checkpoint_interval=1"
    step.run("train", *common, train, f"trained={folder / 'trained'}")
    assert [s for s, _ in step.logged("train_loss")] == [0, 1]
    assert [s for s, _ in step.logged("val_mAP50")] == [0, 1]  # TAO writes it as text
    model = (f"checkpoint={folder / 'trained'}", f"--spec_overrides={keys}")
    step.run("evaluate", *common, *model, f"report={folder / 'report'}")
    assert any("mAP" in key for key in json.loads((folder / "report" / "metrics.json").read_text()))
    step.run("inference", *common, *model, f"predictions={folder / 'predictions'}")
    assert (folder / "predictions" / "preview.png").is_file()
    export = f"--spec_overrides={keys} export.input_width=128 export.input_height=128 export.on_cpu=true"
    step.run("export", *common, model[0], export, f"exported={folder / 'exported'}")
    shapes = _onnx_runs(folder / "exported" / "export" / "model.onnx", 128)
    assert sorted(s[-1] for s in shapes) == [3, 4]  # scores of a class each, and boxes


def test_segformer_learns_and_is_exported(step: Step) -> None:
    folder, data = step.folder, step.folder / "data"
    for split, count, seed in (("train", 32, 0), ("val", 8, 100), ("test", 8, 200)):
        scenes.masks(data, split, count, seed)
    keys = "dataset.segment.img_size=64 dataset.segment.workers=0 dataset.segment.batch_size=8"
    common = ("network=segformer", f"dataset={data}")
    train = f"--spec_overrides={keys} train.num_epochs=5"
    step.run("train", *common, train, f"trained={folder / 'trained'}")
    overlap = step.logged("val_miou")
    assert [s for s, _ in overlap] == [0, 1, 2, 3, 4]
    assert overlap[-1][1] > 0.5
    model = (f"checkpoint={folder / 'trained'}", f"--spec_overrides={keys}")
    step.run("evaluate", *common, *model, f"report={folder / 'report'}")
    step.run("inference", *common, *model, f"predictions={folder / 'predictions'}")
    assert (folder / "predictions" / "preview.png").is_file()
    export = f"--spec_overrides={keys} export.input_width=64 export.input_height=64 export.on_cpu=true"
    step.run("export", *common, model[0], export, f"exported={folder / 'exported'}")
    assert _onnx_runs(folder / "exported" / "export" / "model.onnx", 64)[0][:2] == (1, 2)
