from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import catalog, execute, single
from runtime.__main__ import main
from tests.fakes.pipelines import write_component, write_pipeline

HEAVY = ("hydra", "omegaconf", "torch", "cudf", "polars", "mlflow", "azure", "rich", "yaml", "numpy", "pandas")


@pytest.mark.parametrize("words", [["--help"], ["pipeline", "--help"], ["--version"]])
def test_help_loads_no_heavy_module(words: list[str]) -> None:
    code = (
        "import sys\nfrom runtime.__main__ import main\n"
        f"try: main({words!r})\nexcept SystemExit as e: assert e.code == 0\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_list_loads_no_heavy_module_either() -> None:
    code = (
        "import sys\nfrom runtime.__main__ import main\nmain(['list'])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_list_has_a_line_for_each_component(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("rapids_train ") for line in lines)


def test_show_describes_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "rapids_train"]) == 0
    text = capsys.readouterr().out
    assert "model=xgboost" in text
    assert "python -m runtime.rapids.train" in text


def test_a_dry_run_prints_the_exact_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1/")
    assert main(["run", "rapids_score", "--dry-run", "predictions=a b", "--truth=t", "report=r"]) == 0
    command = f"{sys.executable} -m runtime.rapids.score 'predictions=a b' --truth=t report=r"
    assert capsys.readouterr().out == f"cd {shlex.quote(str(Path.cwd()))} &&\nenv \\\n  {command}\n"


def test_a_run_without_outputs_bound_gets_a_run_folder_and_a_store(tmp_path: Path) -> None:
    command = single.plan(catalog.find("rapids_score"), ["predictions=p", "truth=t"], tmp_path / "runs" / "x", tmp_path)
    assert command.argv[3:] == ("predictions=p", "truth=t", f"--report={tmp_path / 'runs' / 'x' / 'report'}")
    assert command.env == {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "rapids_trian"], "component='rapids_trian': is not a component; did you mean 'rapids_train'?"),
        (
            ["run", "rapids_train", "--dry-run", "modle=linear"],
            "rapids_train: modle='linear': is not a port; did you mean 'model'?",
        ),
        (["pipeline", "nowhere.yaml"], "file='nowhere.yaml': does not exist; name a YAML file"),
        (
            ["run", "rapids_train", "--config-dir", "none", "--dry-run", "x"],
            "rapids_train: argument='x': is not an override",
        ),
        (["pipeline", "x.yaml", "--dry-run", "oops"], "argument='oops': is not input=value; write input=value"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_status_2(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith(told)
    assert len(err.splitlines()) == 1


def test_doctor_has_a_row_for_each_thing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in ("Python", "NVIDIA GPU", "docker", "tritonserver", "TAO", "disk", "MLflow", "read-only inputs"):
        assert word in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--no-mlflow", "n=1", "--dry-run", "word=x"], "n='1': is not an input of the pipeline"),
        (["--runs", "say.yaml", "word=x"], "--runs='say.yaml': cannot be written (not a directory)"),
        (["--runs", "/proc/none", "word=x"], "--runs='/proc/none': cannot be written (no such file or directory)"),
        (["data="], "data='': is empty; name an existing folder"),
    ],
)
def test_a_mistake_in_what_a_pipeline_is_given_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_component(tmp_path)
    inputs = {"word": "x", "data": {"type": "uri_folder", "path": "."}}
    write_pipeline(tmp_path, {"a": {"inputs": {"text": "${{parent.inputs.word}}"}}}, inputs=inputs)
    assert main(["pipeline", "pipe.yaml", *words]) == 2
    assert capsys.readouterr().err.startswith(told)


def test_an_unknown_flag_of_a_pipeline_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pipeline", "pipe.yaml", "--nomlflow", "n=1"])
    assert "unrecognized arguments: --nomlflow" in capsys.readouterr().err


def test_run_help_is_the_components(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "rapids_train", "--help"]) == 0
    assert "model.max_depth" in capsys.readouterr().out


def test_a_config_dir_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    component = catalog.find("rapids_train")
    assert execute.main(component, ["--config-dir", str(tmp_path / "none"), "--cfg", "job"]) == 2
    assert "config-dir=" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["list", "show rapids_train"])
def test_a_reader_that_goes_away_is_no_error(words: str) -> None:
    line = f"'{sys.executable}' -m runtime {words} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_step_is_what_its_module_is(tmp_path: Path) -> None:
    """An image with a Python of its own has `ngcrun` on PATH and no `python` that knows this package."""
    words = ["--trips=nowhere", f"--prepared={tmp_path / 'out'}"]
    root = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}}
    ways = (
        [sys.executable, "-m", "runtime", "step", "rapids_prepare"],
        [sys.executable, "-m", "runtime.rapids.prepare"],
    )
    done = [subprocess.run([*way, *words], capture_output=True, text=True, check=False, **root) for way in ways]
    assert [d.returncode for d in done] == [2, 2]
    assert (
        done[0].stderr == done[1].stderr == "rapids_prepare: trips='nowhere': does not exist; name an existing folder\n"
    )
    assert list(tmp_path.iterdir()) == []
