from __future__ import annotations

from pathlib import Path

import pytest

from runtime import catalog, images
from runtime.errors import BadInput

ROWS = images.load(Path(__file__).parents[2] / "containers" / "images.yaml")


def test_every_component_runs_in_an_image_that_is_there() -> None:
    assert {c.image for c in catalog.components().values()} <= set(ROWS)


def test_a_row_gives_a_reference_and_an_environment() -> None:
    row = ROWS["triton"]
    assert row.reference == f"nvcr.io/nvidia/tritonserver:{row.tag}"
    assert row.azureml == f"azureml:ngcrun-triton:{row.version}"


def test_every_fact_that_is_known_names_its_source() -> None:
    assert len(ROWS) >= 10
    for row in ROWS.values():
        known = {fact for fact in images.FACTS if getattr(row, fact) not in (images.UNKNOWN, "none")}
        assert known <= set(row.sources), row.key
        assert all(isinstance(text, str) and text for text in row.sources.values())


def test_a_python_that_is_too_old_or_held_to_its_versions_stays_as_it_is() -> None:
    assert {key for key, row in ROWS.items() if row.interpreter == "image"} == {"rapids", "triton", "data"}
    assert all(row.python == "3.12" for row in ROWS.values() if row.interpreter == "image")


def test_a_digest_counts_only_for_the_reference_that_it_was_locked_for(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "containers" / "images.yaml").read_text()
    (tmp_path / "images.yaml").write_text(text)
    digest = f"sha256:{'a' * 64}"
    held = {
        "data": {"reference": ROWS["data"].reference, "digest": digest},
        "triton": {"reference": "nvcr.io/nvidia/tritonserver:26.09-py3", "digest": digest},
    }
    images.write_locks(tmp_path / images.LOCK, held)
    rows = images.load(tmp_path / "images.yaml")
    assert rows["data"].pinned == f"docker.io/library/python:3.12-slim-bookworm@{digest}"
    assert rows["triton"].digest is None and rows["triton"].pinned == rows["triton"].reference
    (tmp_path / images.LOCK).write_text("{")
    with pytest.raises(BadInput, match="is no JSON"):
        images.load(tmp_path / "images.yaml")


def test_an_unknown_image_gets_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"image='rapid': is not in containers/images\.yaml; did you mean 'rapids'"):
        images.find(ROWS, "rapid")


def test_a_row_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images.yaml").write_text("x:\n  image: a\n  tga: b\n")
    with pytest.raises(BadInput, match="unexpected keyword argument 'tga'"):
        images.load(tmp_path / "images.yaml")
