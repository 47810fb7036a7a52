"""`ngcrun images`: what it lists and refuses, and the exact commands that it would run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import images, images_build, images_command
from runtime.errors import BadInput
from tests.fakes.registry import serving

ROOT = Path(__file__).parents[2]
ROWS = images.load(ROOT / "containers" / "images.yaml")
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The containers of this repository, to be changed."""
    for name in ("containers", "component_specs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tmp_path)
    (tmp_path / "runtime").symlink_to(ROOT / "runtime")
    return tmp_path


def run(checkout: Path, *words: str, path: str = os.defpath, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = {"NGCRUN_CACHE": str(checkout.parent / "wheels"), "TMPDIR": str(checkout)}  # logs of failures stay there
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path} | ours | environment
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


def test_a_bump_changes_the_row_and_what_is_generated_from_it(checkout: Path) -> None:
    path = checkout / "containers/images.yaml"
    lock = path.with_name(images.LOCK)
    images.write_locks(lock, {k: {"reference": ROWS[k].reference, "digest": DIGEST} for k in ("tao-pyt-5.5", "data")})
    before = path.read_text()
    done = run(checkout, "bump", "tao-pyt-5.5", "5.6.0-pyt")
    assert done.returncode == 0, done.stderr
    assert "tao-pyt-5.5: 5.5.0-pyt -> 5.6.0-pyt, unpinned; look at its facts again (python=3.10" in done.stdout
    lines = zip(before.splitlines(), path.read_text().splitlines(), strict=True)
    assert [b.split(":")[0].strip() for a, b in lines if a != b] == ["tag", "version", "literal"]
    assert set(images.locks(lock)) == {"data"}
    assert "tao-toolkit:5.6.0-pyt\n" in (checkout / "containers/tao-pyt-5.5/Dockerfile").read_text()
    spec = (checkout / "component_specs/tao/tao_train_pyt_5_5.yaml").read_text()
    assert "environment: azureml:ngcrun-tao-pyt-5-5:5.6.0-pyt" in spec
    assert run(checkout, "check").returncode == 0


def test_a_bump_takes_the_dockerfiles_written_by_hand_along(checkout: Path) -> None:
    done = run(checkout, "bump", "triton", "26.11-py3")
    assert "wrote containers/triton-serve/Dockerfile; give its environment.yaml another version" in done.stdout
    assert (
        "FROM nvcr.io/nvidia/tritonserver:26.11-py3\n" in (checkout / "containers/triton-serve/Dockerfile").read_text()
    )
    assert run(checkout, "check").returncode == 0


def test_the_check_names_every_disagreement(checkout: Path) -> None:
    folder = checkout / "containers"
    (folder / "triton-serve" / "Dockerfile").write_text("FROM nvcr.io/nvidia/tritonserver:25.01-py3\n")
    (folder / "data" / "environment.yaml").write_text("name: other\n")
    held = {
        "gone": {"reference": "a/b:1", "digest": DIGEST},
        "triton": {"reference": "nvcr.io/nvidia/tritonserver:25.01-py3", "digest": DIGEST},
        "data": {"reference": ROWS["data"].reference, "digest": "sha256:short"},
    }
    images.write_locks(folder / images.LOCK, held)
    done = run(checkout, "check")
    assert done.returncode == 2
    for line in (
        "images.lock.json: gone='a/b:1': is no row of images.yaml; remove it",
        "is not nvcr.io/nvidia/tritonserver:26.10-py3, which the row has; run `ngcrun images lock triton`",
        "images.lock.json: data='sha256:short': is no digest; run `ngcrun images lock data`",
        "triton-serve/Dockerfile: FROM='nvcr.io/nvidia/tritonserver:25.01-py3': is the base of no row of images.yaml",
        "data/environment.yaml': differs from its row in images.yaml; run `ngcrun specs`",
    ):
        assert line in done.stderr


def test_digests_are_locked_from_the_registry_and_stand_in_the_files(checkout: Path, tmp_path: Path) -> None:
    with serving() as there:
        path = checkout / "containers/images.yaml"
        path.write_text(path.read_text().replace("docker.io/library/python", f"{there.host}/library/python"))
        there.manifests["library/python:3.12-slim-bookworm"] = b"{}"
        digest = there.digest("library/python:3.12-slim-bookworm")
        env = {"DOCKER_CONFIG": str(tmp_path / "none"), "no_proxy": "127.0.0.1"}
        unpinned = run(checkout, "lock", "--check", "data", **env)
        assert unpinned.returncode == 2 and "is not pinned; run `ngcrun images lock data`" in unpinned.stderr
        done = run(checkout, "lock", "data", **env)
        assert done.returncode == 0, done.stderr
        assert f"data: {digest}\n" in done.stdout and "wrote containers/data/Dockerfile" in done.stdout
        assert f"3.12-slim-bookworm@{digest}\n" in (checkout / "containers/data/Dockerfile").read_text()
        assert run(checkout, "check").returncode == 0
        there.manifests["library/python:3.12-slim-bookworm"] = b"[]"
        moved = run(checkout, "lock", "--check", "data", **env)
        assert moved.returncode == 2 and f", was {digest}" in moved.stdout and "has moved" in moved.stderr
        assert images.locks(path.with_name(images.LOCK))["data"]["digest"] == digest


def test_the_commands_are_what_docker_and_az_take(checkout: Path) -> None:
    row, context = ROWS["data"], Path("/c")

    def argvs(*words: str) -> list[tuple[str, ...]]:
        return images_build.argvs(row, images_command.build_parser().parse_args(words), context)

    assert argvs("build", "data", "--registry", "r.azurecr.io", "--base", "b:1") == [
        ("docker", "build", "--tag", "r.azurecr.io/ngcrun-data:3.12", "--build-arg", "BASE=b:1", "/c"),
    ]
    assert argvs("build", "data", "--push", "r.azurecr.io", "--network", "host") == [
        ("docker", "build", "--tag", "r.azurecr.io/ngcrun-data:3.12", "--network", "host", "/c"),
        ("docker", "push", "r.azurecr.io/ngcrun-data:3.12"),
    ]
    assert argvs("build", "data", "--acr", "mine") == [
        ("az", "acr", "build", "--registry", "mine", "--image", "ngcrun-data:3.12", "/c"),
    ]
    assert argvs("push", "data", "--registry", "r.azurecr.io") == [("docker", "push", "r.azurecr.io/ngcrun-data:3.12")]


def test_all_are_those_that_a_component_runs_in(checkout: Path) -> None:
    docker = checkout / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\n")
    done = run(checkout, "build", "--all", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("docker build --tag ngcrun-") == len(ROWS) - 1  # none runs in tao-cosmos


STAND_IN = """\
#!/bin/sh
# A stand-in of {program}: it writes down its words and what lies in the context, and does what the test says.
echo "$@" >> "$0.words"
for last; do :; done
if [ -d "$last" ]; then ls "$last" >> "$0.words"; fi
{does}
"""


def stand_in(folder: Path, program: str, does: str = "") -> Path:
    path = folder / "bin" / program
    path.parent.mkdir(exist_ok=True)
    path.write_text(STAND_IN.format(program=program, does=does))
    path.chmod(0o755)
    return path


def test_az_is_given_the_context_with_the_wheel(checkout: Path, tmp_path: Path) -> None:
    fake = stand_in(tmp_path, "az")
    done = run(checkout, "build", "data", "--acr", "mine", path=f"{fake.parent}:{os.defpath}")
    assert done.returncode == 0, done.stderr
    words = fake.with_suffix(".words").read_text().splitlines()
    assert words[0].startswith("acr build --registry mine --image ngcrun-data:3.12 /")
    assert words[1:] == ["Dockerfile", "environment.yaml", "ngcrun-0.1.0-py3-none-any.whl"]


def test_steps_are_shown_as_they_begin_and_what_was_built_is_pushed(checkout: Path, tmp_path: Path) -> None:
    fake = stand_in(tmp_path, "docker", 'if [ "$1" = build ]; then echo "Step 1/2 : FROM base"; echo noise; fi')
    done = run(checkout, "build", "data", "--push", "r.azurecr.io", path=f"{fake.parent}:{os.defpath}")
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert shown[:2] == ["data: docker build ...", "data:   FROM base"] and "data: docker push ..." in shown
    assert fake.with_suffix(".words").read_text().splitlines()[-1] == "push r.azurecr.io/ngcrun-data:3.12"


SAID = [  # what docker says, and what is made of it; the texts are docker's own (20.10, 28.2)
    ("build", "pull access denied for nvcr.io/nvidia/x, repository does not exist or may require 'docker login': denied: x",
     "its base nvcr.io/nvidia/tritonserver:26.10-py3 asks for a login; docker login nvcr.io (user $oauthtoken"),
    ("build", "Get https://nvcr.io/v2/: dial tcp: lookup nvcr.io on 10.0.0.1:53: no such host",
     "its base nvcr.io/nvidia/tritonserver:26.10-py3 is not here and could not be fetched"),
    ("build", "The command '/bin/sh -c pip' returned a non-zero code: 1", "the build failed"),
    ("push", "An image does not exist locally with the tag: r/ngcrun-triton",
     "r.io/ngcrun-triton:26.10 is not built here; run `ngcrun images build triton --registry r.io`"),
    ("push", "unauthorized: authentication required", "r.io asks for a login; docker login r.io (Azure: az acr login"),
    ("push", "connection reset", "the push failed"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "said", "meaning"), SAID, ids=[meaning[:40] for _, _, meaning in SAID])
def test_what_docker_says_becomes_one_line_the_last_lines_and_the_log(
    checkout: Path, tmp_path: Path, verb: str, said: str, meaning: str
) -> None:
    fake = stand_in(tmp_path, "docker", f"seq 1 40; cat <<'EOF' >&2\n{said}\nEOF\nexit 1")
    words = (verb, "triton", "--registry", "r.io")
    done = run(checkout, *words, path=f"{fake.parent}:{os.defpath}")
    lines = done.stderr.splitlines()
    assert done.returncode == 3
    assert lines[0].startswith(f"image triton: {meaning}") and "; log: " in lines[0]
    assert len(lines) == 21 and lines[-1] == f"  | {said}"
    assert Path(lines[0].rpartition("; log: ")[2]).read_text().endswith(f"{said}\n")


BAD = [
    (("build", "dta"), "image='dta': is not in containers/images.yaml; did you mean 'data'?"),
    (("build", "data"), "images='docker': is not on this machine; install docker"),
    (("build", "data", "--acr", "x"), "images='az': is not on this machine; install the Azure CLI and `az login`"),
    (("push", "data"), "--registry=None: is needed to push; say --registry NAME.azurecr.io"),
    (("bump", "data", "latest"), "tag='latest': pins nothing or is no tag; give a release's tag"),
    (("bump", "data", "3.12-slim-bookworm"), "tag='3.12-slim-bookworm': is what data has; give another"),
    (("build",), "row=None: is not one choice; name rows, or say --all"),
    (("lock", "data", "--all"), "row='data': is not one choice; name rows, or say --all"),
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
    done = run(checkout, "build", "data", path=path, DOCKER_HOST=f"unix://{checkout}/none.sock")
    assert done.returncode == 3
    assert done.stderr.splitlines()[0].startswith(
        "image data: the docker daemon does not answer; start it, or say --acr NAME; log: "
    )


def test_rows_that_cannot_be_are_named() -> None:
    from dataclasses import replace

    row = ROWS["data"]
    odd = {
        "a": replace(row, key="a", image="UPPER/x", tag="latest"),
        "b": replace(row, key="b", interpreter="other", cuda="99"),
    }
    lines = [p.line() for p in images_command.wrong(odd)]
    assert [line.split("=")[0] for line in lines] == [
        "images.yaml: a.image", "images.yaml: a.tag", "images.yaml: b.environment", "images.yaml: b.interpreter",
        "images.yaml: b.cuda",
    ]  # fmt: skip
    with pytest.raises(BadInput):
        raise BadInput(images_command.wrong(odd))
