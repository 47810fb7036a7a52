"""`ngcrun images`: what it lists and refuses, and the exact commands that it would run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import images, images_command
from runtime.errors import BadInput

ROOT = Path(__file__).parents[2]
ROWS = images.load(ROOT / "containers" / "images.yaml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The containers of this repository, to be changed."""
    shutil.copytree(ROOT / "containers", tmp_path / "containers")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tmp_path)
    (tmp_path / "runtime").symlink_to(ROOT / "runtime")
    return tmp_path


def run(checkout: Path, *words: str, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "NGCRUN_CACHE": str(checkout / "cache")}
    argv = [sys.executable, "-m", "runtime", "images", *words]
    return subprocess.run(argv, cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_every_row_is_listed_with_its_facts(checkout: Path) -> None:
    lines = run(checkout, "list").stdout.splitlines()
    assert len(lines) == len(ROWS) + 1
    triton = next(line for line in lines if line.startswith("triton "))
    assert "nvcr.io/nvidia/tritonserver:26.10-py3" in triton and "ngcrun-triton:26.10" in triton and "7.5" in triton


def test_the_rows_here_are_well_formed(checkout: Path) -> None:
    done = run(checkout, "check")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{len(ROWS)} rows are well formed and agree with their files")


def test_a_bump_changes_the_tag_and_says_what_to_look_at(checkout: Path) -> None:
    before = (checkout / "containers/images.yaml").read_text()
    done = run(checkout, "bump", "tao-pyt-5.5", "5.6.0-pyt")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tao-pyt-5.5: 5.5.0-pyt -> 5.6.0-pyt; look at its facts again (python=3.10")
    after = (checkout / "containers/images.yaml").read_text()
    changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert [b.split(":")[0].strip() for _, b in changed] == ["tag", "version", "literal"]
    stale = run(checkout, "check")
    assert stale.returncode == 2 and "differs from its row in images.yaml; run `ngcrun specs`" in stale.stderr


def test_the_commands_are_what_docker_and_az_take(checkout: Path) -> None:
    parse = images_command.build_parser().parse_args
    row, context = ROWS["data"], Path("/c")
    local = images_command._argv(row, parse(["build", "data", "--registry", "r.azurecr.io", "--base", "b:1"]), context)
    assert local == ("docker", "build", "--tag", "r.azurecr.io/ngcrun-data:3.12", "--build-arg", "BASE=b:1", "/c")
    acr = images_command._argv(row, parse(["build", "data", "--acr", "mine"]), context)
    assert acr == ("az", "acr", "build", "--registry", "mine", "--image", "ngcrun-data:3.12", "/c")
    assert images_command._argv(row, parse(["push", "data", "--registry", "r.azurecr.io"]), context) == (
        "docker", "push", "r.azurecr.io/ngcrun-data:3.12",
    )  # fmt: skip


def test_az_is_given_the_context_with_the_wheel(checkout: Path, tmp_path: Path) -> None:
    """A stand-in of az that writes down its words and what lies in the context."""
    fake = tmp_path / "bin" / "az"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@" > "$0.words"\nfor last; do :; done\nls "$last" >> "$0.words"\n')
    fake.chmod(0o755)
    done = run(checkout, "build", "data", "--acr", "mine", path=f"{fake.parent}:{os.defpath}")
    assert done.returncode == 0, done.stderr
    words = fake.with_suffix(".words").read_text().splitlines()
    assert words[0].startswith("acr build --registry mine --image ngcrun-data:3.12 /")
    assert words[1:] == ["Dockerfile", "environment.yaml", "ngcrun-0.1.0-py3-none-any.whl"]


BAD = [
    (("build", "dta"), "image='dta': is not in containers/images.yaml; did you mean 'data'?"),
    (("build", "data"), "images='docker': is not on this machine; install docker"),
    (("build", "data", "--acr", "x"), "images='az': is not on this machine; install the Azure CLI and `az login`"),
    (("push", "data"), "--registry=None: is needed to push; say --registry NAME.azurecr.io"),
    (("bump", "data", "latest"), "tag='latest': pins nothing or is no tag; give a release's tag"),
]


@pytest.mark.parametrize(("words", "line"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_a_mistake_is_one_line(checkout: Path, words: tuple[str, ...], line: str) -> None:
    done = run(checkout, *words, path=str(checkout / "empty"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert line in done.stderr


def test_a_daemon_that_is_not_there_is_told(checkout: Path) -> None:
    if shutil.which("docker") is None:
        pytest.skip("no docker client on this machine")
    path = str(Path(str(shutil.which("docker"))).parent) + ":" + os.defpath
    env_socket = f"unix://{checkout}/none.sock"
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": path,
        "NGCRUN_CACHE": str(checkout / "cache"),
        "DOCKER_HOST": env_socket,
    }
    argv = [sys.executable, "-m", "runtime", "images", "build", "data"]
    done = subprocess.run(argv, cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3
    assert done.stderr.splitlines()[0].startswith(
        "image data: the docker daemon does not answer; start it, or say --acr NAME; log: "
    )


def test_rows_that_cannot_be_are_named() -> None:
    from dataclasses import replace

    row = ROWS["data"]
    odd = {"a": replace(row, key="a", image="UPPER/x", tag="latest"), "b": replace(row, key="b", interpreter="other")}
    lines = [p.line() for p in images_command.wrong(odd)]
    assert [line.split("=")[0] for line in lines] == [
        "images.yaml: a.image", "images.yaml: a.tag", "images.yaml: b.environment", "images.yaml: b.interpreter",
    ]  # fmt: skip
    with pytest.raises(BadInput):
        raise BadInput(images_command.wrong(odd))
