"""Each migrated spec against NVIDIA's own ExperimentConfig of the successor. Needs NGCRUN_TAO_SCHEMA."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.tao import network
from runtime.tao.check_prototext import check, descriptor
from runtime.tao.migrate import to_successor, to_tao5

SPECS = Path(__file__).parents[1] / "data" / "tao" / "specs"
NAMES = [n for n in network.names() if network.find(n).dialect == "prototext" and network.find(n).successor]
MERGE = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
from omegaconf import OmegaConf
config = importlib.import_module(f"nvidia_tao_core.config.{sys.argv[2]}.default_config").ExperimentConfig
OmegaConf.merge(OmegaConf.structured(config), OmegaConf.create(sys.stdin.read()))
"""


def test_thirteen_networks_have_a_successor() -> None:
    assert len(NAMES) == 13


@pytest.mark.parametrize("name", NAMES)
def test_the_successors_own_config_takes_the_migrated_spec(name: str) -> None:
    text = network.fill(network.find(name).spec, {"dataset": "/d"})
    migration = to_successor(name, text)
    argv = [sys.executable, "-W", "ignore", "-c", MERGE, os.environ["NGCRUN_TAO_SCHEMA"], network.find(name).successor]
    done = subprocess.run(argv, input=migration.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:] + migration.text


@pytest.mark.parametrize("name", sorted(path.name for path in SPECS.glob("*train*.txt")))
def test_a_spec_for_tao_3_22_is_valid_in_tao_5_once_the_value_is_given(name: str) -> None:
    old = (SPECS / name).read_bytes().decode()
    tree = descriptor("detectnet_v2", Path(os.environ["NGCRUN_TAO_SCHEMA"]))
    assert to_tao5(old, tree).asks
    new = to_tao5(old, tree, {"dbscan_min_samples": "3"}).text
    assert check(tree, new) == []
    pairs = list(zip(old.splitlines(keepends=True), new.splitlines(keepends=True), strict=True))
    changed = [(a.strip(), b.strip()) for a, b in pairs if a != b]
    assert set(changed) == {("dbscan_min_samples: 0.05", "dbscan_min_samples: 3")}
