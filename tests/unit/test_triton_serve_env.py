"""Finding and making the serving environment; what a machine without one is told."""

import json
import subprocess
import sys
import time

import pytest

from runtime.cache import STAMP
from runtime.errors import BadInput
from runtime.execute import main
from runtime.triton import serve_env
from runtime.triton.package import package
from runtime.triton.verify import verify
from tests.fakes import triton_models as models


def installed(folder, *backends):
    """A tritonserver as an NGC container has it, as far as finding it goes."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "tritonserver").write_text("#!/bin/sh\n")
    (folder / "bin" / "tritonserver").chmod(0o755)
    for name in backends:
        (folder / "backends" / name).mkdir(parents=True)
        (folder / "backends" / name / f"libtriton_{name}.so").write_text("")
    return folder


def test_a_server_on_path_comes_first_and_auto_uses_the_backends_that_it_ships(tmp_path, monkeypatch, capsys):
    root = installed(tmp_path / "opt", "fil", "onnxruntime", "python")
    server = serve_env.find_server({"PATH": str(root / "bin"), "NGCRUN_TRITON_ENV": "/nowhere"})
    assert (server.binary, server.stub, server.backends()) == (
        root / "bin" / "tritonserver",
        None,
        ["fil", "onnxruntime", "python"],
    )
    monkeypatch.setenv("PATH", str(root / "bin"))
    folder = models.model_folder(tmp_path / "m", "xgboost")
    assert main(package, [f"model={folder}", f"repository={tmp_path / 'r'}", f"golden={tmp_path / 'g'}"]) == 0
    assert f"backend: fil (the server here ships it: {root}/bin/tritonserver)" in capsys.readouterr().out


def test_a_server_without_backends_beside_it_is_told(tmp_path):
    root = installed(tmp_path / "opt")
    with pytest.raises(BadInput, match="has no backends beside it"):
        serve_env.find_server({"PATH": str(root / "bin")})


def test_without_a_server_verify_names_the_command_that_makes_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NGCRUN_TRITON_ENV", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", "")
    folder = models.model_folder(tmp_path / "m", "xgboost")
    repository = tmp_path / "r"
    assert main(package, [f"model={folder}", f"repository={repository}", f"golden={tmp_path / 'g'}"]) == 0
    assert "backend: fil (no tritonserver here, so for an NGC container)" in capsys.readouterr().out
    assert (
        main(package, [f"model={folder}", f"repository={tmp_path / 'r2'}", f"golden={tmp_path / 'g2'}", "target=local"])
        == 2
    )
    line = f"tritonserver='{tmp_path}/none': is neither on PATH nor there; make it: python -m runtime.triton.serve_env"
    assert capsys.readouterr().err == f"triton_package: {line}\n"
    assert main(verify, [f"repository={repository}", f"report={tmp_path / 'report'}", "live=yes"]) == 2
    assert capsys.readouterr().err == f"triton_verify: {line}\n"
    assert main(verify, [f"repository={repository}", f"report={tmp_path / 'report'}"]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["live"], report["live_reason"]) == ("not run", line)


def test_the_folder_is_the_one_named_or_in_the_cache(tmp_path):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert serve_env.environment_folder({"NGCRUN_TRITON_ENV": str(tmp_path)}) == tmp_path
    assert serve_env.environment_folder({"NGCRUN_CACHE": str(tmp_path)}) == tmp_path / f"triton-py{version}"


def test_an_environment_that_is_complete_is_left_alone_in_milliseconds(tmp_path):
    (tmp_path / STAMP).write_text(json.dumps([serve_env.SERVER_PIN, *serve_env.PINS]))
    start = time.perf_counter()
    assert serve_env.make(tmp_path) is False
    assert time.perf_counter() - start < 0.05


def test_a_folder_with_other_things_is_never_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(BadInput, match="is a folder with other things in it"):
        serve_env.make(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "x"


def test_a_half_made_environment_is_told_as_that(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    with pytest.raises(BadInput, match=r"is not a complete serving environment .*; remove it and make it again"):
        serve_env.find_server({"PATH": "", "NGCRUN_TRITON_ENV": str(tmp_path)})


def test_importing_the_steps_imports_nothing_heavy():
    code = (
        "import sys, runtime.triton.package, runtime.triton.verify, runtime.triton.infer\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'polars', 'tritonclient', 'treelite', 'xgboost', 'sklearn', 'hydra', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
