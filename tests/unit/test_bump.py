"""`ngcrun specs bump`: how far a version has to rise, and that only the version is rewritten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import bump
from tests.azureml.support import ROOT, Checkout

TEXT = {"type": "string"}
LEVELS = [
    ({}, {}, "patch", "same interface"),
    ({"a": TEXT}, {}, "major", "input a is gone"),
    ({}, {"a": TEXT}, "major", "input a is new and has to be given"),
    ({}, {"a": TEXT | {"optional": True}}, "minor", "input a is new"),
    ({}, {"a": TEXT | {"default": "x"}}, "minor", "input a is new"),
    ({"a": TEXT}, {"a": {"type": "integer"}}, "major", "input a is a integer, was a string"),
    ({"a": TEXT | {"default": "x"}}, {"a": TEXT}, "major", "input a has to be given now"),
    ({"a": TEXT | {"optional": True}}, {"a": TEXT}, "major", "input a has to be given now"),
    ({"a": TEXT}, {"a": TEXT | {"optional": True}}, "minor", "input a may be left out now"),
    ({"a": TEXT | {"default": "x"}}, {"a": TEXT | {"default": "y"}}, "minor", "input a has the default 'y', had 'x'"),
    ({"a": TEXT | {"enum": ["x", "y"]}}, {"a": TEXT | {"enum": ["x"]}}, "major", "input a takes no y any more"),
    ({"a": TEXT}, {"a": TEXT | {"enum": ["x"]}}, "major", "input a has other choices"),
    ({"a": TEXT | {"enum": ["x"]}}, {"a": TEXT | {"enum": ["x", "y"]}}, "minor", "input a has other choices"),
    ({"a": TEXT | {"enum": ["x"]}}, {"a": TEXT}, "minor", "input a has other choices"),
    ({"a": {"min": 1}}, {"a": {"min": 2}}, "major", "input a has the min 2, had 1"),
    ({"a": {"min": 2}}, {"a": {"min": 1}}, "minor", "input a has the min 1, had 2"),
    ({"a": {}}, {"a": {"max": 9}}, "major", "input a has the max 9, had None"),
    ({"a": {"max": 9}}, {"a": {}}, "minor", "input a has the max None, had 9"),
    ({"a": {"max": 9}}, {"a": {"max": 5}}, "major", "input a has the max 5, had 9"),
]


@pytest.mark.parametrize(("before", "now", "level", "why"), LEVELS)
def test_the_interface_decides(before: dict, now: dict, level: str, why: str) -> None:
    assert bump.level_of({"inputs": before}, {"inputs": now}) == (level, why)


def test_outputs_count_and_the_strongest_change_is_told() -> None:
    folder = {"type": "uri_folder"}
    assert bump.level_of({"outputs": {}}, {"outputs": {"o": folder}}) == ("minor", "output o is new")
    both = bump.level_of(
        {"outputs": {"o": folder}, "inputs": {}}, {"outputs": {}, "inputs": {"a": TEXT | {"default": "x"}}}
    )
    assert both == ("major", "output o is gone")


@pytest.mark.parametrize(
    ("version", "level", "kind", "raised"),
    [
        ("1", "patch", "component", "1.0.1"),
        ("1.2.3", "patch", "component", "1.2.4"),
        ("1.2.3", "minor", "component", "1.3.0"),
        ("1.2.3", "major", "component", "2.0.0"),
        ("26.10", "patch", "environment", "26.10-1"),
        ("26.10-1", "patch", "environment", "26.10-2"),
        ("6.26.3", "patch", "environment", "6.26.3-1"),
    ],
)
def test_the_next_version(version: str, level: str, kind: str, raised: str) -> None:
    assert bump.raised(version, level, kind) == raised


def test_only_the_version_of_the_named_component_is_rewritten() -> None:
    text = '# é version="1"\n@component(name="a", version="1", image="x")\ndef f(): ...\n\n@component(name="b", version="1")\ndef g(): ...\n'
    assert bump.in_python(text, "b", "1.0.1") == text.replace('"b", version="1"', '"b", version="1.0.1"')
    assert bump.in_python(text, "a", "2.0.0") == text.replace('"a", version="1"', '"a", version="2.0.0"')


def specs(checkout: Checkout, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "runtime", "specs", *words]
    return subprocess.run(
        argv,
        cwd=checkout.root,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin", "PYTHONPATH": str(ROOT)},
    )


def test_a_change_raises_what_it_touches_and_what_refers_to_that(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout", None)  # type: ignore[arg-type]
    assert specs(checkout, "bump").stdout.splitlines() == [
        "0 versions raised, 4 new, 4 in component_specs/versions.lock.json"
    ]
    assert specs(checkout, "bump").stdout.splitlines() == [
        "0 versions raised, 0 new, 4 in component_specs/versions.lock.json"
    ]
    checkout.edit("component_specs/area/first.yaml", "outputs:", "  more: {type: string, optional: true}\noutputs:")
    before = checkout.files()
    dry = specs(checkout, "bump", "--dry-run")
    assert dry.stdout.splitlines()[0] == "minor  component first 1 -> 1.1.0: input more is new"
    assert checkout.files() == before
    done = specs(checkout, "bump")
    assert done.stdout.splitlines() == [
        "minor  component first 1 -> 1.1.0: input more is new",
        "patch  component both 1 -> 1.0.1: same interface",
        "2 versions raised, 0 new, 4 in component_specs/versions.lock.json",
    ]
    after = (checkout.root / "component_specs/area/first.yaml").read_bytes()
    assert after == before["component_specs/area/first.yaml"].replace(b'version: "1"', b'version: "1.1.0"')
    rows = json.loads((checkout.root / "component_specs/versions.lock.json").read_text())["assets"]
    assert {f"{r['name']}:{r['version']}" for r in rows} == {"first:1.1.0", "second:1", "both:1.0.1", "small:1"}


def test_a_changed_environment_raises_the_components_that_run_in_it(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout", None)  # type: ignore[arg-type]
    specs(checkout, "bump")
    checkout.write("containers/small/Dockerfile", "FROM scratch\nLABEL a=b\n")
    done = specs(checkout, "bump")
    assert done.stdout.splitlines()[0] == "patch  environment small 1 -> 1-1: other content"
    # A component names its environment's version itself, and whoever wrote that by hand changes it by hand.
    assert len(done.stdout.splitlines()) == 2


def test_a_lock_that_is_none_is_one_line(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout", None)  # type: ignore[arg-type]
    checkout.write("bad.json", "[]\n")
    done = specs(checkout, "bump", "--lock", "bad.json")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "is no lock file of ngcrun" in done.stderr
