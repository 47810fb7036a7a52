"""triton_verify against the real tritonserver binary: right answers, wrong ones, and servers that do not start."""

import json
import os
import re
import shutil
import socket
import struct
import sys
import tempfile
import time
import zipfile

import numpy as np
import pytest

from runtime.errors import ToolFailed
from runtime.execute import main
from runtime.triton.check_model import PLAN_HEADER, PLAN_TAG
from runtime.triton.serve import serving
from runtime.triton.serve_env import find_server
from runtime.triton.verify import verify
from tests.fakes import triton_models as models
from tests.fakes.triton_broken import Corpus
from tests.fakes.triton_server import left_behind, packaged

LEARNERS = ("xgboost", "random_forest", "linear", "classifier")


@pytest.fixture(scope="module")
def fare(tmp_path_factory):
    """(repository, golden) of an XGBoost model on the python backend."""
    folder = tmp_path_factory.mktemp("fare")
    return packaged(folder, models.model_folder(folder / "m", "xgboost"), "model_name=fare", "max_batch_size=128")


@pytest.fixture(autouse=True)
def kept_logs(tmp_path_factory, monkeypatch):
    """Where the logs of failed servers are kept while testing; the folder must hold nothing else afterwards."""
    folder = tmp_path_factory.mktemp("logs")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert all(path.name.startswith("ngcrun-tritonserver-") for path in folder.iterdir())


def run(tmp_path, repository, *words):
    return main(verify, [f"repository={repository}", f"report={tmp_path / 'report'}", "measure_s=0", *words])


def copied(tmp_path, fare):
    shutil.copytree(fare[0], tmp_path / "repo")
    return tmp_path / "repo"


def refused(tmp_path, capsys, said, count=1):
    """Asserts `count` lines of which one holds `said`, no output and nothing left behind."""
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if not line.startswith("  | ")]
    assert len(lines) == count, error
    assert all(line.startswith("triton_verify: ") for line in lines)
    assert any(said in line for line in lines), error
    assert not (tmp_path / "report").exists()
    assert not list(tmp_path.glob(".*"))
    assert left_behind(os.getpid()) == []
    return lines


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_real_server_answers_as_the_model_does(tmp_path, learner):
    repository, golden = packaged(tmp_path, models.model_folder(tmp_path / "m", learner), "max_batch_size=48")
    assert run(tmp_path, repository, f"golden={golden}", "live=yes") == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    outputs = ["label", "probabilities"] if learner == "classifier" else ["output__0"]
    assert [(a["protocol"], a["output"]) for a in report["answers"]] == [
        (p, o) for p in ("http", "grpc") for o in outputs
    ]
    assert all(a["ok"] and a["rows"] == 64 and a["max_abs"] < 1e-4 for a in report["answers"])
    assert (report["live"], report["golden_source"]) == ("run", "sample")


@pytest.mark.parametrize("batch", [None, 2])
def test_a_foreign_onnx_model_is_served_with_and_without_batches(tmp_path, batch):
    (tmp_path / "m").mkdir()
    models.onnx_model(tmp_path / "m", batch=batch)
    repository, golden = packaged(tmp_path, tmp_path / "m")
    assert run(tmp_path, repository, f"golden={golden}", "live=yes") == 0
    assert json.loads((tmp_path / "report" / "report.json").read_text())["max_batch_size"] == (0 if batch else 1024)


def test_rows_as_an_ordinary_dim_are_served_with_real_warm_up(tmp_path):
    repository, golden = packaged(tmp_path, models.model_folder(tmp_path / "m", "linear"), "max_batch_size=0")
    assert run(tmp_path, repository, f"golden={golden}", "live=yes") == 0


def test_a_report_has_latency_and_throughput_at_several_batch_sizes(tmp_path, fare):
    assert run(tmp_path, fare[0], f"golden={fare[1]}", "measure_s=0.1", "clients=2") == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [(f["protocol"], f["batch"]) for f in report["figures"]] == [
        (p, b) for p in ("http", "grpc") for b in (1, 8, 64, 128)
    ]
    assert all(0 < f["p50_ms"] <= f["p95_ms"] <= f["p99_ms"] and f["rows_per_s"] > 0 for f in report["figures"])
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == [
        "latency.png",
        "report.json",
        "report.md",
        "server.log",
    ]
    assert "| http | 64 |" in (tmp_path / "report" / "report.md").read_text()


def test_without_golden_rows_only_shapes_are_checked(tmp_path, fare):
    assert run(tmp_path, fare[0]) == 0
    assert json.loads((tmp_path / "report" / "report.json").read_text())["golden_source"] == "synthetic"


def test_an_onnx_model_for_the_native_backend_is_answered_by_a_twin_and_the_report_says_so(tmp_path):
    repository, golden = packaged(tmp_path, models.model_folder(tmp_path / "m", "linear"), "target=ngc")
    assert run(tmp_path, repository, f"golden={golden}") == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["backend"], report["live"]) == ("onnxruntime", "twin")
    assert (
        "with a server: twin (the server here lacks the onnxruntime backend"
        in (tmp_path / "report" / "report.md").read_text()
    )


def test_a_fil_model_is_answered_by_treelite_on_the_same_checkpoint_and_the_report_says_so(tmp_path):
    repository, golden = packaged(tmp_path, models.model_folder(tmp_path / "m", "xgboost"), "target=ngc")
    assert run(tmp_path, repository, f"golden={golden}") == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["backend"], report["live"]) == ("fil", "twin")
    assert "the same checkpoint.tl, by Treelite, answered through the python backend" in report["live_reason"]
    assert {answer["protocol"] for answer in report["answers"]} == {"http", "grpc"}
    assert all(answer["ok"] for answer in report["answers"])


def test_an_engine_is_answered_by_the_onnx_model_that_it_was_built_from(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    models.onnx_model(folder)
    (folder / "model.plan").write_bytes(struct.pack("<I", PLAN_TAG) + bytes(PLAN_HEADER))  # none that a GPU would take
    (folder / "engine.json").write_text('{"compute_capability": "8.0", "tensorrt": "10.3.0", "max_batch_size": 16}')
    repository, golden = packaged(tmp_path, folder, "target=ngc")
    assert run(tmp_path, repository, f"golden={golden}") == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["backend"], report["live"]) == ("tensorrt", "twin")
    assert "the model.onnx that the engine was built from answered through the python" in report["live_reason"]
    assert report["answers"]


def test_a_model_without_a_twin_is_checked_but_not_run_here_and_the_report_says_so(tmp_path, capsys):
    (tmp_path / "m").mkdir()
    with zipfile.ZipFile(tmp_path / "m" / "m.pt", "w") as file:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            file.writestr(f"m/{name}", b"x")
    card = {"inputs": {"x": ["FP32", [4]]}, "outputs": {"OUTPUT__0": ["FP32", [2]]}}
    (tmp_path / "m" / "torch.json").write_text(json.dumps(card))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)  # it is no model that a real one could open
        repository, golden = packaged(tmp_path, tmp_path / "m", "target=ngc")
    assert run(tmp_path, repository, f"golden={golden}") == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["live"], report["live_reason"]) == ("not run", "the server here lacks the pytorch backend")
    shutil.rmtree(tmp_path / "report")
    capsys.readouterr()
    assert run(tmp_path, repository, f"golden={golden}", "live=yes") == 2
    wrong = "live='yes': the server here lacks the pytorch backend: it has python; verify in an NGC container"
    refused(tmp_path, capsys, wrong)


def test_an_ensemble_is_what_is_verified_in_a_repository_that_holds_one(tmp_path):
    repository = Corpus(tmp_path).good("ensemble")
    assert run(tmp_path, repository, "live=yes") == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["model"], report["backend"], report["live"]) == ("both", "ensemble", "run")
    assert [(a["protocol"], a["output"]) for a in report["answers"]] == [("http", "y"), ("grpc", "y")]


def test_what_only_a_server_can_tell_is_said_where_none_ran(tmp_path, capsys, fare):
    repository = copied(tmp_path, fare)
    (repository / "fare" / "1" / "model.py").write_text(
        PYTHON + "    def execute(self, requests):\n        return []\n"
    )
    assert run(tmp_path, repository, "live=no") == 0
    said = f"only a server can tell: {repository}/fare/1/model.py: its code is run by a server and not read here"
    assert said in capsys.readouterr().out.splitlines()


def test_answers_that_differ_fail_the_step(tmp_path, capsys, fare):
    shutil.copytree(fare[1], tmp_path / "golden")
    path = tmp_path / "golden" / "outputs" / "0.npy"
    np.save(path, np.load(path) + 0.5)
    assert run(tmp_path, fare[0], f"golden={tmp_path / 'golden'}") == 3
    refused(tmp_path, capsys, "fare: answers differ from the model's: 'output__0' over http by up to 0.5 (atol=0.001")


def test_a_port_in_use_is_one_line(tmp_path, capsys, fare):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(tmp_path, fare[0], f"http_port={port}") == 2
        refused(tmp_path, capsys, f"http_port={port}: is in use on 127.0.0.1; stop what uses it, or say http_port=0")


PYTHON = "import triton_python_backend_utils as pb_utils\nclass TritonPythonModel:\n"
EXECUTE = "    def execute(self, requests):\n        return []\n"
CANNOT_LOAD = {
    "raises": (
        PYTHON + EXECUTE + "    def initialize(self, args):\n        raise ValueError('bad weights')\n",
        "cannot load: load failed for model 'fare'",
        "ValueError: bad weights",
    ),
    "module": (
        "import no_such_module\n" + PYTHON + EXECUTE,
        "cannot load: load failed for model 'fare'",
        "ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "hangs": (
        PYTHON + EXECUTE + "    def initialize(self, args):\n        import time\n        time.sleep(99)\n",
        "was not ready in time; allow more with start_timeout_s",
        "",
    ),
    "dies": (
        PYTHON + EXECUTE + "    def initialize(self, args):\n        import os\n        os._exit(1)\n",
        "cannot load: ",
        "fare",
    ),
}


@pytest.mark.parametrize("how", CANNOT_LOAD)
def test_a_server_that_never_gets_ready_fails_in_time_with_the_true_cause(tmp_path, capsys, fare, kept_logs, how):
    text, said, cause = CANNOT_LOAD[how]
    repository = copied(tmp_path, fare)
    (repository / "fare" / "1" / "model.py").write_text(text)
    assert run(tmp_path, repository, f"golden={fare[1]}", f"start_timeout_s={3 if how == 'hangs' else 30}") == 3
    lines = refused(tmp_path, capsys, said)
    assert cause in lines[0]
    (log,) = kept_logs.iterdir()
    assert lines[0].endswith(f"; log: {log}")


def test_a_load_that_would_hang_for_ever_is_told_from_the_log(tmp_path, fare):
    repository = copied(tmp_path, fare)
    (repository / "fare" / "1" / "model.py").unlink()
    start = time.monotonic()
    with (
        pytest.raises(ToolFailed, match=r"model 'fare' cannot load: Python model file not found in '.*/1/model.py'"),
        serving(find_server(), repository, ["fare"]),
    ):
        pass
    assert time.monotonic() - start < 15
    assert left_behind(os.getpid()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("TYPE_FP32", "FP32"), 'Unknown enumeration value of "FP32" for field "data_type"'),
        (lambda text: text.replace('name: "fare"', 'name: "taxi"'), "directory name must equal model name"),
    ],
)
def test_a_config_that_the_server_refuses_is_told_from_the_log(tmp_path, fare, change, said):
    repository = copied(tmp_path, fare)
    path = repository / "fare" / "config.pbtxt"
    path.write_text(change(path.read_text()))
    with (
        pytest.raises(ToolFailed, match="model 'fare' cannot load: .*" + re.escape(said)),
        serving(find_server(), repository, ["fare"]),
    ):
        pass


def test_what_a_model_returns_is_checked_as_the_server_does_not(tmp_path, capsys, fare):
    repository = copied(tmp_path, fare)
    answer = (
        "import numpy as np\n" + PYTHON + "    def execute(self, requests):\n"
        "        rows = [pb_utils.get_input_tensor_by_name(r, 'input__0').as_numpy() for r in requests]\n"
        "        return [pb_utils.InferenceResponse([pb_utils.Tensor({name!r}, {value})]) for x in rows]\n"
    )
    for name, value, said in (
        ("Z", "x[:, :1]", "output 'output__0' is missing"),
        (
            "output__0",
            "x[:, :1].astype(np.float64)",
            "output 'output__0' is float64 [64, 1], promised is float32 [64, 1]",
        ),
        ("output__0", "x", "output 'output__0' is float32 [64, 4], promised is float32 [64, 1]"),
        ("output__0", "x[:, :1] * np.float32(np.nan)", "output 'output__0' holds NaN or infinity"),
    ):
        (repository / "fare" / "1" / "model.py").write_text(answer.format(name=name, value=value))
        assert run(tmp_path, repository, f"golden={fare[1]}") == 3
        refused(tmp_path, capsys, said)


def test_the_server_found_here_ships_only_the_python_backend():
    assert find_server().backends() == ["python"]  # when this fails, the docs and `backend=auto` have good news
