"""Our checker against OmegaConf on NVIDIA's own classes: what it refuses is what TAO refuses."""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runtime.tao import check_yaml, network, schema

NETWORKS = sorted({n.schema for n in map(network.find, network.names()) if n.dialect == "yaml" and n.schema})
KEYS = int(os.environ.get("NGCRUN_SCHEMA_KEYS", "15"))  # of each network; `nox -s tao` takes 60, for two minutes
VALUES: list[Any] = [
    0,
    7,
    -3,
    2.5,
    1e-4,
    True,
    False,
    "text",
    "12",
    "1.5",
    "yes",
    None,
    [],
    [1],
    ["a"],
    [1.5],
    {},
    {"a": 1},
    {"no_such": 2},
]


@pytest.fixture(scope="module")
def classes() -> dict[str, Any]:
    folder = str(schema.package_folder())
    sys.path.insert(0, folder)
    try:
        found = {}
        for name in NETWORKS:
            module = importlib.import_module(f"nvidia_tao_core.config.{name}.default_config")
            found[name] = getattr(module, "ExperimentConfig", None) or module.CLIPExperimentConfig
        return found
    finally:
        sys.path.remove(folder)


def test_the_checker_and_omegaconf_refuse_the_same_specs(classes: dict[str, Any]) -> None:
    random_ = random.Random(7)  # noqa: S311 - a sample, no secret
    compared = refused = 0
    disagree = []
    for name in NETWORKS:
        tree = schema.read(name)
        keys = [key for key, _ in check_yaml.leaves(tree)]
        structured = OmegaConf.structured(classes[name])
        for key in random_.sample(keys, min(KEYS, len(keys))):
            for value in random_.sample(VALUES, 5):
                spec: Any = value
                for part in reversed(key):
                    spec = {part: spec}
                try:
                    OmegaConf.merge(structured, OmegaConf.create(spec))
                    theirs = True
                except OmegaConfBaseException:
                    theirs = False
                text = json.dumps(spec)
                ours = not [
                    f
                    for f in check_yaml.check(tree, check_yaml.read(text))
                    if not f.warning and " is missing" not in f.problem.wrong
                ]
                compared, refused = compared + 1, refused + (not theirs)
                if ours != theirs:
                    disagree.append(
                        (name, ".".join(key), value, "omegaconf takes it" if theirs else "omegaconf refuses it")
                    )
    assert compared > 1000 or len(NETWORKS) < 10
    assert 0 < refused < compared
    assert disagree == []


def test_a_check_reads_no_torch_and_keeps_what_it_read(tmp_path: Path) -> None:
    environment = {"NGCRUN_CACHE": str(tmp_path), "NGCRUN_TAO_SCHEMA": str(schema.package_folder())}
    first = schema.read("classification_pyt", environment)
    assert first == schema.read("classification_pyt", environment)
    kept = list((tmp_path / "tao-schemas").rglob("classification_pyt.json"))
    assert len(kept) == 1
    assert "torch" not in sys.modules or "nvidia_tao_pytorch" not in sys.modules
