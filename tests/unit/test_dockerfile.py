"""The generated Dockerfiles and environments: what stands in them, and that they agree with their rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from runtime import catalog, dockerfile, images

CONTAINERS = Path(__file__).parents[2] / "containers"
ROWS = images.load(CONTAINERS / "images.yaml")


def test_every_image_that_something_runs_in_has_its_folder() -> None:
    wanted = {key for c in catalog.components().values() for key in (c.image, *c.also)}
    assert wanted == {row.key for row in dockerfile.used(ROWS, catalog.components())}
    assert {p.parent.name for p in CONTAINERS.glob("*/Dockerfile")} == wanted | {"triton-serve"}


def test_they_agree_with_their_rows(tmp_path: Path) -> None:
    assert dockerfile.drift(ROWS, catalog.components(), CONTAINERS) == []
    made = dockerfile.write(ROWS, catalog.components(), tmp_path)
    assert made == list(dockerfile.files(ROWS, catalog.components(), tmp_path))
    assert dockerfile.write(ROWS, catalog.components(), tmp_path) == []
    (tmp_path / "rapids" / "Dockerfile").write_text("FROM other\n")
    (tmp_path / "triton" / "environment.yaml").unlink()
    lines = [p.line() for p in dockerfile.drift(ROWS, catalog.components(), tmp_path)]
    assert "differs from its row in images.yaml; run `ngcrun specs`" in lines[0]
    assert "is missing; run `ngcrun specs`" in lines[1]


@pytest.mark.parametrize("row", dockerfile.used(ROWS, catalog.components()), ids=lambda row: row.key)
def test_a_dockerfile_is_thin_pinned_and_leaves_nothing_behind(row: images.Image) -> None:
    text = dockerfile.dockerfile(row)
    assert f"ARG BASE={row.reference}\nFROM ${{BASE}}\n" in text
    assert "COPY ngcrun-*.whl /tmp/wheels/" in text
    assert "--no-cache" in text and "rm -rf /tmp/wheels" in text
    assert f"[{','.join(row.extras.split())}]" in text
    assert ("/opt/ngcrun/venv" in text) == (row.interpreter == "isolated")
    assert f'ngcrun.row="{row.key}"' in text
    assert "\nENV " not in text  # what runs in the image later sees nothing of how it was built
    assert text.rstrip().endswith("ngcrun --version" if row.user == "root" else f"USER {row.user}")
    assert not any(word in text for word in ("curl", "wget", "apt-get", ":latest"))


@pytest.mark.parametrize("row", dockerfile.used(ROWS, catalog.components()), ids=lambda row: row.key)
def test_an_environment_is_the_row(row: images.Image) -> None:
    data = yaml.safe_load(dockerfile.environment(row))
    assert (data["name"], data["version"]) == (row.environment, row.version)
    assert data["build"] == {"path": ".", "dockerfile_path": "Dockerfile"}
    assert data["tags"] == {"row": row.key, "base": row.reference, "base_digest": "unpinned"}


def test_a_digest_that_is_locked_stands_in_both_files() -> None:
    digest = f"sha256:{'a' * 64}"
    row = replace(ROWS["triton"], digest=digest)
    assert f"ARG BASE=nvcr.io/nvidia/tritonserver:26.10-py3@{digest}\n" in dockerfile.dockerfile(row)
    assert yaml.safe_load(dockerfile.environment(row))["tags"]["base_digest"] == digest


def test_the_extras_that_rows_name_exist() -> None:
    import tomllib

    extras = tomllib.loads((CONTAINERS.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for row in ROWS.values():
        assert set(row.extras.split()) <= set(extras), row.key
