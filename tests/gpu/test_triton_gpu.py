"""The native backends of an NGC container on a GPU: run inside nvcr.io/nvidia/tritonserver by `nox -s gpu`."""

import json
import shutil

import pytest

from runtime.execute import main
from runtime.triton.verify import verify
from tests.fakes import triton_models as models
from tests.fakes.triton_server import packaged

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def ngc_server():
    """Skips, with the reason, where there is no tritonserver with native backends or no GPU."""
    if shutil.which("tritonserver") is None:
        pytest.skip("no tritonserver on PATH: this is not an NGC Triton container")
    if shutil.which("nvidia-smi") is None:
        pytest.skip("no NVIDIA GPU")


@pytest.mark.parametrize(
    ("learner", "backend"), [("xgboost", "fil"), ("random_forest", "fil"), ("linear", "onnxruntime")]
)
def test_a_native_backend_answers_on_the_gpu_as_the_model_does(tmp_path, learner, backend):
    folder = models.model_folder(tmp_path / "m", learner)
    repository, golden = packaged(tmp_path, folder, "target=ngc", "device=gpu", "max_batch_size=64")
    words = [f"repository={repository}", f"golden={golden}", f"report={tmp_path / 'report'}", "live=yes"]
    assert main(verify, words) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["backend"], report["live"]) == (backend, "run")
    assert all(answer["ok"] for answer in report["answers"])
