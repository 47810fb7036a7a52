"""triton_tune on a real tritonserver, with a model whose best settings are known: each execution takes 10 ms, of any size."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest

from runtime.execute import main
from runtime.triton import model_config
from runtime.triton.load_generator import Load, measure
from runtime.triton.repository import Golden, write_golden
from runtime.triton.tune import tune
from tests.fakes import triton_models as models
from tests.fakes.triton_server import end, left_behind, packaged, server, start

MODEL = """
import time
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.01)
        inputs = [pb_utils.get_input_tensor_by_name(r, "x").as_numpy() for r in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", x * 2)]) for x in inputs]
"""
CONFIG = """\
# waits, and does not mind how many wait with it
backend: "python"
max_batch_size: 16
input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }
instance_group { kind: KIND_CPU count: 1 }
"""


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """The repository and golden rows of the model that waits."""
    folder = tmp_path_factory.mktemp("waiting")
    (folder / "repo/waits/1").mkdir(parents=True)
    (folder / "repo/waits/1/model.py").write_text(MODEL)
    (folder / "repo/waits/config.pbtxt").write_text(CONFIG)
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    (folder / "golden").mkdir()
    write_golden(Golden({"x": x}, {"y": x * 2}, "sample"), folder / "golden", {})
    return folder / "repo", folder / "golden"


def run(waiting, out, *words):
    ports = [f"repository={waiting[0]}", f"golden={waiting[1]}", f"tuned={out / 'tuned'}", f"report={out / 'report'}"]
    return main(tune, [*ports, "point_s=0.5", *words])


def test_it_finds_the_batcher_and_says_how_much_it_brings_and_goes_on_where_it_was(
    waiting, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    journal = tmp_path / "journal.jsonl"
    assert run(waiting, tmp_path / "a", "seconds=8", f"journal={journal}") == 0
    text = (tmp_path / "a/tuned/waits/config.pbtxt").read_text()
    assert "# waits, and does not mind how many wait with it" in text
    assert model_config.parse(text).HasField("dynamic_batching")
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    logged = {r["key"]: r["value"] for r in records if r["kind"] == "metric"}
    assert logged["speedup"] > 1.5  # 100 executions a second, one request in each or up to 16
    assert 5 < logged["rows_per_s_before"] < 101
    assert (tmp_path / "metrics.trial-000.jsonl").exists()
    done = len(journal.read_text().splitlines())
    capsys.readouterr()
    assert run(waiting, tmp_path / "b", "seconds=5", f"journal={journal}") == 0
    out = capsys.readouterr().out
    assert out.count("(from the journal)") >= min(done, 2)
    assert (tmp_path / "a/tuned/waits/1/model.py").read_text() == MODEL
    assert (waiting[0] / "waits/config.pbtxt").read_text() == CONFIG


def test_a_bound_that_nothing_meets_leaves_the_config(waiting, tmp_path, capsys):
    assert run(waiting, tmp_path, "seconds=5", "latency_ms=0.5") == 0
    assert "nothing was within the bound; its config stays as it is" in capsys.readouterr().out
    assert (tmp_path / "tuned/waits/config.pbtxt").read_text() == CONFIG


def test_what_cannot_be_tuned_here_is_refused_before_a_server_starts(waiting, tmp_path, capsys):
    assert run(waiting, tmp_path, "rows=32") == 2
    assert "rows=32: is more than the model's max_batch_size, 16" in capsys.readouterr().err
    folder = tmp_path / "native"
    folder.mkdir()
    native = packaged(folder, models.model_folder(folder / "m", "xgboost"), "target=ngc")
    assert run(native, tmp_path) == 2
    assert "runs on fil, and the server here has python; tune it in the triton image" in capsys.readouterr().err


def test_an_open_loop_counts_the_waiting_of_requests_that_come_too_fast(waiting):
    rows = [{"x": np.ones((1, 2), np.float32)}]
    with server(waiting[0], "waits") as running:
        calm = measure(running.grpc, "waits", rows, {"x": "FP32"}, Load(30, "open"), most_s=2)
        flooded = measure(running.grpc, "waits", rows, {"x": "FP32"}, Load(400, "open"), most_s=2)
        one = measure(running.grpc, "waits", rows, {"x": "FP32"}, Load(1), most_s=2)
    # Bounds that a busy machine keeps, too: an execution takes 10 ms or more, so at most 100 go in a second.
    assert calm.rate < 60
    assert calm.requests > 5
    assert flooded.p50_ms > 2 * calm.p50_ms  # a line that grows: 400 come
    assert flooded.rate < 101
    assert 5 < one.rate < 101


def test_a_tuning_that_is_stopped_leaves_nothing_and_keeps_its_journal(waiting, tmp_path):
    words = [
        f"repository={waiting[0]}",
        f"golden={waiting[1]}",
        f"tuned={tmp_path / 'tuned'}",
        f"report={tmp_path / 'report'}",
    ]
    process = start("runtime.triton.tune", *words, f"journal={tmp_path / 'j'}", "seconds=60", cwd=tmp_path)
    until = time.monotonic() + 60
    while not (tmp_path / "j").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    code, error = end(process, signal.SIGINT, group=True)
    assert code == 130, error
    assert left_behind(process.pid) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["j"]
    assert json.loads((tmp_path / "j").read_text().splitlines()[0])["rows_per_s"] > 0
