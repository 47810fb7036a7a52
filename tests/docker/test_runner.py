"""The docker runner of the local engine on a real dockerd: what a step sees, what it cannot do, what never stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from runtime import wheel
from runtime.local import graph, workspace
from runtime.local.docker import Docker as Options
from runtime.local.docker import wrap
from runtime.local.plan import plan
from tests.fakes.pipelines import write_component, write_pipeline
from tests.fakes.processes import wait_until_gone

ROOT = Path(__file__).parents[2]
IMAGE = "docker.io/library/python:3.12-slim-bookworm"  # the stand-in has this name
Docker = Mapping[str, str]


def ngcrun(folder: Path, docker: Docker, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime", *words],
        cwd=folder,
        env={**docker, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def component(folder: Path, command: str, name: str = "say", **changes: Any) -> None:
    write_component(folder, name=name, command=command, environment={"image": IMAGE}, **changes)


def run(folder: Path, docker: Docker, *flags: str, status: int = 0, jobs: Any = None, **env: str) -> dict[str, Any]:
    """Run a pipeline of one step a (or of `jobs`) with --docker; returns run.json."""
    path = write_pipeline(folder, jobs or {"a": {}})
    done = ngcrun(folder, docker, "pipeline", path.name, "--docker", "--no-mlflow", *flags, **env)
    assert done.returncode == status, done.stdout + done.stderr
    record = max(folder.glob("runs/*/run.json"), key=lambda p: p.stat().st_mtime_ns)
    return dict(json.loads(record.read_text()))


def containers(docker: Docker) -> str:
    ask = ["docker", "ps", "--all", "--quiet", "--filter", "label=ngcrun.pid"]
    return subprocess.run(ask, env=dict(docker), capture_output=True, text=True, check=True).stdout


def log_of(record: dict[str, Any], step: int = 0) -> str:
    return Path(record["steps"][step]["log"]).read_text()


def test_a_step_sees_its_ports_and_nothing_else_of_this_machine(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "data, with a comma").mkdir()
    (tmp_path / "data, with a comma" / "a").write_text("1")
    command = (
        "cat '${{inputs.data}}/a'; touch '${{inputs.data}}/b'; id -u; df -k /dev/shm | tail -1 | awk '{print $2}'; "
        f"ls {tmp_path} {ROOT}/README.md; env | sort; cat /proc/1/comm; ls /sys/class/net; echo x > ${{{{outputs.out}}}}/x"
    )
    component(tmp_path, command, inputs={"data": {"type": "uri_folder"}}, resources={"shm_size": "64m"},
              environment_variables={"OWN": "1"})  # fmt: skip
    data = {"data": {"type": "uri_folder", "path": "./data, with a comma"}}
    record = run(tmp_path, docker, "--env", "HANDED", jobs={"a": {"inputs": data}}, HANDED="on", NOT_HANDED="x")
    log = log_of(record)
    assert log.startswith("1")  # what a step says on its two streams comes in either order
    assert "touch: cannot touch" in log
    assert "Read-only file system" in log
    assert f"\n{os.getuid()}\n65536\n" in log
    assert f"cannot access '{ROOT}/README.md'" in log
    assert "OWN=1" in log
    assert "HANDED=on" in log
    assert "NOT_HANDED" not in log
    assert "\ndocker-init\n" in log
    assert log.rstrip().endswith("lo")  # no network but loopback
    (out,) = tmp_path.glob("runs/*/steps/a/outputs/out/x")
    assert (out.stat().st_uid, out.stat().st_gid) == (os.getuid(), os.getgid())
    step = record["steps"][0]
    assert step["image"].startswith("sha256:")
    assert "--mount" in step["command"]
    assert not {"-v", "--volume", "--privileged"} & set(step["command"])
    assert containers(docker) == ""


def test_files_belong_to_the_user_who_runs_it(docker: Docker, tmp_path: Path) -> None:
    component(tmp_path, "id -u; id -g; touch $HOME/home; echo x > ${{outputs.out}}/x")
    planned = plan(graph.read(write_pipeline(tmp_path, {"a": {}})), tmp_path / "runs" / "r", mount=False)["a"]
    workspace.prepare(planned)
    for path in (planned.folder, *planned.folder.rglob("*")):
        os.chown(path, 1234, 5678)  # as if that user had made them
    command = wrap(planned, IMAGE, Options(user="1234:5678")).command
    subprocess.run(command.argv, env={**docker, **command.env}, check=True, capture_output=True)
    name = command.argv[command.argv.index("--name") + 1]
    subprocess.run(
        ["docker", "rm", name], env=dict(docker), check=True, capture_output=True
    )  # the guard does otherwise
    stat = (planned.outputs["out"] / "x").stat()
    assert (stat.st_uid, stat.st_gid) == (1234, 5678)


@pytest.mark.parametrize("code", [1, 42, 137])
def test_the_exit_status_of_a_step_is_passed_on(docker: Docker, tmp_path: Path, code: int) -> None:
    component(tmp_path, f"echo last word; exit {code}")
    step = run(tmp_path, docker, status=3)["steps"][0]
    assert (step["exit_code"], step["why"]) == (code, "last word")


def test_a_step_that_the_kernel_ends_for_its_memory_says_so(docker: Docker, tmp_path: Path) -> None:
    component(
        tmp_path, "python3 -c 'x = b\"1\" * 300_000_000'", resources={"docker_args": "--memory 64m --memory-swap 64m"}
    )
    step = run(tmp_path, docker, status=3)["steps"][0]
    assert step["why"].startswith("out of memory: the kernel ended it")
    assert containers(docker) == ""


def test_a_step_that_takes_too_long_is_ended_with_its_container(docker: Docker, tmp_path: Path) -> None:
    component(tmp_path, "trap 'echo ended; exit 9' TERM; sleep 300 & wait", limits={"timeout": 2})
    began = time.monotonic()
    step = run(tmp_path, docker, status=3)["steps"][0]
    assert step["why"] == "took longer than its limits.timeout of 2 s"
    assert time.monotonic() - began < 60
    assert "ended" in Path(step["log"]).read_text()
    assert containers(docker) == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_container_stays_when_ngcrun_is_stopped(docker: Docker, tmp_path: Path, number: signal.Signals) -> None:
    component(tmp_path, "touch ${{outputs.out}}/up; sleep 300")
    path = write_pipeline(tmp_path, {"a": {}})
    argv = [sys.executable, "-m", "runtime", "pipeline", path.name, "--docker", "--no-mlflow"]
    process = subprocess.Popen(argv, cwd=tmp_path, env={**docker, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/steps/a/outputs/out/up")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(60) == (-9 if number == signal.SIGKILL else 130)
    until = time.monotonic() + 40
    while containers(docker):
        assert time.monotonic() < until, containers(docker)
        time.sleep(0.2)
    assert wait_until_gone(process.pid, 5)


def test_what_a_killed_guard_left_is_removed_by_the_next_run(docker: Docker, tmp_path: Path) -> None:
    argv = ["docker", "run", "--detach", "--label", "ngcrun.pid=1.1", "--network=none", IMAGE, "sleep", "300"]
    subprocess.run(argv, env=dict(docker), check=True, capture_output=True)
    assert containers(docker)
    component(tmp_path, "echo x > ${{outputs.out}}/x")
    run(tmp_path, docker)
    assert containers(docker) == ""


def test_gpus_on_a_machine_without_any_is_one_line(docker: Docker, tmp_path: Path) -> None:
    component(tmp_path, "echo x > ${{outputs.out}}/x")
    step = run(tmp_path, docker, "--gpus", "all", status=3)["steps"][0]
    assert step["why"].startswith("docker cannot give a GPU to a container here; install nvidia-container-toolkit")
    assert containers(docker) == ""


def test_an_image_that_is_nowhere_is_one_line_before_anything_runs(docker: Docker, tmp_path: Path) -> None:
    write_component(tmp_path, environment={"image": "127.0.0.1:1/nobody/nothing:1"})
    path = write_pipeline(tmp_path, {"a": {}})
    done = ngcrun(tmp_path, docker, "pipeline", path.name, "--docker", "--no-mlflow")
    assert done.returncode == 3
    assert done.stderr.startswith("image 127.0.0.1:1/nobody/nothing:1: docker pull: ")


def test_without_a_daemon_it_is_one_line(docker: Docker, tmp_path: Path) -> None:
    component(tmp_path, "true")
    path = write_pipeline(tmp_path, {"a": {}})
    nowhere = {**docker, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    done = ngcrun(tmp_path, nowhere, "pipeline", path.name, "--docker", "--no-mlflow")
    assert (done.returncode, done.stderr) == (
        3,
        "the docker daemon does not answer; start it, or run without --docker\n",
    )


def test_a_build_context_is_built_once_and_again_when_it_changes(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY word /word\n")
    (tmp_path / "context" / "word").write_text("one")
    (tmp_path / "environment.yaml").write_text("name: mine\nversion: 1\nbuild:\n  path: ./context\n")
    write_component(tmp_path, environment="file:environment.yaml", command="cat /word > ${{outputs.out}}/x")
    path = write_pipeline(tmp_path, {"a": {}})
    words = ("pipeline", path.name, "--docker", "--no-mlflow")
    assert "docker build ngcrun-local/context:" in ngcrun(tmp_path, docker, *words).stdout
    again = ngcrun(tmp_path, docker, *words)
    assert "docker build" not in again.stdout
    assert "1 of 1 steps taken over" in again.stdout
    (tmp_path / "context" / "word").write_text("two")
    third = ngcrun(tmp_path, docker, *words)
    assert "docker build" in third.stdout
    assert sorted(p.read_text() for p in tmp_path.glob("runs/*/steps/a/outputs/out/x")) == ["one", "one", "two"]


def test_processes_of_a_distribution_share_one_container(docker: Docker, tmp_path: Path) -> None:
    command = "echo $RANK of $WORLD_SIZE on $(hostname) at $MASTER_ADDR; test -n $MASTER_PORT; echo x > ${{outputs.out}}/$RANK"
    component(tmp_path, command, distribution={"type": "pytorch", "process_count_per_instance": 2})
    log = log_of(run(tmp_path, docker))
    assert "[rank 0] 0 of 2 on " in log
    assert "[rank 1] 1 of 2 on " in log


def test_docker_args_that_would_open_the_container_are_refused(docker: Docker, tmp_path: Path) -> None:
    component(tmp_path, "true", resources={"docker_args": "--privileged"})
    path = write_pipeline(tmp_path, {"a": {}})
    done = ngcrun(tmp_path, docker, "pipeline", path.name, "--docker", "--no-mlflow")
    assert done.returncode == 2
    assert "resources.docker_args='--privileged': is not allowed to a step" in done.stderr


def taxi_image(docker: Docker, folder: Path) -> str:
    """Our package with its CPU extras on the stand-in; the NGC images would bring the same parts for a GPU."""
    context = folder / "image"
    context.mkdir()
    shutil.copy2(wheel.build(ROOT), context)
    (context / "Dockerfile").write_text(
        f"FROM {IMAGE}\nCOPY ngcrun-*.whl /tmp/\nENV NGCRUN_CACHE=/opt/cache PIP_BREAK_SYSTEM_PACKAGES=1\n"
        'RUN python3 -m pip install --no-cache-dir "$(echo /tmp/ngcrun-*.whl)[rapids-cpu,triton]" \\\n'
        " && python3 -m runtime.triton.serve_env && ln -s /usr/bin/python3 /usr/local/bin/python && chmod -R a+rX /opt\n"
    )
    argv = ["docker", "build", "--network=host", "--tag", "taxi-stand-in:1", str(context)]
    done = subprocess.run(argv, env=dict(docker), capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return "taxi-stand-in:1"


def test_the_taxi_pipeline_runs_in_containers(docker: Docker, tmp_path: Path) -> None:
    image = {"image": taxi_image(docker, tmp_path)}
    (tmp_path / "map.yaml").write_text(json.dumps({"azureml:ngcrun-rapids": image, "azureml:ngcrun-triton": image}))
    pipeline = ROOT / "component_specs" / "pipelines" / "taxi_fare.yaml"
    trips = ROOT / "tests" / "data" / "taxi" / "green_2016.parquet"
    words = ("pipeline", str(pipeline), f"trips={trips}", "--docker", "--jobs", "2", "--map", "map.yaml")
    done = ngcrun(tmp_path, docker, *words)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (record,) = tmp_path.glob("runs/taxi_fare-*/run.json")
    steps = {step["name"]: step for step in json.loads(record.read_text())["steps"]}
    assert {step["status"] for step in steps.values()} == {"completed"}
    assert {step["image"] for step in steps.values()} == {next(iter(steps.values()))["image"]}
    train = next(step for name, step in steps.items() if name.endswith("train"))
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")  # it had no network, and its figures are there
    assert client.get_run(train["mlflow_run_id"]).data.metrics["rmse"] > 0
