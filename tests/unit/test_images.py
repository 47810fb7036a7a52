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


def test_every_row_names_its_source() -> None:
    assert len(ROWS) >= 3
    assert all(row.source for row in ROWS.values())


def test_an_unknown_image_gets_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"image='rapid': is not in containers/images\.yaml; did you mean 'rapids'"):
        images.find(ROWS, "rapid")


def test_a_row_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images.yaml").write_text("x:\n  image: a\n  tga: b\n")
    with pytest.raises(BadInput, match="unexpected keyword argument 'tga'"):
        images.load(tmp_path / "images.yaml")
