"""One dockerd for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from runtime import images
from tests.docker import engine
from tests.docker.test_images import NUMPY, ROOT


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment in which the docker client finds it; the stand-ins of the NGC images are there."""
    rows = images.load(ROOT / "containers" / "images.yaml")
    engine.install()
    before = engine.traces()
    with engine.running() as environment:
        engine.tag(engine.base(tmp_path_factory.mktemp("base")), [row.reference for row in rows.values()], environment)
        engine.with_numpy(rows["triton"].reference, NUMPY, tmp_path_factory.mktemp("numpy"), environment)
        yield environment
    assert engine.traces() <= before
