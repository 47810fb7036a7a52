"""What tao_export left beside a model goes into its package, and triton_infer_images takes it from there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.execute import main
from runtime.triton import model_config
from runtime.triton.package import package
from runtime.triton.postprocess import TASKS
from runtime.triton.prepare import PIXELS
from runtime.triton.tao_export import TASKS as NETWORKS
from runtime.triton.tao_export import parameters
from tests.fakes import triton_models as models

EXPERIMENT = """\
dataset:
  num_classes: 10
  img_size: 64
  augmentation:
    random_flip: {vflip_probability: 0.0}
    mean: [0.485, 0.456, 0.406]
    std: [0.229, 0.224, 0.225]
"""


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """As tao_export of classification_pyt 7.3 leaves it, around a small model."""
    folder = tmp_path / "exported"
    (folder / "export").mkdir(parents=True)
    models.onnx_model(folder / "export")
    card = {"action": "export", "checkpoint": "export/model.onnx", "network": "classification_pyt"}
    (folder / "model.json").write_text(json.dumps(card))
    (folder / "export" / "experiment.yaml").write_text(EXPERIMENT)
    return folder


def test_task_and_normalisation_are_those_of_the_training(exported):
    found = parameters(exported)
    assert found["task"] == "classification"
    imagenet = PIXELS["imagenet"]
    assert [float(v) for v in found["mean"].split(",")] == pytest.approx(imagenet.mean)
    assert [float(v) for v in found["scale"].split(",")] == pytest.approx(imagenet.scale)


@pytest.mark.parametrize(
    ("network", "key", "value"), [("rtdetr", "pixels", "unit"), ("segformer", "interpolation", "bicubic")]
)
def test_what_tao_does_and_writes_nowhere_is_known(exported, network, key, value):
    card = json.loads((exported / "model.json").read_text()) | {"network": network}
    (exported / "model.json").write_text(json.dumps(card))
    assert parameters(exported)[key] == value


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda f: (f / "model.json").unlink(), set()),
        (lambda f: (f / "model.json").write_text("[]"), set()),
        (lambda f: (f / "model.json").write_text('{"network": "ocrnet"}'), set()),
        (lambda f: (f / "export/experiment.yaml").unlink(), {"task"}),
        (lambda f: (f / "export/experiment.yaml").write_text("dataset: {mean: [1, 2], std: x}"), {"task"}),
        (lambda f: (f / "export/experiment.yaml").write_text("dataset: ["), {"task"}),
        (lambda f: (f / "export/experiment.yaml").write_text("dataset: {mean: [0, 0, 0], std: [0, 1, 1]}"), {"task"}),
        (lambda f: (f / "export/experiment.yaml").write_text("a: {mean: [0, 0, 0], std: [1, 1, 1]}"), {"task"}),
    ],
)  # fmt: skip
def test_what_is_not_told_is_left_out(exported, change, left):
    change(exported)
    assert set(parameters(exported)) == left


def test_every_task_that_a_network_has_is_one_of_the_postprocessors():
    assert len(NETWORKS) >= 15
    assert set(NETWORKS.values()) <= set(TASKS)
    known = {path.stem for path in (Path(__file__).parents[2] / "runtime/tao/conf/network").glob("*.yaml")}
    assert set(NETWORKS) <= known


def test_the_package_holds_it_with_the_labels(exported, tmp_path, capsys):
    labels = tmp_path / "classes.txt"
    labels.write_text("null\neins\n\n")
    words = [f"model={exported}", f"repository={tmp_path / 'repo'}", f"golden={tmp_path / 'golden'}", "target=ngc"]
    assert main(package, [*words, f"labels={labels}"]) == 0
    config = model_config.read(tmp_path / "repo/model/config.pbtxt")
    assert model_config.parameter(config, "task") == "classification"
    assert json.loads(model_config.parameter(config, "labels")) == ["null", "eins"]
    labels.write_text("\n")
    other = [words[0], f"repository={tmp_path / 'r'}", f"golden={tmp_path / 'g'}", f"labels={labels}", "target=ngc"]
    assert main(package, other) == 2
    assert "names no class; give a file with a name a line" in capsys.readouterr().err
