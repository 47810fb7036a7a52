"""triton_verify when it is not asked one thing at a time: mixed sizes at once, wrong requests, a reload; on a real server."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from runtime.execute import main
from runtime.triton.client import Endpoint
from runtime.triton.repository import Golden, read_golden, write_golden
from runtime.triton.under_load import Asked, findings, tolerance
from runtime.triton.verify import verify
from tests.fakes import triton_models as models
from tests.fakes.triton_server import packaged, server

# Answers right when asked alone; with several requests in one batch it gives each the first one's rows.
MIXED_UP = """
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(r, "x").as_numpy() for r in requests]
        first = inputs[0][:1].sum(axis=1, keepdims=True)
        sums = [np.ascontiguousarray(np.broadcast_to(first, (len(x), 1))) if len(inputs) > 1 else x.sum(axis=1, keepdims=True) for x in inputs]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", s)]) for s in sums]
"""
CONFIG = """
backend: "python"
max_batch_size: 64
input { name: "x" data_type: TYPE_FP32 dims: [ 3 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }
dynamic_batching { max_queue_delay_microseconds: 2000 }
"""


def run(repository, golden, tmp_path, *words):
    status = main(
        verify, [f"repository={repository}", f"golden={golden}", f"report={tmp_path / 'report'}", "measure_s=0", *words]
    )
    path = tmp_path / "report" / "report.json"
    return status, json.loads(path.read_text())["under_load"] if path.exists() else None


@pytest.mark.parametrize("learner", ["xgboost", "classifier"])
def test_a_good_model_stands_all_of_it_over_both_protocols(tmp_path, learner):
    repository, golden = packaged(tmp_path, models.model_folder(tmp_path / "m", learner), "backend=python")
    status, found = run(repository, golden, tmp_path)
    assert status == 0
    assert [f["what"] for f in found if f["wrong"]] == []
    once = [
        "64 requests of mixed sizes from 8 clients at once",
        "a request without its first input",
        "a request with an input that the model lacks",
        "a request with FP64 for FP32",
        "a request with one value too many",
        "a batch above max_batch_size",
    ]
    assert [f["what"] for f in found] == [*once, *once, "a reload with 8 clients asking meanwhile"]
    assert found[-1]["requests"] > 8
    assert "a reload with 8 clients asking meanwhile | " in (tmp_path / "report" / "report.md").read_text()


def test_a_model_without_batches_stands_it_too(tmp_path):
    (tmp_path / "m").mkdir()
    models.onnx_model(tmp_path / "m", batch=2)
    repository, golden = packaged(tmp_path, tmp_path / "m", "backend=python")
    status, found = run(repository, golden, tmp_path)
    assert status == 0
    assert [f["wrong"] for f in found] == [""] * len(found)
    assert found[0]["what"] == "64 requests from 8 clients at once"


@pytest.fixture
def mixed_up(tmp_path):
    (tmp_path / "repo/mixed/1").mkdir(parents=True)
    (tmp_path / "repo/mixed/1/model.py").write_text(MIXED_UP)
    (tmp_path / "repo/mixed/config.pbtxt").write_text(CONFIG)
    x = models.rows(64)[:, :3].copy()
    (tmp_path / "golden").mkdir()
    write_golden(Golden({"x": x}, {"y": x.sum(axis=1, keepdims=True)}, "sample"), tmp_path / "golden", {})
    return tmp_path / "repo", tmp_path / "golden"


def test_a_model_that_mixes_up_requests_is_found_only_when_many_ask(mixed_up, tmp_path, capsys):
    assert run(*mixed_up, tmp_path, "under_load=no")[0] == 0
    (tmp_path / "again").mkdir()
    assert run(*mixed_up, tmp_path / "again")[0] == 3
    err = capsys.readouterr().err
    assert "mixed: 64 requests of mixed sizes from 8 clients at once: " in err
    assert "went wrong: output 'y' differs by" in err
    assert "another request's rows, or another model" in err


def test_requests_that_a_reload_loses_are_counted(tmp_path):
    """The server itself loses none; a model that is unloaded, and so gone for a moment, is what a loss looks like."""
    from tritonclient.http import InferenceServerClient

    repository, folder = packaged(tmp_path, models.model_folder(tmp_path / "m", "xgboost"), "backend=python")
    golden = read_golden(folder)
    with server(repository, "model") as running:
        from runtime.triton.check import check_repository

        served = check_repository(repository)
        asked = Asked(Endpoint(running.http, "http"), "model", served.signature, 1024, golden, None, None)

        def gone_for_a_moment() -> None:
            client = InferenceServerClient(running.http)
            client.unload_model("model")
            time.sleep(0.5)  # on a busy machine nobody may have asked in a shorter moment
            client.load_model("model")
            client.close()

        found = findings(asked, gone_for_a_moment)
    assert "requests were lost or wrong" in found[-1].wrong
    assert [f.wrong for f in found[:-1]] == [""] * (len(found) - 1)


def test_tolerances_follow_the_type_of_an_output_unless_they_are_asked_for():
    from runtime.triton.model_config import Signature, Tensor

    kinds = ("FP16", "FP32", "FP64", "INT64", "BYTES")
    signature = Signature((), tuple(Tensor(k, k, (1,)) for k in kinds), True)
    assert [tolerance(signature, k, None, None) for k in kinds] == [
        (1e-2, 1e-2), (1e-3, 1e-4), (1e-4, 1e-5), (0.0, 0.0), (0.0, 0.0),
    ]  # fmt: skip
    assert tolerance(signature, "FP16", 0.5, None) == (0.5, 1e-2)
    assert np.isfinite(tolerance(signature, "unknown", None, 0.1)).all()
