"""The stand-in of TAO's TF1 image, and the launcher that keeps the key out of every command line.

Needs NGCRUN_TAO_SCHEMA, a folder that holds `nvidia_tao_deploy`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.tao import key_launch, network
from runtime.tao.prototext import set_value
from tests.fakes.tao_tf1 import NETWORKS, install
from tests.fakes.tao_tf1.work import sealed

KEY = 's3cret\' $HOME "key"'
LAUNCH = [sys.executable, key_launch.__file__]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a detectnet_v2 spec, one tfrecord, and the stand-in's programs in bin/."""
    (tmp_path / "data" / "tfrecords").mkdir(parents=True)
    (tmp_path / "data" / "tfrecords" / "part-fold-000").write_text("x")
    text = network.fill(
        network.find("detectnet_v2").spec, {"dataset": str(tmp_path / "data"), "records": str(tmp_path / "data")}
    )
    (tmp_path / "spec.txt").write_text(set_value(text, "training_config.num_epochs", 3))
    return tmp_path


def env(place: Path, **more: str) -> dict[str, str]:
    given = install(place / "bin", Path(os.environ["NGCRUN_TAO_SCHEMA"]))
    return {**given, key_launch.VARIABLE: KEY, "TMPDIR": str(place), **more}


def words(place: Path, *more: str) -> list[str]:
    spec, out = str(place / "spec.txt"), str(place / "out")
    return ["detectnet_v2", "train", "-e", spec, "-r", out, "-k", key_launch.VARIABLE, *more]


def run(place: Path, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    argv = [*LAUNCH, *words(place, *more)]
    return subprocess.run(argv, env=env(place, **variables), capture_output=True, text=True, check=False, timeout=60)


def statuses(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / "out" / "status.json").read_text().splitlines()]


def wait_for(met: Callable[[], Any]) -> None:
    until = time.monotonic() + 15
    while not met():
        assert time.monotonic() < until
        time.sleep(0.05)


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_key_reaches_the_script_and_stands_in_no_command_line(place: Path, gpus: int) -> None:
    text = (place / "spec.txt").read_text()
    (place / "model.tlt").write_text(sealed(KEY))  # opens with this key only
    (place / "spec.txt").write_text(set_value(text, "model_config.pretrained_model_file", str(place / "model.tlt")))
    argv = [*LAUNCH, *words(place, "--gpus", str(gpus))]
    process = subprocess.Popen(argv, env=env(place, FAKE_TAO_EPOCH_S="0.4"), stdout=subprocess.PIPE, text=True)
    seen = []
    while process.poll() is None:
        seen += [line for line in command_lines() if str(place) in line]
        time.sleep(0.02)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert statuses(place)[-1]["status"] == "SUCCESS"
    scripts = {line for line in seen if "work.py" in line and "--inner" in line}
    assert scripts  # the script itself was watched
    assert any("mpirun" in line for line in seen) == (gpus == 2)
    assert all("s3cret" not in line for line in seen)
    assert "s3cret" not in said
    assert list(place.glob("ngcrun-key-*")) == []  # the launcher leaves nothing behind


def test_a_key_that_is_not_set_is_told_before_anything_starts(place: Path) -> None:
    done = run(place, **{key_launch.VARIABLE: ""})
    assert done.returncode == 2
    assert done.stderr == "NGCRUN_TAO_KEY='': no key is in this environment variable; set it to the model's key\n"


def test_the_launcher_ends_with_the_programs_status_and_passes_a_signal_on(place: Path) -> None:
    assert run(place, FAKE_TAO_OOM="1").returncode == 255
    done = subprocess.run([*LAUNCH, "no_such_net"], env=env(place), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (127, "no_such_net: there is no such program on this machine\n")
    process = subprocess.Popen([*LAUNCH, "sleep", "60"], env=env(place))
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM


def test_an_entrypoint_that_asks_env_for_python_is_not_given_the_key_itself(place: Path) -> None:
    script = place / "task.py"
    script.write_text("import os, sys; print(sys.argv[2], 'NGCRUN_TAO_KEY' in os.environ)")
    program = place / "program"
    program.write_text(
        "#!/usr/bin/env python3\nimport subprocess, sys\nprint(sys.argv[1:], flush=True)\n"
        f"subprocess.run(['bash', '-c', 'python3 {script} --key ' + sys.argv[2]], check=True)\n"
    )
    program.chmod(0o755)
    argv = [*LAUNCH, str(program), "-k", key_launch.VARIABLE]
    done = subprocess.run(argv, env=env(place), capture_output=True, text=True, check=True)
    assert done.stdout == f"['-k', 'NGCRUN_TAO_KEY']\n{KEY} False\n"


def test_a_good_run_of_the_stand_in_writes_the_model_and_success(place: Path) -> None:
    done = run(place)
    assert done.returncode == 0
    assert done.stdout.endswith("Execution status: PASS\n")
    assert (place / "out" / "weights" / "model.hdf5").is_file()
    lines = statuses(place)
    assert [lines[0]["status"], lines[-1]["status"]] == ["STARTED", "SUCCESS"]
    assert lines[-1]["message"] == "DetectNet_v2 training job complete."
    assert lines[-2]["kpi"] == {"validation cost": 0.33333, "mean average precision": 66.667}


@pytest.mark.parametrize(
    ("variables", "status", "last"),
    [
        ({"FAKE_TAO_OOM": "1"}, 255, "Ran out of GPU memory, please lower the batch size"),
        ({"FAKE_TAO_NAN": "1"}, 0, "DetectNet_v2 training job complete."),
        ({"FAKE_TAO_EXIT": "7"}, 255, "DetectNet_v2 training job complete."),
        ({"FAKE_TAO_SILENT": "1"}, 0, "DetectNet_v2 training job complete."),
    ],
)
def test_the_stand_in_fails_as_it_is_asked_to(place: Path, variables: dict[str, str], status: int, last: str) -> None:
    done = run(place, **variables)
    assert done.returncode == status
    assert statuses(place)[-1]["message"].startswith(last)


def test_the_stand_in_copies_that_a_wrong_key_ends_in_pass(place: Path) -> None:
    text = (place / "spec.txt").read_text()
    (place / "model.tlt").write_text(sealed("another key"))
    (place / "spec.txt").write_text(set_value(text, "model_config.pretrained_model_file", str(place / "model.tlt")))
    done = run(place)
    assert (done.returncode, "Execution status: PASS" in done.stdout) == (0, True)
    assert statuses(place)[-1]["status"] == "FAILURE"
    assert "The key used to load the model is incorrect." in statuses(place)[-1]["Error"]


def test_the_stand_in_copies_that_an_interrupted_training_saves_its_model_and_ends_in_success(place: Path) -> None:
    argv = words(place)[:-2]  # without a key
    process = subprocess.Popen(argv, env=env(place, FAKE_TAO_EPOCH_S="5"), start_new_session=True, stdout=subprocess.PIPE, text=True)  # fmt: skip
    wait_for(lambda: (place / "out" / "status.json").is_file() and statuses(place))
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=20)[0]
    wait_for(lambda: statuses(place)[-1]["status"] == "SUCCESS")
    assert process.returncode == 0
    assert "Execution status: PASS" in said
    assert [line["message"] for line in statuses(place)][1:] == [
        "Training was interrupted",
        "DetectNet_v2 training job complete.",
    ]
    assert (place / "out" / "weights" / "model.hdf5").is_file()


def test_the_stand_in_refuses_what_the_real_messages_and_flags_refuse(place: Path) -> None:
    spec = place / "spec.txt"
    spec.write_text(spec.read_text().replace("dbscan_min_samples: 1", "dbscan_min_samples: 0.05"))
    assert run(place).returncode == 255
    assert statuses(place)[-1]["message"].endswith("Couldn't parse integer: 0.05")
    done = run(place, "--no_such_flag")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "detectnet_v2: error: unrecognized arguments: --no_such_flag",
    )
    (place / "data" / "tfrecords" / "part-fold-000").unlink()
    spec.write_text(spec.read_text().replace("dbscan_min_samples: 0.05", "dbscan_min_samples: 1"))
    assert run(place).returncode == 255
    assert statuses(place)[-1]["message"] == f"No tfrecord files match pattern {place}/data/tfrecords/*."


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "bpnet"])  # which reads its images: test_tao_bpnet.py
def test_each_network_trains_in_the_stand_in_and_writes_what_its_file_says(place: Path, name: str) -> None:
    net = network.find(name)
    data = str(place / "data")
    given = {"dataset": data, "records": data, "results": str(place / "res"), "spec": str(place / "s.txt")}
    (place / "s.txt").write_text(network.fill(net.spec, given))
    for pattern in ("train", "val"):
        (place / "data" / "tfrecords" / pattern).write_text("x")
    argv: list[str] = []
    for word in net.actions["train"].argv:
        if "${checkpoint}" in word or "${pretrained}" in word:
            argv.pop()
            continue
        argv.append(network.fill(word, given).replace("${key}", key_launch.VARIABLE))
    done = subprocess.run([*LAUNCH, name, "train", *argv], env=env(place), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for pattern in net.actions["train"].writes:
        if pattern.endswith((".hdf5", ".tlt")):
            assert list((place / "res").glob(pattern)), pattern
    assert list((place / "res" / "train").glob(net.latest))


def test_the_stand_in_copies_that_a_good_conversion_for_ssd_never_says_success(place: Path) -> None:
    (place / "convert.txt").write_text(network.find("ssd").actions["dataset_convert"].spec)
    for name, last in (("ssd", "STARTED"), ("retinanet", "SUCCESS")):
        more = ["-d", str(place / "convert.txt"), "-o", str(place / name / "part"), "-r", str(place / "out")]
        done = subprocess.run([name, "dataset_convert", *more], env=env(place), capture_output=True, check=False)
        assert done.returncode == 0
        assert statuses(place)[-1]["status"] == last
        assert len(list((place / name).glob("part*"))) == 1
