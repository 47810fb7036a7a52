from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import catalog, single
from runtime.command import Command
from runtime.errors import BadInput
from runtime.tao import launcher, network, program
from runtime.tao.failures import Reason, explain

CONFIG = {"model": {"6.26.3-pyt": ["dino"]}, "deploy": {"6.26.3-deploy": ["dino"]}}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A launcher that is installed, on a machine without docker and without a login."""
    site = tmp_path / "la" / "lib" / "python3.12" / "site-packages" / "nvidia_tao_cli" / "config"
    site.mkdir(parents=True)
    (tmp_path / "la" / "bin").mkdir()
    (tmp_path / "la" / "bin" / "tao").write_text("")
    rows = {
        group: {"dockers": {"nvidia/tao": {t: {"docker_registry": "nvcr.io", "tasks": n} for t, n in tags.items()}}}
        for group, tags in CONFIG.items()
    }
    (site / "config.json").write_text(json.dumps({"task_group": rows}))
    return {
        "NGCRUN_TAO_VIA": "launcher",
        "NGCRUN_TAO_LAUNCHER_ENV": str(tmp_path / "la"),
        "PATH": str(tmp_path),
        "HOME": str(tmp_path),
    }


def lines(name: str, action: str, environ: dict[str, str]) -> list[str]:
    found = network.find(name)
    with pytest.raises(BadInput) as caught:
        launcher.begin(found, found.action(action), environ)
    return [problem.line() for problem in caught.value.problems]


def test_a_machine_without_docker_and_login_is_told_both_in_a_line_each(environ: dict[str, str]) -> None:
    assert lines("dino", "train", environ) == [
        "--via='launcher': there is no docker on PATH; install it with the NVIDIA Container Toolkit",
        f"--via='launcher': {environ['HOME']}/.docker/config.json holds no login for nvcr.io; "
        "docker login nvcr.io (user $oauthtoken, password: your NGC key)",
    ]


def test_a_network_that_the_launcher_has_not_is_refused(environ: dict[str, str]) -> None:
    expected = "network='codetr': the launcher has no `tao model` task for it; leave out --via launcher"
    assert lines("codetr", "train", environ)[0] == expected


def test_without_the_launcher_the_way_to_make_it_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    environ["NGCRUN_TAO_LAUNCHER_ENV"] = str(tmp_path / "none")
    assert lines("dino", "train", environ)[0] == (
        f"--via='launcher': there is no {tmp_path}/none/bin/tao; make it: python -m runtime.tao.env launcher (23 MB)"
    )


def test_docker_anywhere_but_at_its_socket_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "docker").symlink_to("/bin/true")
    environ["DOCKER_HOST"] = "tcp://127.0.0.1:2375"
    wrong = "DOCKER_HOST='tcp://127.0.0.1:2375': the launcher only knows /var/run/docker.sock; unset it"
    assert lines("dino", "train", environ)[0] == wrong


def test_with_all_in_place_it_begins_with_a_terminal_and_the_group_of_the_image(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "docker").symlink_to("/bin/true")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text('{"auths": {"nvcr.io": {}}}')
    found = network.find("dino")
    tao = str(tmp_path / "la" / "bin" / "tao")
    for action, group in (("train", "model"), ("gen_trt_engine", "deploy")):
        begun = program.find(found, found.action(action), device="gpu", environ=environ)
        assert begun == program.Program(
            (sys.executable, "-I", "-S", str(launcher.TTY), tao, group, "dino"), launched=True
        )


def test_the_launcher_is_not_for_a_cpu(environ: dict[str, str]) -> None:
    found = network.find("dino")
    with pytest.raises(BadInput) as caught:
        program.find(found, found.action("train"), device="cpu", environ=environ)
    expected = "device='cpu': the launcher starts nothing without a GPU; leave out --via launcher"
    assert str(caught.value) == expected


def test_the_command_is_this_and_holds_no_key(tmp_path: Path) -> None:
    found = network.find("dino")
    run = program.Run(found, found.action("train"), Path("/w/.p/trained/spec.yaml"), Path("/w/.p/trained"), {}, "gpu")
    begun = program.Program(("python", "tty.py", "/la/bin/tao", "model", "dino"), launched=True)
    assert program.command(run, begun, {"NGCRUN_TAO_KEY": "hush"}) == Command(
        ("python", "tty.py", "/la/bin/tao", "model", "dino", "train", "-e", "/w/.p/trained/spec.yaml"),
        Path("/w/.p/trained"),
        {
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": "",
            "NGCRUN_TAO_CPU": "",
            "WANDB_MODE": "disabled",
            "LAUNCHER_MOUNTS": "/w/trained.mounts.json",
            "CI_PROJECT_DIR": "",
            "TAO_DOCKER_DISABLE": "0",
        },
    )
    assert "CI_PROJECT_DIR" not in program.without_empty({"CI_PROJECT_DIR": ""})


def test_a_path_that_a_shell_would_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        launcher.command(("tao",), ("train", "-e", "/w/my $(data)/spec.yaml"), tmp_path, {})
    assert str(caught.value) == (
        "--via='launcher': cannot pass on '/w/my $(data)/spec.yaml'; "
        "use paths of letters, digits and . _ - / only: the launcher pastes them into a shell"
    )


def test_the_mounts_file_is_this(tmp_path: Path) -> None:
    paths = [tmp_path / "r", tmp_path / "d" / "images", tmp_path / "d", tmp_path / "d"]
    variables = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": "", "WANDB_MODE": "disabled", "LAUNCHER_MOUNTS": "/x"}
    assert launcher.mounts(paths, variables, {"NGCRUN_TAO_KEY": "hush"}, "7:8") == {
        "Mounts": [
            {"source": f"{tmp_path}/d", "destination": f"{tmp_path}/d"},
            {"source": f"{tmp_path}/r", "destination": f"{tmp_path}/r"},
        ],
        "Envs": [
            {"variable": "PYTHONUNBUFFERED", "value": "1"},
            {"variable": "WANDB_MODE", "value": "disabled"},
            {"variable": "HOME", "value": "/tmp"},
            {"variable": "NGCRUN_TAO_KEY", "value": "hush"},
        ],
        "DockerOptions": {
            "shm_size": "16G",
            "ulimits": {"memlock": -1, "stack": 67108864},
            "tty": True,
            "user": "7:8",
        },
    }


def test_a_symbolic_link_is_refused_because_the_container_would_not_have_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(BadInput) as caught:
        launcher.mounts([tmp_path / "link"], {}, {}, "7:8")
    expected = f"--via='launcher': {tmp_path}/link goes through a symbolic link; give {tmp_path}"
    assert str(caught.value) == expected


def test_the_mounts_file_is_for_this_user_only_and_gone_afterwards(tmp_path: Path) -> None:
    results = tmp_path / ".partial" / "trained"
    with pytest.raises(RuntimeError, match="TAO died"), launcher.prepared(results, {"Mounts": []}):
        file = tmp_path / "trained.mounts.json"
        assert file.stat().st_mode & 0o777 == 0o600
        assert json.loads(file.read_text()) == {"Mounts": []}
        raise RuntimeError("TAO died")
    assert not file.exists()


def test_the_launcher_gets_a_terminal_where_there_is_none() -> None:
    words = [sys.executable, "-I", "-S", str(launcher.TTY), "sh", "-c", "test -t 0 && echo a terminal"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert done.stdout == "a terminal\n"


@pytest.mark.parametrize("words", [["--via", "launcher"], ["--via=launcher"]])
def test_via_launcher_reaches_the_step_as_a_variable(words: list[str], tmp_path: Path) -> None:
    extra, rest = single.via("tao_train", ["network=dino", *words, "trained=t"])
    assert rest == ["network=dino", "trained=t"]
    command = single.plan(catalog.find("tao_train"), rest, tmp_path / "runs" / "x", tmp_path, extra)
    assert command.env["NGCRUN_TAO_VIA"] == "launcher"
    assert single.via("tao_train", ["network=dino"]) == ({}, ["network=dino"])


@pytest.mark.parametrize(
    ("name", "words", "value"), [("tao_train", ["--via", "ssh"], "ssh"), ("rapids_clean", ["--via=launcher"], "launcher"), ("tao_train", ["--via"], "")]
)  # fmt: skip
def test_there_is_no_other_way_and_no_other_step_to_run_via_it(name: str, words: list[str], value: str) -> None:
    with pytest.raises(BadInput) as caught:
        single.via(name, words)
    assert str(caught.value) == (
        f"--via='{value}': is no way to run {name}; "
        "give --via launcher to a tao_ step (NVIDIA's own launcher starts the image), or leave it out"
    )


def test_asked_for_reads_the_variable() -> None:
    assert not launcher.asked_for({})
    assert launcher.asked_for({**os.environ, "NGCRUN_TAO_VIA": "launcher"})


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (
            'Docker instantiation failed with error: 500 Server Error: Internal Server Error ("could not select device '
            'driver "" with capabilities: [[gpu]]")',
            Reason(
                "docker has no NVIDIA runtime",
                "install the NVIDIA Container Toolkit (`ngcrun doctor` says what is here)",
            ),
        ),
        (
            "Docker pull failed. 404 Client Error",
            Reason("the image could not be pulled", "check the login (docker login nvcr.io), the network and the disk"),
        ),
    ],
)
def test_what_docker_refuses_is_explained(printed: str, expected: Reason) -> None:
    assert explain(printed) == expected
