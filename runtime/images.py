"""The NGC images that components run in: `containers/images.yaml`, one row an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runtime.errors import BadInput, nearest


@dataclass(frozen=True)
class Image:
    """One NGC image, and the AzureML environment (name and version) that is built on it."""

    key: str
    image: str
    tag: str
    environment: str
    version: str
    python: str
    cuda: str
    compute_capability: str
    driver: str
    runs: str
    extras: str
    interpreter: str
    user: str
    literal: bool
    source: str

    @property
    def reference(self) -> str:
        """What `docker pull` takes."""
        return f"{self.image}:{self.tag}"

    @property
    def azureml(self) -> str:
        """What a component's `environment:` takes."""
        return f"azureml:{self.environment}:{self.version}"


def load(path: Path) -> dict[str, Image]:
    """Every row of an images file by its key; raises `BadInput` for a row with a missing or unknown field."""
    rows: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    images = {}
    for key, row in rows.items():
        try:
            images[key] = Image(key=key, **row)
        except TypeError as error:
            raise BadInput.of(str(path), key, str(error).split(") ")[-1], "see the other rows") from error
    return images


def find(images: dict[str, Image], key: str) -> Image:
    """The row `key`; raises `BadInput` with the nearest."""
    if key not in images:
        raise BadInput.of("image", key, "is not in containers/images.yaml", nearest(key, images))
    return images[key]
