"""The engine on real processes: what a user sees, what stays behind, what is recorded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime import images, spec
from runtime.local import graph
from runtime.local.engine import Engine, State
from runtime.local.machine import Machine
from runtime.local.pipeline import mounts_work, stoppable
from runtime.local.plan import plan
from runtime.local.record import Record
from tests.fakes.echo import echo
from tests.fakes.pipelines import ngcrun, write_component, write_pipeline
from tests.fakes.processes import wait_until_gone

ROOT = Path(__file__).parents[2]
A = "${{parent.jobs.a.outputs.out}}"


def run_json(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("runs/*/run.json")
    return dict(json.loads(path.read_text()))


def statuses(folder: Path) -> dict[str, str]:
    return {step["name"]: step["status"] for step in run_json(folder)["steps"]}


def test_a_chain_hands_outputs_on_and_leaves_a_run_folder(tmp_path: Path) -> None:
    write_component(tmp_path, command="cat '${{inputs.data}}/text' > '${{outputs.out}}/text'", name="copy")
    write_component(tmp_path)
    jobs = {
        "a": {"inputs": {"text": "${{parent.inputs.word}}"}},
        "b": {"component": "./copy.yaml", "inputs": {"data": A}, "outputs": {"out": "${{parent.outputs.end}}"}},
    }
    # The component's `data` is optional in say.yaml; here it is always bound.
    inputs = {"data": {"type": "uri_folder"}}
    write_component(
        tmp_path, name="copy", inputs=inputs, command="cat '${{inputs.data}}/text' > '${{outputs.out}}/text'"
    )
    path = write_pipeline(tmp_path, jobs, inputs={"word": "x"}, outputs={"end": {"type": "uri_folder"}})
    done = ngcrun(tmp_path, "pipeline", path.name, "word=two words", "--no-mlflow")
    assert done.returncode == 0, done.stderr
    record = run_json(tmp_path)
    assert record["status"] == "completed"
    assert record["inputs"] == {"word": "two words"}
    (run,) = tmp_path.glob("runs/pipe-*")
    assert (run / "outputs" / "end" / "text").read_text() == "two words"
    assert statuses(tmp_path) == {"a": "completed", "b": "completed"}
    assert sorted(p.name for p in (run / "steps" / "a").iterdir()) == ["log.txt", "outputs", "work"]
    assert "completed in" in done.stdout
    assert done.stderr == ""


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    write_component(tmp_path)
    done = ngcrun(tmp_path, "pipeline", write_pipeline(tmp_path, {"a": {}}).name, "--dry-run")
    assert done.returncode == 0
    assert "# a\ncd " in done.stdout
    assert "AZUREML_PARAMETER_count=3" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_independent_steps_run_side_by_side(tmp_path: Path) -> None:
    # Each waits until the other has begun: one after the other they would wait for ever, and `timeout` ends them.
    command = (
        "touch ${{inputs.note}}/'${{inputs.text}}'; "
        "timeout 20 bash -c 'until [ -e ${{inputs.note}}/x ] && [ -e ${{inputs.note}}/y ]; do sleep 0.02; done' && "
        "touch ${{outputs.out}}/done"
    )
    inputs = {"text": {"type": "string"}, "note": {"type": "string"}}
    write_component(tmp_path, command=command, inputs=inputs)
    (tmp_path / "meet").mkdir()
    jobs = {n: {"inputs": {"text": n, "note": str(tmp_path / "meet")}} for n in ("x", "y")}
    done = ngcrun(tmp_path, "pipeline", write_pipeline(tmp_path, jobs).name, "--no-mlflow", "--jobs", "2")
    assert done.returncode == 0, done.stderr


def test_a_failed_step_says_why_and_skips_what_needs_it(tmp_path: Path) -> None:
    write_component(tmp_path)
    write_component(tmp_path, name="bad", command="echo working; echo 'bad: text=1: is no good; change it' >&2; exit 7")
    jobs = {"a": {"component": "./bad.yaml"}, "b": {"inputs": {"data": A}}, "c": {}}
    done = ngcrun(tmp_path, "pipeline", write_pipeline(tmp_path, jobs).name, "--no-mlflow")
    assert done.returncode == 3
    assert statuses(tmp_path) == {"a": "failed", "b": "skipped", "c": "completed"}
    (line,) = done.stderr.splitlines()
    assert line.startswith("a: bad: text=1: is no good; change it; log: runs/pipe-")


def test_with_continue_on_step_failure_false_the_rest_is_stopped(tmp_path: Path) -> None:
    write_component(tmp_path, command="sleep 60")
    write_component(tmp_path, name="bad", command="exit 1")
    jobs = {"a": {"component": "./bad.yaml"}, "b": {}, "c": {"inputs": {"data": A}}}
    path = write_pipeline(tmp_path, jobs, settings={"continue_on_step_failure": False})
    done = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow", "--jobs", "2")
    assert done.returncode == 3
    assert statuses(tmp_path) == {"a": "failed", "b": "canceled", "c": "canceled"}


@pytest.mark.parametrize("command", ["true", "touch ${{outputs.out}}/empty && rm ${{outputs.out}}/empty"])
def test_a_missing_output_fails_the_step_though_it_ended_well(tmp_path: Path, command: str) -> None:
    write_component(tmp_path, command=command)
    done = ngcrun(tmp_path, "pipeline", write_pipeline(tmp_path, {"a": {}}).name, "--no-mlflow")
    assert done.returncode == 4
    assert "a: output 'out' was not written, though the command ended with status 0" in done.stderr


WRITE = "touch '${{inputs.data}}/mine'; echo x > '${{outputs.out}}/x'"


def write_into_input(folder: Path) -> Path:
    (folder / "trips").mkdir()
    (folder / "trips" / "a.csv").write_text("x\n")
    write_component(folder, command=WRITE, inputs={"data": {"type": "uri_folder"}})
    return write_pipeline(folder, {"a": {"inputs": {"data": {"type": "uri_folder", "path": "./trips"}}}})


@pytest.mark.skipif(not mounts_work(), reason="this machine allows no mount namespaces; the next test covers it")
def test_inputs_are_read_only(tmp_path: Path) -> None:
    path = write_into_input(tmp_path)
    done = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow")
    assert done.returncode == 0
    assert sorted(p.name for p in (tmp_path / "trips").iterdir()) == ["a.csv"]
    (log,) = tmp_path.glob("runs/*/steps/a/log.txt")
    assert "Read-only file system" in log.read_text()
    assert run_json(tmp_path)["read_only_inputs"] == "mounts"


@pytest.mark.skipif(not mounts_work(), reason="this machine allows no mount namespaces")
def test_not_even_root_can_mount_an_input_anew(tmp_path: Path) -> None:
    path = write_into_input(tmp_path)
    command = "mount -o remount,rw,bind '${{inputs.data}}'; umount '${{inputs.data}}'; " + WRITE
    write_component(tmp_path, command=command, inputs={"data": {"type": "uri_folder"}})
    done = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow")
    assert done.returncode == 0
    assert sorted(p.name for p in (tmp_path / "trips").iterdir()) == ["a.csv"]
    (log,) = tmp_path.glob("runs/*/steps/a/log.txt")
    assert "permission denied" in log.read_text().lower() or "must be superuser" in log.read_text()


@pytest.mark.skipif(not mounts_work(), reason="this machine allows no mount namespaces")
def test_a_step_can_itself_start_a_program_with_read_only_inputs(tmp_path: Path) -> None:
    launch = f"{sys.executable} -I -S {ROOT}/runtime/launch.py $$ '${{{{inputs.data}}}}' -- "
    inner = (
        "bash -c 'touch ${{inputs.data}}/mine; mount -o remount,rw,bind ${{inputs.data}}; touch ${{inputs.data}}/mine'"
    )
    write_into_input(tmp_path)
    command = f"{launch}{inner}; echo x > '${{{{outputs.out}}}}/x'"
    write_component(tmp_path, command=command, inputs={"data": {"type": "uri_folder"}})
    done = ngcrun(tmp_path, "pipeline", "pipe.yaml", "--no-mlflow")
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.glob("runs/*/steps/a/log.txt")
    assert log.read_text().count("Read-only file system") == 2
    assert sorted(p.name for p in (tmp_path / "trips").iterdir()) == ["a.csv"]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="taking rights away takes setpriv of util-linux")
def test_where_mounts_are_forbidden_a_program_starts_all_the_same(tmp_path: Path) -> None:
    # No user namespaces and no right to mount, as a job's container on AzureML has it.
    script = (
        f"echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-sys_admin "
        f"bash -c '{sys.executable} -I -S {ROOT}/runtime/launch.py $$ {tmp_path} -- echo started; true'"
    )
    done = subprocess.run(["unshare", "-U", "-r", "bash", "-c", script], capture_output=True, text=True, check=False)
    if "Read-only" in done.stderr or "denied" in done.stderr:
        pytest.skip("this machine does not let a test forbid it")
    assert done.stdout == "started\n", done.stderr


def test_without_mounts_a_changed_input_fails_the_step(tmp_path: Path) -> None:
    read = graph.read(write_into_input(tmp_path))
    planned = plan(read, tmp_path / "run", mount=False)
    engine = Engine(planned, lambda _n, _s: None, tracker=None, jobs=1, stop_on_failure=False)
    assert engine.run() == "failed"
    assert engine.states["a"].why == f"it changed its input {tmp_path / 'trips'}; inputs are read-only on AzureML"


# With MLflow, because what it loads (polars) takes SIGINT over.
STOPS = [(signal.SIGINT, True), *((n, False) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL))]


@pytest.mark.parametrize(("number", "mlflow"), STOPS)
def test_nothing_runs_on_after_ngcrun_is_stopped(tmp_path: Path, number: signal.Signals, mlflow: bool) -> None:
    (tmp_path / "pids").mkdir()
    command = "echo $$ > '${{inputs.text}}/one'; sleep 300 & echo $! > '${{inputs.text}}/two'; wait"
    if (
        number == signal.SIGKILL
    ):  # only the step itself is bound to ngcrun's life; a shell's own children are its affair
        command = "echo $$ > '${{inputs.text}}/one'; cp '${{inputs.text}}/one' '${{inputs.text}}/two'; exec sleep 300"
    write_component(tmp_path, command=command, inputs={"text": {"type": "string"}})
    path = write_pipeline(tmp_path, {"a": {"inputs": {"text": str(tmp_path / "pids")}}})
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", "pipeline", path.name, *([] if mlflow else ["--no-mlflow"])],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    files = [tmp_path / "pids" / name for name in ("one", "two")]
    until = time.monotonic() + 30
    while not all(f.is_file() and f.read_text().strip() for f in files) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    for file in files:
        assert wait_until_gone(int(file.read_text()), 10), file.name
    if number != signal.SIGKILL:
        assert run_json(tmp_path)["status"] == "canceled"
        assert statuses(tmp_path) == {"a": "canceled"}


def test_a_command_runs_in_a_copy_of_its_code(tmp_path: Path) -> None:
    (tmp_path / "src" / "lib").mkdir(parents=True)
    (tmp_path / "src" / "lib" / "word.txt").write_text("taxi")
    (tmp_path / "src" / "say.sh").write_text('cat lib/word.txt > "$1/text"; echo changed > lib/word.txt\n')
    write_component(tmp_path, code="./src", command="bash say.sh ${{outputs.out}}")
    write_component(tmp_path, "whole", code=".", command="cat src/lib/word.txt > '${{outputs.out}}/text'")
    done = ngcrun(
        tmp_path,
        "pipeline",
        write_pipeline(tmp_path, {"a": {}, "b": {"component": "./whole.yaml"}}).name,
        "--no-mlflow",
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.read_text() for p in tmp_path.glob("runs/*/steps/*/outputs/out/text")) == ["taxi", "taxi"]
    assert (tmp_path / "src" / "lib" / "word.txt").read_text() == "taxi"
    assert list(tmp_path.glob("runs/*/steps/b/work/runs/*/steps")) == []  # a copy of the run in the run has no end


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_path_reaches_the_command_whole_however_it_is_quoted(tmp_path: Path, quote: str) -> None:
    folder = tmp_path / 'new user\'s "$HOME" (1) \\ ünï;日本'
    (folder / "my trips").mkdir(parents=True)
    (folder / "my trips" / "a b.csv").write_text("x\n")
    data, out = (quote + "${{" + name + "}}" + quote for name in ("inputs.data", "outputs.out"))
    command = f"cp {data}/a\\ b.csv {out}/copy" if not quote else f"cp {data}'/a b.csv' {out}/copy"
    write_component(folder, command=command, inputs={"data": {"type": "uri_folder"}})
    data = {"data": {"type": "uri_folder", "path": "./my trips"}}
    done = ngcrun(folder, "pipeline", write_pipeline(folder, {"a": {"inputs": data}}).name, "--no-mlflow")
    assert done.returncode == 0, done.stderr
    assert [p.read_text() for p in folder.glob("runs/*/steps/a/outputs/out/copy")] == ["x\n"]


def test_two_pipelines_that_begin_at_once_share_a_fresh_store(tmp_path: Path) -> None:
    write_component(tmp_path)
    path = write_pipeline(tmp_path, {"a": {}})
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "runtime", "pipeline", path.name],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=60) for process in both]
    assert [(process.returncode, error) for process, (_, error) in zip(both, said, strict=True)] == [(0, b""), (0, b"")]


def test_the_output_of_a_failed_step_is_not_offered(tmp_path: Path) -> None:
    write_component(tmp_path, command="echo half > '${{outputs.out}}/text'; exit 1")
    outputs = {"out": "${{parent.outputs.whole}}"}
    path = write_pipeline(tmp_path, {"a": {"outputs": outputs}}, outputs={"whole": {"type": "uri_folder"}})
    done = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow")
    assert done.returncode == 3
    assert "whole" not in done.stdout
    assert list(tmp_path.glob("runs/*/outputs/*")) == []


def test_a_full_disk_below_the_run_folder_is_one_line_once_the_steps_have_ended(tmp_path: Path) -> None:
    if not mounts_work():
        pytest.skip("this machine lets nobody mount")
    full = "head -c 900000 /dev/zero > '${{outputs.out}}/x'; sleep 0.5; echo $? > " + str(tmp_path / "ended")
    write_component(tmp_path, command=full)
    path = write_pipeline(tmp_path, {"a": {}})
    (tmp_path / "runs").mkdir()
    line = (
        f"mount -t tmpfs -o size=64k tmpfs runs && exec '{sys.executable}' -m runtime pipeline {path.name} --no-mlflow"
    )
    argv = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"]), "--mount", "bash", "-c", line]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (tmp_path / "ended").exists()
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "No space left on device; free some space or point the output elsewhere" in done.stderr


def test_a_reader_that_goes_away_does_not_end_the_run(tmp_path: Path) -> None:
    write_component(tmp_path)
    path = write_pipeline(tmp_path, {"a": {}, "b": {"inputs": {"data": A}}})
    line = f"'{sys.executable}' -m runtime pipeline {path.name} --no-mlflow | head -1; exit ${{PIPESTATUS[0]}}"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)
    assert run_json(tmp_path)["status"] == "completed"


def engine_of(folder: Path, listener: Any, **component: Any) -> Engine:
    write_component(folder, **component)
    planned = plan(graph.read(write_pipeline(folder, {"a": {}, "b": {}})), folder / "run", mount=False)
    return Engine(planned, listener, tracker=None, jobs=1, stop_on_failure=False)


@pytest.mark.parametrize(
    ("at", "ended"),
    [("running", {"a": "canceled", "b": "canceled"}), ("completed", {"a": "completed", "b": "canceled"})],
)
def test_an_interrupt_at_any_change_ends_the_run(tmp_path: Path, at: str, ended: dict[str, str]) -> None:
    seen: list[str] = []

    def listener(_name: str, state: State) -> None:
        if state.status == at and not seen:
            seen.append(at)
            os.kill(os.getpid(), signal.SIGINT)

    slow = {"command": "sleep 60"} if at == "running" else {}
    engine = engine_of(tmp_path, listener, **slow)
    before = signal.getsignal(signal.SIGINT)
    with stoppable(engine):
        assert engine.run() == "canceled"
    assert {name: state.status for name, state in engine.states.items()} == ended
    assert signal.getsignal(signal.SIGINT) == before  # SIG_IGN where a shell has started us in the background


def test_a_listener_that_fails_ends_the_steps_before_it_ends_the_run(tmp_path: Path) -> None:
    def listener(_name: str, _state: State) -> None:
        raise OSError("no space left")

    engine = engine_of(tmp_path, listener, command="echo $$ > '${{outputs.out}}/pid'; exec sleep 60")
    with pytest.raises(OSError, match="no space"):
        engine.run()
    assert {state.status for state in engine.states.values()} == {"canceled"}


def test_ctrl_c_does_not_wait_for_a_store_that_never_answers(tmp_path: Path) -> None:
    write_component(tmp_path, command="sleep 60")
    path = write_pipeline(tmp_path, {"a": {}})
    with socket.socket() as deaf:  # a stand-in: accepts connections and says nothing, as a hung server does
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        env = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{deaf.getsockname()[1]}"}
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime", "pipeline", path.name], cwd=tmp_path, env=env, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        while b"running" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert process.returncode == 130
    assert statuses(tmp_path) == {"a": "canceled"}


def test_half_a_line_of_metrics_does_not_cost_the_report(tmp_path: Path) -> None:
    lines = '{"kind": "metric", "key": "loss", "value": 0.25}\\n{"kind": "met'
    command = f"printf '{lines}' > $NGCRUN_METRICS_FILE; echo x > '${{{{outputs.out}}}}/x'"
    write_component(tmp_path, command=command)
    done = ngcrun(tmp_path, "pipeline", write_pipeline(tmp_path, {"a": {}}).name, "--no-mlflow")
    assert done.returncode == 0, done.stderr
    (page,) = tmp_path.glob("runs/*/report.html")
    assert "<tr><th scope=row>loss<td>0.25" in page.read_text()


NASTY = [
    "two words", " outer blanks ", "a,b", "a=b=c", "[1,2]", "(x)", "{a: b}", 'say "hi"', "back\\slash", "ends\\", "${x}",
    "$HOME", "`id`", "$(id)", "a;b|c&d>e<f", "#no", "~", "!x", "*", "?", "ünïcödé 日本語 🚕", "line\nbreak", "dos\r\nbreak",
    "tab\there", "null", "true", "1e3", "007", "-x", "--x=y", "%s", "azureml://a/b=c?d=e&f", "C:\\dir\\file", "", "a: b",
]  # fmt: skip


def test_any_value_reaches_the_dataclass_from_the_yaml_unharmed(tmp_path: Path) -> None:
    (tmp_path / "echo.yaml").write_text(spec.text_of(echo, images.load(ROOT / "containers" / "images.yaml")))
    given = dict(enumerate(NASTY))
    jobs = {f"s{i}": {"component": "./echo.yaml", "inputs": {"text": v, "note": v}} for i, v in given.items()}
    path = write_pipeline(tmp_path, jobs)
    assert yaml.safe_load(path.read_text())["jobs"]["s0"]["inputs"]["text"] == NASTY[0]
    done = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow")
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/pipe-*")
    for i, value in given.items():
        ports = json.loads((run / "steps" / f"s{i}" / "outputs" / "out" / "ports.json").read_text())
        assert (ports["text"], ports["note"]) == (value, value)


def test_a_value_that_the_shell_would_harm_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "echo.yaml").write_text(spec.text_of(echo, images.load(ROOT / "containers" / "images.yaml")))
    path = write_pipeline(tmp_path, {"a": {"component": "./echo.yaml", "inputs": {"text": "it's"}}})
    done = ngcrun(tmp_path, "pipeline", path.name, "--no-mlflow")
    assert done.returncode == 2
    assert "holds \"'\", which the shell of the command changes inside '...'; remove it" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_record_follows_each_change_of_one_step_among_many(tmp_path: Path) -> None:
    write_component(tmp_path)
    read = graph.read(write_pipeline(tmp_path, {f"s{i}": {} for i in range(300)}))
    record = Record(read, planned := plan(read, tmp_path, mount=False), tmp_path, Machine())
    states = {name: State() for name in planned}
    record.write(states, "running", None)
    before = json.loads((tmp_path / "run.json").read_text())
    states["s7"].status, states["s7"].why = "failed", "line\nbreak"
    record.write(states, "failed", None)
    after = json.loads((tmp_path / "run.json").read_text())
    assert [s["name"] for s in after["steps"]] == list(planned)
    assert [s["name"] for s, t in zip(before["steps"], after["steps"], strict=True) if s != t] == ["s7"]
    assert (after["status"], after["steps"][7]["why"]) == ("failed", "line\nbreak")
