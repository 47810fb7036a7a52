"""TensorRT engines: where each was built is known, and one for another GPU is refused or its ONNX model taken.

No engine was built for this: what is packaged is the first bytes of one, which nothing here can run.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from runtime.execute import main
from runtime.triton import engine_card, model_config, provenance
from runtime.triton.check_model import PLAN_HEADER, PLAN_TAG
from runtime.triton.engine_card import Built, capability, mismatch, repository_problems
from runtime.triton.package import package
from runtime.triton.repository import read_golden
from tests.fakes import nvml
from tests.fakes import triton_models as models

A100 = {"compute_capability": "8.0", "tensorrt": "10.3.0", "gpu": "NVIDIA A100", "max_batch_size": 16}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An engine, the ONNX model that it is of, and its card."""
    made = tmp_path / "m"
    made.mkdir()
    models.onnx_model(made)
    (made / "model.plan").write_bytes(struct.pack("<I", PLAN_TAG) + bytes(PLAN_HEADER))
    (made / "engine.json").write_text(json.dumps(A100))
    return made


def run(folder: Path, *words: str) -> tuple[int, Path]:
    out = folder.parent
    ports = [f"model={folder}", f"repository={out / 'repo'}", f"golden={out / 'golden'}", "target=ngc", *words]
    return main(package, ports), out / "repo" / "model"


@pytest.mark.parametrize("gpu", ["8.0", "Standard_NC24ads_A100_v4", None])
def test_an_engine_is_packaged_for_its_own_gpu_with_what_its_onnx_model_says(folder, gpu, capsys):
    status, model = run(folder, *([f"gpu={gpu}"] if gpu else []))
    assert status == 0, capsys.readouterr().err
    config = model_config.read(model / "config.pbtxt")
    assert (config.backend, config.max_batch_size, config.input[0].name) == ("tensorrt", 16, "x")
    assert (model / "1/model.plan").read_bytes() == (folder / "model.plan").read_bytes()
    assert provenance.read(model / "1")["engine"] == A100
    assert read_golden(folder.parent / "golden").rows > 0
    assert "compute capability 8.0 with TensorRT 10.3.0" in capsys.readouterr().out


@pytest.mark.parametrize("gpu", ["9.0", "Standard_NC4as_T4_v3"])
def test_for_another_gpu_its_onnx_model_is_packaged(folder, gpu, capsys):
    status, model = run(folder, f"gpu={gpu}")
    assert status == 0
    assert model_config.read(model / "config.pbtxt").backend == "onnxruntime"
    assert "model.onnx is packaged in its place" in capsys.readouterr().out
    assert not (model / "1/model.plan").exists()


def test_an_engine_that_was_named_is_refused_for_another_gpu(folder, capsys):
    assert run(folder, "gpu=9.0", "file=model.plan")[0] == 2
    err = capsys.readouterr().err
    assert (
        "is a TensorRT engine for compute capability 8.0 with TensorRT 10.3.0, and the GPU has compute capability 9.0"
        in err
    )
    assert "build it there (tao_gen_trt_engine, or trtexec in the same image)" in err


@pytest.mark.parametrize(
    ("change", "words", "told"),
    [
        (lambda f: (f / "engine.json").unlink(), [], "does not say where it was built: there is no engine.json"),
        (lambda f: (f / "model.onnx").unlink(), [], "0 ONNX models lie beside it"),
        (lambda f: (f / "engine.json").write_text('{"gpu": 1}'), [], "does not say where the engine was built"),
        (lambda f: (f / "engine.json").write_text('{"compute_capability": "A100"}'), [], "'A100' is no version"),
        (lambda f: (f / "model.plan").write_bytes(b""), [], "is empty"),
        (lambda f: (f / "model.plan").write_bytes(b"not an engine at all, but long enough" * 2), [],
         "does not begin as a TensorRT plan does"),
        (lambda f: (f / "engine.json").write_text('{"compute_capability": "8.0"}'), [],
         "max_batch_size=None: is not known of an engine; say what the engine's optimization profile allows"),
        (lambda f: None, ["gpu=A100"], "gpu='A100': is neither a compute capability nor a known VM size"),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_line(folder, capsys, change, words, told):
    change(folder)
    assert run(folder, *words)[0] == 2
    assert told in capsys.readouterr().err


def test_an_engine_runs_on_its_own_capability_and_release_only():
    built = Built("8.6", "10.3.0")
    assert mismatch(built, "8.6", "10.3.1") is None
    assert "the GPU has compute capability 8.9" in str(mismatch(built, "8.9"))
    assert "the server has TensorRT 10.4" in str(mismatch(built, "8.6", "10.4"))
    assert "there is no GPU" in str(mismatch(built, None))
    assert capability("standard_nc24ads_a100_v4") == "8.0"
    assert capability("Standard_D4s_v5") is None


def test_a_repository_is_refused_for_instances_with_another_gpu(folder):
    _, model = run(folder)
    assert repository_problems(model.parent, "8.0") == []
    (problem,) = repository_problems(model.parent, "7.5")
    assert "and the GPU has compute capability 7.5" in problem.line()


def test_a_card_is_written_where_there_is_a_gpu_and_only_there(tmp_path, monkeypatch):
    engine_card.write(tmp_path)
    assert not (tmp_path / "engine.json").exists()
    nvml.install(monkeypatch, ["GPU-0"])
    monkeypatch.setenv("TRT_VERSION", "10.14.1.48")
    engine_card.write(tmp_path)
    assert engine_card.read(tmp_path) == Built("9.0", "10.14.1.48", "NVIDIA H200")
