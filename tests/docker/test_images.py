"""Every Dockerfile built for real, on stand-ins of its base; each image is then asked what a job would ask of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime import catalog, dockerfile, images, images_build, registry, snapshot
from runtime.errors import BadInput
from tests.docker import engine

ROOT = Path(__file__).parents[2]
ROWS = images.load(ROOT / "containers" / "images.yaml")
USED = dockerfile.used(ROWS, catalog.components())
# One of each form with all that it installs; the others are alike but for their names and extras.
BUILT = ("data", "triton", "tao-tf1")


# numpy of Triton's image. Source: github.com/triton-inference-server/server e1db8a60, build.py ("numpy<2")
NUMPY = "1.26.4"


def build(row: images.Image, folder: Path, environment: Mapping[str, str]) -> str:
    """The image's name; the context is what publishing would upload, and this machine's certificates come on top."""
    context = folder / row.key
    images_build.stage(row, ROOT, context)
    argv = ["docker", "build", "--network=host", "--tag", f"{row.environment}:{row.version}"]
    if row.interpreter == "isolated":
        argv += ["--build-arg", "PYTHON=/usr/bin/python3"]  # uv would fetch one from GitHub, which is not reached here
    done = subprocess.run(
        [*argv, str(context)], env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return f"{row.environment}:{row.version}"


def inspect(name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    done = subprocess.run(["docker", "image", "inspect", name], env=environment, capture_output=True, check=True)
    return dict(json.loads(done.stdout)[0])


def run(image: str, environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    argv = ["docker", "run", "--rm", "--network=none", image, *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("key", BUILT)
def test_an_image_is_built_runs_its_component_and_keeps_no_cache(
    key: str, docker: Mapping[str, str], tmp_path: Path
) -> None:
    row = ROWS[key]
    name = build(row, tmp_path, docker)
    component = next(c for c in catalog.components().values() if row.key in (c.image, *c.also))
    version = run(name, docker, "ngcrun", "--version")
    assert version.stdout.startswith("ngcrun "), version.stderr
    refused = run(name, docker, "ngcrun", "step", component.name)
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.startswith(f"{component.name}: ") and "Traceback" not in refused.stderr
    if row.interpreter == "image":
        assert run(name, docker, "python", "-m", component.module, "--help").returncode == 0
    else:  # the image's own Python knows nothing of us
        assert run(name, docker, "python3", "-c", "import runtime").returncode == 1
        assert run(name, docker, "sh", "-c", "command -v python3").stdout == "/usr/bin/python3\n"
    left = run(name, docker, "sh", "-c", "ls -A /tmp /root/.cache 2>/dev/null | grep -v : ; true")
    assert left.stdout.split() == []
    assert run(name, docker, "id", "-un").stdout.strip() == row.user
    made, base = inspect(name, docker), inspect(row.reference, docker)
    assert made["Config"]["Labels"]["org.opencontainers.image.base.name"] == row.reference
    assert made["Config"]["Labels"]["ngcrun.row"] == row.key
    assert made["Config"]["Labels"][engine.STAND_IN] == "1"
    assert made["Config"]["Env"] == base["Config"]["Env"]  # a job sees what the vendor's image sets, and no more
    megabytes = (made["Size"] - base["Size"]) / 1e6
    print(f"{row.key}: our layer has {megabytes:.0f} MB")
    assert megabytes < 1000
    if row.key == "triton":
        numpy = run(name, docker, "python", "-c", "import numpy, onnxruntime; print(numpy.__version__)")
        assert numpy.stdout.strip() == NUMPY, numpy.stderr  # what the image came with has stayed


@pytest.mark.parametrize("row", [r for r in USED if r.key not in BUILT], ids=lambda row: row.key)
def test_every_other_dockerfile_is_read_by_docker(row: images.Image, docker: Mapping[str, str], tmp_path: Path) -> None:
    """Parsed whole, and its base found under the vendor's name; the first step that copies then misses its wheel."""
    context = tmp_path / row.key
    snapshot.copy(ROOT / "containers" / row.key, context)
    done = subprocess.run(
        ["docker", "build", str(context)], env=docker, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode != 0
    assert "COPY failed: no source files were specified" in done.stderr, done.stderr
    assert "parse error" not in done.stderr


def test_the_serving_image_starts_as_its_user(docker: Mapping[str, str], tmp_path: Path) -> None:
    context = tmp_path / "triton-serve"
    snapshot.copy(ROOT / "containers" / "triton-serve", context)
    argv = ["docker", "build", "--network=host", "--tag", "serve:1", str(context)]
    done = subprocess.run(argv, env=docker, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    asked = "import numpy, PIL, polars; print(numpy.__version__.split('.')[0], polars.__version__)"
    assert run("serve:1", docker, "python3", "-c", asked).stdout.split() == ["1", "1.44.2"]
    started = run("serve:1", docker)
    assert started.returncode == 127  # the stand-in has no tritonserver
    assert "tritonserver: not found" in started.stderr
    assert run("serve:1", docker, "id", "-un").stdout.strip() == "triton-server"


def test_the_command_builds_pushes_and_locks_on_a_real_registry(docker: Mapping[str, str], tmp_path: Path) -> None:
    """`ngcrun images build --push` with the real docker; the digest that we are told is the one that docker pushed."""
    with engine.registry(tmp_path) as host:
        argv = [sys.executable, "-m", "runtime", "images", "build", "data", "--network", "host", "--push", host]
        done = subprocess.run(
            argv,
            cwd=ROOT,
            env=docker,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        assert "data:   FROM ${BASE}" in done.stdout and "data: docker push ..." in done.stdout
        name = f"{host}/{ROWS['data'].environment}"
        told = registry.digest_of(name, ROWS["data"].version)
        assert f"{name}@{told}" in inspect(f"{name}:{ROWS['data'].version}", docker)["RepoDigests"]
        with pytest.raises(BadInput, match="is not in the registry"):
            registry.digest_of(name, "other")


def test_a_base_that_cannot_be_had_is_told_in_one_line(docker: Mapping[str, str]) -> None:
    argv = [sys.executable, "-m", "runtime", "images", "build", "data", "--base", "nvcr.io/nvidia/not-here:1"]
    done = subprocess.run(argv, cwd=ROOT, env=docker, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3
    line = done.stderr.splitlines()[0]
    assert line.startswith("image data: its base nvcr.io/nvidia/not-here:1 is not here"), done.stderr
    Path(line.rpartition("; log: ")[2]).unlink()
