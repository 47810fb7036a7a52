"""The real launcher, nvidia-tao 6.26.3, without docker. It is in the cache, or where NGCRUN_TAO_LAUNCHER_ENV says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from runtime.tao import env, launcher
from runtime.tao import network as networks

ROOT = Path(__file__).parents[2]
# In the wheel nvidia-tao-deploy 7.3.0, not in the table of the launcher.
NO_DEPLOY_TASK = {(name, "deploy") for name in ("nvdinov2", "pointpillars", "sparse4d", "video_clip")}
# The launcher does not list them; the tag is the one of the PyTorch networks. Each network's file says so.
UNLISTED = {"codetr", "dinov3", "radio", "video_clip"}


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the launcher is installed; fails where it is not."""
    folder = env.folder_of("launcher")
    assert (folder / "bin" / "tao").is_file(), "make it: python -m runtime.tao.env launcher"
    return folder


def test_the_rows_of_tao_images_are_those_of_the_launcher(folder: Path) -> None:
    rows = yaml.safe_load((ROOT / "containers" / "images.yaml").read_text())
    ours = {f"{row['image']}:{row['tag']}" for name, row in rows.items() if name.startswith("tao-")}
    theirs = {image for tasks in launcher.tasks(folder).values() for image in tasks.values()}
    assert len(theirs) == 7
    assert ours == theirs


def test_every_action_runs_in_the_image_that_the_launcher_takes_for_it(folder: Path) -> None:
    rows = yaml.safe_load((ROOT / "containers" / "images.yaml").read_text())
    tasks, seen, without = launcher.tasks(folder), 0, set()
    for network in map(networks.find, networks.names()):
        for action in network.actions.values():
            row = rows[network.image_of(action)]
            group = launcher.GROUPS.get(network.image_of(action), "model")
            image = tasks[group].get(network.name)
            if image is None:
                without.add((network.name, group))
                continue
            assert image == f"{row['image']}:{row['tag']}", (network.name, action.name)
            seen += 1
    assert seen > 150
    assert without == {*((name, "model") for name in UNLISTED), *NO_DEPLOY_TASK}


def test_without_a_login_the_launcher_itself_ends_in_a_traceback(folder: Path, tmp_path: Path) -> None:
    words = [folder / "bin" / "tao", "model", "dino", "train", "-e", "/spec.yaml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=bare(tmp_path))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "Did you run docker login?" in done.stderr


def test_and_we_say_it_in_a_line_before_anything_starts(folder: Path, tmp_path: Path) -> None:
    environment = bare(tmp_path) | {"NGCRUN_TAO_LAUNCHER_ENV": str(folder)}
    words = ["run", "tao_train", "--via", "launcher", "network=dino", "trained=out"]
    done = subprocess.run(
        [sys.executable, "-m", "runtime", *words], capture_output=True, text=True, check=False, cwd=tmp_path,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert (
        f"tao_train: --via='launcher': {tmp_path}/.docker/config.json holds no login for nvcr.io; "
        "docker login nvcr.io (user $oauthtoken, password: your NGC key)"
    ) in done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_launcher_reads_our_mounts_file_as_we_mean_it(folder: Path, tmp_path: Path) -> None:
    document = launcher.mounts([tmp_path], {"WANDB_MODE": "disabled"}, {"NGCRUN_TAO_KEY": "hush"}, "7:8")
    (tmp_path / "mounts.json").write_text(json.dumps(document))
    code = (
        "import json, sys\n"
        "from nvidia_tao_cli.components.docker_handler.docker_handler import DockerHandler as Handler\n"
        "handler = object.__new__(Handler)\n"
        "handler._docker_mount_file = sys.argv[1]\n"
        "mounts, variables, options = handler._get_mount_env_data()\n"
        "print(json.dumps([Handler.formatted_mounts(mounts), Handler.formatted_envs(variables),"
        " handler.get_docker_option_args(options)]))\n"
    )
    words = [folder / "bin" / "python", "-c", code, tmp_path / "mounts.json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=bare(tmp_path))
    assert json.loads(done.stdout.splitlines()[-1]) == [
        {str(tmp_path): {"bind": str(tmp_path), "mode": "rw"}},
        ["WANDB_MODE=disabled", "HOME=/tmp", "NGCRUN_TAO_KEY=hush"],
        {
            "shm_size": "16G",
            "ulimits": [
                {"Name": "memlock", "Soft": -1, "Hard": -1},
                {"Name": "stack", "Soft": 67108864, "Hard": 67108864},
            ],
            "tty": True,
            "user": "7:8",
        },
    ]


def bare(home: Path) -> dict[str, str]:
    """This environment with a home that holds no login."""
    kept = {k: v for k, v in os.environ.items() if k not in ("DOCKER_HOST", "MLFLOW_TRACKING_URI", "OVERRIDE_REGISTRY")}
    return kept | {
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "NGCRUN_CACHE": os.environ.get("NGCRUN_CACHE", str(home)),
    }
