"""Every Dockerfile built for real, on stand-ins of its base; each image is then asked what a job would ask of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from runtime import catalog, dockerfile, images, wheel
from runtime.azureml import snapshot
from tests.docker import engine

ROOT = Path(__file__).parents[2]
ROWS = images.load(ROOT / "containers" / "images.yaml")
USED = dockerfile.used(ROWS, catalog.components())
# One of each form with all that it installs; the others are alike but for their names and extras.
BUILT = ("data", "triton", "tao-tf1")


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    engine.install()
    with engine.running() as environment:
        engine.tag(engine.base(tmp_path_factory.mktemp("base")), [row.reference for row in ROWS.values()], environment)
        yield environment


def build(row: images.Image, folder: Path, environment: Mapping[str, str]) -> str:
    """The image's name; the context is what publishing would upload, and this machine's certificates come on top."""
    context = folder / row.key
    snapshot.copy(ROOT / "containers" / row.key, context)
    shutil.copy2(wheel.build(ROOT), context)
    argv = ["docker", "build", "--network=host", "--tag", f"{row.environment}:{row.version}"]
    if row.interpreter == "isolated":
        argv += ["--build-arg", "PYTHON=/usr/bin/python3"]  # uv would fetch one from GitHub, which is not reached here
    done = subprocess.run(
        [*argv, str(context)], env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return f"{row.environment}:{row.version}"


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
    done = subprocess.run(
        ["docker", "build", "--tag", "serve:1", str(context)], env=docker, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    started = run("serve:1", docker)
    assert started.returncode == 127  # the stand-in has no tritonserver
    assert "tritonserver: not found" in started.stderr
    assert run("serve:1", docker, "id", "-un").stdout.strip() == "triton-server"
