"""RT-DETR and SegFormer on scenes of real digits: train, evaluate, predict, export, and the export answers.

Two epochs teach RT-DETR nothing: what is shown is that every action runs. SegFormer does learn. What both predict is what
triton_infer_images finds with their exports on a real tritonserver.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from runtime.execute import main
from runtime.triton.infer_images import infer_images
from tests.fakes.triton_server import packaged, server
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
    seen = f"--spec_overrides={keys} inference.conf_threshold=0.1"
    step.run("inference", *common, model[0], seen, f"predictions={folder / 'predictions'}")
    assert (folder / "predictions" / "preview.png").is_file()
    export = f"--spec_overrides={keys} export.input_width=128 export.input_height=128 export.on_cpu=true"
    step.run("export", *common, model[0], export, f"exported={folder / 'exported'}")
    shapes = _onnx_runs(folder / "exported" / "export" / "model.onnx", 128)
    assert sorted(s[-1] for s in shapes) == [3, 4]  # scores of a class each, and boxes
    words = (f"labels={data / 'classmap.txt'}", "threshold=0.1")
    served = _served(folder / "served", folder / "exported", data / "val", *words)
    theirs = folder / "predictions" / "inference" / "labels"
    for path in sorted(theirs.glob("*.txt")):
        _require_same_boxes(path.read_text(), (served / "kitti" / path.name).read_text())
    assert len(list(theirs.glob("*.txt"))) == 8


def _served(folder: Path, exported: Path, images: Path, *words: str) -> Path:
    """What triton_infer_images makes of an export on a real tritonserver, told nothing that TAO has written down."""
    folder.mkdir()
    repository, _ = packaged(folder, exported, "model_name=network")
    with server(repository, "network") as running:
        where = [f"images={images}", f"url={running.grpc}", "protocol=grpc", "model_name=network"]
        assert main(infer_images, [*where, *words, f"predictions={folder / 'out'}"]) == 0
    return folder / "out"


def _require_same_boxes(theirs: str, ours: str) -> None:
    """TAO writes three digits after the point, we two of a box."""
    rows = [
        sorted((float(line.split()[15]), line.split()[0], *map(float, line.split()[4:8])) for line in text.splitlines())
        for text in (theirs, ours)
    ]
    rows[1] = [row for row in rows[1] if row[0] > rows[0][0][0] - 5e-4]  # at the threshold either may round
    assert len(rows[0]) > 10
    assert abs(len(rows[0]) - len(rows[1])) <= 2
    boxes = {name: np.array([row[2:] for row in rows[1] if row[1] == name]) for name in {row[1] for row in rows[1]}}
    for score, name, *corners in rows[0]:
        near = np.abs(boxes[name] - corners).max(axis=1) < 0.02
        scores = [row[0] for row, close in zip([r for r in rows[1] if r[1] == name], near, strict=True) if close]
        assert min(abs(score - one) for one in scores) < 1e-3, (name, corners)


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
    assert _onnx_runs(folder / "exported" / "export" / "model.onnx", 64)[0] == (1, 2, 16, 16)
    served = _served(folder / "served", folder / "exported", data / "images" / "test")
    for path in sorted((folder / "predictions" / "inference").glob("*.png")):
        with Image.open(path) as theirs, Image.open(served / "masks" / path.name) as ours:
            wide = theirs.convert("L").resize(ours.size, Image.Resampling.NEAREST)
            assert np.array_equal(np.asarray(wide) > 127, np.asarray(ours) > 0), path.name
