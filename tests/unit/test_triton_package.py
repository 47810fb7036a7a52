"""triton_package: from each kind of model folder to a repository, and what it refuses."""

import hashlib
import json

import numpy as np
import pytest

from runtime.execute import main
from runtime.triton import kind_onnx, model_config
from runtime.triton.model_config import Signature, Tensor
from runtime.triton.package import package
from runtime.triton.repository import made_up_golden, read_golden
from tests.fakes import triton_models as models


def run(tmp_path, model, *words):
    """Exit status of the component on `model`; outputs go to `repo` and `golden`."""
    targets = [f"repository={tmp_path / 'repo'}", f"golden={tmp_path / 'golden'}"]
    return main(package, [f"model={model}", *targets, "target=ngc", *words])


def config_of(tmp_path, name="model"):
    return model_config.read(tmp_path / "repo" / name / "config.pbtxt")


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("learner", "backend", "chosen", "expected"),
    [
        ("xgboost", "native", "fil", ["1/checkpoint.tl"]),
        ("random_forest", "native", "fil", ["1/checkpoint.tl"]),
        ("linear", "native", "onnxruntime", ["1/model.onnx"]),
        ("classifier", "native", "onnxruntime", ["1/model.onnx", "probabilities_labels.txt"]),
        ("xgboost", "python", "python", ["1/model.onnx", "1/model.py"]),
        ("random_forest", "python", "python", ["1/model.onnx", "1/model.py"]),
        ("linear", "python", "python", ["1/model.onnx", "1/model.py"]),
        ("classifier", "python", "python", ["1/model.onnx", "1/model.py", "probabilities_labels.txt"]),
    ],
)
def test_each_learner_is_laid_out_for_each_backend(tmp_path, learner, backend, chosen, expected):
    folder = models.model_folder(tmp_path / "m", learner)
    assert run(tmp_path, folder, f"backend={backend}", "model_name=fare") == 0
    assert files(tmp_path / "repo" / "fare") == sorted(
        [*expected, "1/provenance.json", "config.pbtxt", "warmup/input__0.bin"]
    )
    config = config_of(tmp_path, "fare")
    assert (config.backend, config.name, config.max_batch_size) == (chosen, "fare", 1024)
    assert json.loads(model_config.parameter(config, "feature_names")) == list(models.FEATURES)


def test_made_up_rows_are_fewer_where_one_is_as_large_as_an_image():
    image, row = Tensor("image", "FP32", (3, 384, 1248)), Tensor("row", "FP32", (20,))
    for tensor, rows in ((image, 2), (row, 256)):
        assert made_up_golden(Signature((tensor,), (), True)).rows == rows


def test_golden_rows_are_the_sample_and_the_models_own_answers(tmp_path):
    import xgboost

    folder = models.model_folder(tmp_path / "m", "xgboost")
    assert run(tmp_path, folder) == 0
    golden = read_golden(tmp_path / "golden")
    want = xgboost.Booster(model_file=folder / "model.ubj").inplace_predict(
        models.rows(64, seed=1), validate_features=False
    )
    assert (golden.source, golden.rows) == ("sample", 64)
    np.testing.assert_array_equal(golden.outputs["output__0"][:, 0], want)


def test_the_same_model_gives_the_same_bytes_and_is_left_as_it_was(tmp_path):
    folder = models.model_folder(tmp_path / "m", "random_forest")

    def digest(root):
        return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in files(root)}

    before = digest(folder)
    seen = []
    for part in ("a", "b"):
        assert run(tmp_path / part, folder, "backend=python") == 0
        seen.append((digest(tmp_path / part / "repo"), digest(tmp_path / part / "golden")))
    assert seen[0] == seen[1]
    assert digest(folder) == before


def test_a_foreign_onnx_model_is_served_as_it_is_with_dims_from_its_graph(tmp_path, capsys):
    (tmp_path / "m").mkdir()
    path = models.onnx_model(tmp_path / "m")
    assert run(tmp_path, tmp_path / "m", "model_version=7", "max_batch_size=32") == 0
    config = config_of(tmp_path)
    assert model_config.signature_of(config).inputs == (model_config.Tensor("x", "FP32", (4,)),)
    assert model_config.signature_of(config).outputs == (model_config.Tensor("total", "FP32", ()),)
    assert config.max_batch_size == 32
    assert (tmp_path / "repo" / "model" / "7" / "model.onnx").read_bytes() == path.read_bytes()
    assert "no sample.parquet: 256 made-up golden rows and no warm-up" in capsys.readouterr().out


def test_an_onnx_model_is_packaged_without_loading_it_where_that_is_asked_for(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "m"
    folder.mkdir()
    models.onnx_model(folder)
    monkeypatch.setattr(kind_onnx, "onnx_session", None)
    assert run(tmp_path, folder, "proof=none") == 0
    assert "proof=none: nothing was asked of this model; no golden rows and no warm-up" in capsys.readouterr().out
    assert files(tmp_path / "repo" / "model") == ["1/model.onnx", "1/provenance.json", "config.pbtxt"]
    golden = read_golden(tmp_path / "golden")
    assert (golden.rows, golden.source) == (0, "none")
    made = json.loads((tmp_path / "repo" / "model" / "1" / "provenance.json").read_text())
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert made["source"]["sha256"] == made["files"]["model.onnx"] == digest


def test_what_is_converted_has_to_be_loaded(tmp_path, capsys):
    assert run(tmp_path, models.model_folder(tmp_path / "m", "xgboost"), "proof=none") == 2
    assert (
        "proof='none': is for ONNX files, and model.ubj is of the kind xgboost; leave it out" in capsys.readouterr().err
    )


def test_an_onnx_model_with_weights_outside_itself_keeps_them(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    (tmp_path / "m").mkdir()
    weight = numpy_helper.from_array(np.ones((4, 1), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])], [weight],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m" / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert run(tmp_path, tmp_path / "m") == 0
    assert files(tmp_path / "repo" / "model") == ["1/model.onnx", "1/provenance.json", "1/w.bin", "config.pbtxt"]


def test_a_fixed_first_dimension_means_no_batches(tmp_path):
    (tmp_path / "m").mkdir()
    models.onnx_model(tmp_path / "m", batch=2)
    assert run(tmp_path, tmp_path / "m") == 0
    config = config_of(tmp_path)
    assert (config.max_batch_size, list(config.input[0].dims)) == (0, [2, 4])


def test_an_xgboost_classifier_gives_labels_and_probabilities(tmp_path):
    (tmp_path / "m").mkdir()
    models.xgboost_model(tmp_path / "m", name="model.json", objective="multi:softprob", classes=3)
    models.add_sample(tmp_path / "m")
    assert run(tmp_path, tmp_path / "m") == 0
    config = config_of(tmp_path)
    assert [(o.name, list(o.dims)) for o in config.output] == [("label", [1]), ("probabilities", [3])]
    assert config.backend == "onnxruntime"
    assert (tmp_path / "repo" / "model" / "probabilities_labels.txt").read_text() == "0\n1\n2\n"


def test_a_pickle_is_opened_only_when_the_user_says_so(tmp_path, capsys):
    (tmp_path / "m").mkdir()
    models.sklearn_model(tmp_path / "m", "plain_linear", name="model.pkl")
    assert run(tmp_path, tmp_path / "m") == 2
    assert (
        "is a pickle, which runs whatever code it holds when it is opened; save the model as .skops, or say trust_pickle=true"
        in capsys.readouterr().err
    )
    assert run(tmp_path, tmp_path / "m", "trust_pickle=true") == 0


def test_values_that_the_model_refuses_are_refused_by_the_server_too(tmp_path):
    for learner, refused in (("xgboost", "inf"), ("linear", "inf"), ("plain_linear", "nan,inf")):
        (tmp_path / learner).mkdir()
        if learner == "xgboost":
            models.xgboost_model(tmp_path / learner)
        else:
            models.sklearn_model(tmp_path / learner, learner)
        assert run(tmp_path / learner / "out", tmp_path / learner, "backend=python") == 0
        assert model_config.parameter(config_of(tmp_path / learner / "out"), "refuse") == refused


def unknown(folder):
    (folder / "model.bin").write_bytes(b"x")
    (folder / "features.json").write_text('{"features": [], "learner": "xgboost"}')


def truncated(folder):
    path = models.onnx_model(folder)
    path.write_bytes(path.read_bytes()[:60])


def truncated_xgboost(folder):
    models.xgboost_model(folder)
    (folder / "model.ubj").write_bytes((folder / "model.ubj").read_bytes()[:300])


def two(folder):
    models.onnx_model(folder)
    models.onnx_model(folder, name="other.onnx")


def other_features(folder):
    models.xgboost_model(folder)
    models.add_sample(folder, features=("a", "b", "c", "d"))


def few_features(folder):
    models.xgboost_model(folder)
    (folder / "features.json").write_text('{"features": [{"name": "a"}]}')


def broken_features(folder):
    models.xgboost_model(folder)
    (folder / "features.json").write_text("{")


def narrow_sample(folder):
    models.xgboost_model(folder)
    (folder / "sample.parquet").write_bytes(b"PAR1")


def not_fitted(folder):
    import skops.io
    from sklearn.linear_model import LinearRegression

    skops.io.dump(LinearRegression(), folder / "model.skops")


def sequence(folder):
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["s"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, ["n", 4])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")


def fixed(folder):
    models.onnx_model(folder, batch=2)


BAD = [
    (
        unknown,
        [],
        "holds no model that is known; found features.json, model.bin; known: onnx (.onnx); xgboost (.ubj .json)",
    ),
    (lambda folder: None, [], "is an empty folder; name a folder that holds the data"),
    (truncated, [], "cannot be read ("),
    (truncated_xgboost, [], "cannot be read ("),
    (two, [], "holds several models: model.onnx, other.onnx; name one: file=model.onnx"),
    (two, ["file=third.onnx"], "has no model file 'third.onnx'; found model.onnx, other.onnx"),
    (other_features, [], "was trained on other feature names, or in another order, than features.json says"),
    (few_features, [], "takes 4 features, features.json names 1"),
    (broken_features, [], "is not a features file ("),
    (narrow_sample, [], "cannot be read ("),
    (not_fitted, [], "holds a LinearRegression, not a fitted estimator"),
    (sequence, [], "has values that Triton cannot pass: 's' is a sequence_type"),
    (
        fixed,
        ["max_batch_size=8"],
        "max_batch_size=8: the model takes no batches: its first dimension is fixed (x [2, 4])",
    ),
    (fixed, ["backend=python", "device=gpu"], "device='gpu': the python backend runs onnxruntime on the CPU"),
    (fixed, ["model_name=a/b"], "model_name='a/b': is no name for a folder"),
    (fixed, ["bakend=python"], "bakend='python': is not a port; did you mean 'backend'?"),
    (fixed, ["model_version=one"], "model_version='one': is not a whole number"),
]


@pytest.mark.parametrize(("make", "words", "said"), BAD)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, make, words, said):
    (tmp_path / "m").mkdir()
    make(tmp_path / "m")
    assert run(tmp_path, tmp_path / "m", *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("triton_package: ")
    assert said in lines[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


def test_two_wrong_things_are_told_at_once(tmp_path, capsys):
    (tmp_path / "m").mkdir()
    models.onnx_model(tmp_path / "m", batch=2)
    assert run(tmp_path, tmp_path / "m", "max_batch_size=8", "backend=python", "device=gpu") == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_conversion_that_changes_answers_is_refused(tmp_path):
    from dataclasses import replace

    from runtime.errors import ToolFailed
    from runtime.triton.package import Ports, make_plan
    from runtime.triton.repository import check_conversion, make_golden, write_model
    from runtime.triton.source import open_model, sample_rows

    folder = models.model_folder(tmp_path / "m", "xgboost")
    model = open_model(folder)
    golden = make_golden(model, sample_rows(folder, model))
    plan = make_plan(Ports(model=folder, repository=tmp_path / "r", golden=tmp_path / "g"), model, "python")
    written, _ = write_model(tmp_path / "r", model, plan, golden)
    assert check_conversion(model, written, plan, golden) < 1e-5
    changed = replace(golden, outputs={name: array + 1 for name, array in golden.outputs.items()})
    with pytest.raises(
        ToolFailed, match="changed its answers: output 'output__0' differs by up to 1 on the golden rows"
    ):
        check_conversion(model, written, plan, changed)
