"""The static part of triton_verify: each disagreement between a repository and its model, without a server."""

import contextlib
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import BadInput
from runtime.execute import main
from runtime.triton import model_config
from runtime.triton.check import check_repository
from runtime.triton.package import package
from runtime.triton.verify import verify
from tests.fakes import triton_faults, triton_file_faults
from tests.fakes import triton_models as models
from tests.fakes.triton_broken import Corpus

FAULTS = (*triton_faults.ROWS, *triton_file_faults.ROWS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return Corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def repository(tmp_path):
    """A repository with the model `fare`: a random forest for the fil backend."""
    return made(tmp_path, "xgboost")


def made(tmp_path, learner, *words):
    models.model_folder(tmp_path / "m", learner)
    targets = [f"repository={tmp_path / 'repo'}", f"golden={tmp_path / 'golden'}"]
    assert main(package, [f"model={tmp_path / 'm'}", *targets, "model_name=fare", "target=ngc", *words]) == 0
    return tmp_path / "repo"


def edited(repository, change):
    path = repository / "fare" / "config.pbtxt"
    config = model_config.read(path)
    change(config)
    path.write_text(model_config.to_text(config))


def findings(repository, name=None):
    with pytest.raises(BadInput) as caught:
        check_repository(repository, name)
    return [problem.line() for problem in caught.value.problems]


@pytest.mark.parametrize("learner", ["xgboost", "random_forest", "linear", "classifier"])
@pytest.mark.parametrize("backend", ["native", "python"])
def test_what_package_writes_has_no_findings(tmp_path, learner, backend):
    served = check_repository(made(tmp_path, learner, f"backend={backend}"))
    assert (served.name, served.versions) == ("fare", (1,))


EDITS = [
    (
        lambda c: c.input[0].dims.__setitem__(0, 5),
        "gives input 'input__0' the dims [5], the model has [4]; write the model's dims",
    ),
    (lambda c: c.output[0].dims.append(2), "gives output 'output__0' the dims [1, 2], the model has [1]"),
    (lambda c: setattr(c.input[0], "data_type", 12), "gives input 'input__0' the type FP64, the model has FP32"),
    (
        lambda c: setattr(c.input[0], "name", "input_0"),
        "has an input 'input_0' that the model lacks; did you mean 'input__0'?",
    ),
    (lambda c: setattr(c.output[0], "name", "price"), "has an output 'price' that the model lacks; known: output__0"),
    (lambda c: setattr(c, "name", "taxi"), "names the model 'taxi', its folder is 'fare'; make the two the same"),
    (lambda c: setattr(c, "backend", ""), "names no backend; write backend: one of fil, onnxruntime, openvino, python"),
    (lambda c: setattr(c, "backend", "onnxruntime"), "lacks model.onnx, which the onnxruntime backend reads"),
    (lambda c: c.dynamic_batching.preferred_batch_size.append(4096), "prefers batches of 4096, max_batch_size is 1024"),
    (lambda c: setattr(c, "max_batch_size", -1), "has max_batch_size -1"),
    (lambda c: c.input[0].dims.__setitem__(0, 0), "gives input 'input__0' the dims [0]; write positive dims"),
    (
        lambda c: setattr(c.output[0], "label_filename", "no.txt"),
        "is the labels file of 'output__0' and does not exist",
    ),
    (
        lambda c: setattr(c.model_warmup[0].inputs["input__0"], "input_data_file", "no"),
        "is the warm-up of 'input__0' and does not exist",
    ),
    (lambda c: c.model_warmup[0].inputs["input__0"].dims.append(2), "holds 16 bytes, FP32 [4, 2] takes 32"),
    (
        lambda c: c.model_warmup[0].inputs["input__0"].dims.append(2),
        "warms up 'input__0' with the dims [4, 2], the config has [4]",
    ),
]


@pytest.mark.parametrize(("change", "said"), EDITS)
def test_each_disagreement_is_found(repository, change, said):
    edited(repository, change)
    assert any(said in line for line in findings(repository)), findings(repository)


def test_all_findings_come_at_once_as_one_line_each(tmp_path, repository, capsys):
    edited(
        repository,
        lambda c: (setattr(c, "name", "taxi"), c.input[0].dims.__setitem__(0, 5), c.output[0].dims.append(2)),
    )
    assert main(verify, [f"repository={repository}", f"report={tmp_path / 'report'}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4  # name, input, output, and that the two warm-ups no longer fit the input
    assert all(line.startswith("triton_verify: repository='") for line in lines)
    assert not (tmp_path / "report").exists()


def test_files_that_are_missing_or_broken_are_found(tmp_path, repository):
    model = repository / "fare" / "1" / "checkpoint.tl"
    whole = model.read_bytes()
    model.write_bytes(whole[:500])
    assert "cannot be read (" in findings(repository)[0]
    model.unlink()
    assert "lacks checkpoint.tl, which the fil backend reads" in findings(repository)[0]
    model.parent.rename(repository / "fare" / "v1")
    assert "has no version folder (found: v1); name it by a whole number" in findings(repository)[0]
    (repository / "fare" / "config.pbtxt").write_text("max_batch_size: eight")
    assert (
        "is no model configuration: 1:17 : 'max_batch_size: eight': Couldn't parse integer: eight"
        in findings(repository)[0]
    )
    (repository / "fare" / "config.pbtxt").unlink()
    assert "has no config.pbtxt; write it with triton_package" in findings(repository)[0]


def test_a_truncated_onnx_model_is_found(tmp_path):
    repository = made(tmp_path, "linear")
    model = repository / "fare" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:100])
    assert "cannot be read (" in findings(repository)[0]


def test_labels_that_do_not_match_the_output_are_found(tmp_path):
    repository = made(tmp_path, "classifier")
    (repository / "fare" / "probabilities_labels.txt").write_text("short\nlong\nother\n")
    assert findings(repository) == [
        f"repository='{repository}/fare/probabilities_labels.txt': has 3 labels, 'probabilities' has 2 values; write one label for each value"
    ]


def test_the_folder_of_one_model_and_a_folder_of_many_say_what_to_do(tmp_path, repository):
    assert "is the folder of one model, not a repository; name its parent" in findings(repository / "fare")[0]
    shutil.copytree(repository / "fare", repository / "taxi")
    path = repository / "taxi" / "config.pbtxt"
    assert findings(repository) == [
        f"repository='{path}': names the model 'fare', its folder is 'taxi'; make the two the same"
    ]
    path.write_text(path.read_text().replace('name: "fare"', 'name: "taxi"'))
    assert findings(repository) == [
        f"repository='{repository}': holds 2 models: fare, taxi; say which: model_name=NAME"
    ]
    assert findings(repository, "fair") == [
        "model_name='fair': is not in the repository; did you mean 'fare'? known: fare, taxi"
    ]
    assert check_repository(repository, "fare").name == "fare"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme").write_text("x")
    assert "holds no model folder" in findings(tmp_path / "empty")[0]


def test_all_models_are_checked_and_the_ensemble_is_the_one_to_verify(tmp_path):
    repository = Corpus(tmp_path).good("ensemble")
    served = check_repository(repository)
    assert (served.name, served.backend, served.backends) == ("both", "ensemble", ["python"])
    assert [member.name for member in served.members] == ["scale", "fare"]
    (repository / "scale" / "1" / "model.py").write_text("class Scale: pass\n")
    (repository / "fare" / "1" / "model.onnx").write_bytes(b"")
    assert len(findings(repository)) == 2


def test_with_a_name_only_that_model_and_those_that_it_calls_are_checked(tmp_path):
    repository = Corpus(tmp_path).good("ensemble")
    (repository / "scale" / "1" / "model.py").unlink()
    assert check_repository(repository, "fare").backends == ["python"]
    assert len(findings(repository, "scale")) == len(findings(repository, "both")) == 1


def test_several_models_without_an_ensemble_want_a_name_once_all_of_them_are_good(tmp_path):
    repository = Corpus(tmp_path).good("ensemble")
    shutil.rmtree(repository / "both")
    assert findings(repository) == [
        f"repository='{repository}': holds 2 models: fare, scale; say which: model_name=NAME"
    ]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(FAULTS), min_size=2, max_size=3), st.randoms(use_true_random=False))
def test_no_mixture_of_faults_and_no_garbage_makes_the_check_itself_fail(corpus, faults, random):
    with tempfile.TemporaryDirectory() as folder:
        repository = corpus.broken(faults[0], Path(folder) / "repo")
        for fault in faults[1:]:
            with contextlib.suppress(Exception):  # what it would break may be gone
                fault.broken(repository)
        path = random.choice([*sorted(p for p in repository.rglob("*") if p.is_file() and p.stat().st_size)])
        data = bytearray(path.read_bytes())
        data[random.randrange(len(data))] = random.randrange(256)
        path.write_bytes(bytes(data))
        with contextlib.suppress(BadInput), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # onnx warns of keys that it does not know
            check_repository(repository)
