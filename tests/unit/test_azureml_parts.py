"""The pure parts of publishing: what is read, fingerprints, the plan, the order of work."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from runtime import snapshot
from runtime.azureml import assets, plan, schedule
from runtime.azureml.plan import Remote
from runtime.errors import BadInput
from tests.azureml.support import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout", None)  # type: ignore[arg-type]


def fingerprints(checkout: Checkout) -> dict[str, str]:
    found = assets.in_checkout(checkout.root)
    assert found.problems == []
    return {key: asset.fingerprint for key, asset in found.assets.items()}


def test_assets_and_what_they_refer_to_are_read(checkout: Checkout) -> None:
    found = assets.in_checkout(checkout.root).assets
    assert {k: a.refers for k, a in found.items()} == {
        "environment/small:1": (),
        "component/first:1": ("environment/small:1",),
        "component/second:1": ("environment/small:1",),
        "component/both:1": ("component/first:1", "component/second:1"),
    }


def test_a_fingerprint_is_of_the_content_and_not_of_the_version_or_the_time(checkout: Checkout) -> None:
    before = fingerprints(checkout)
    (checkout.root / "component_specs/area/first.yaml").touch()
    assert fingerprints(checkout) == before
    checkout.edit("component_specs/area/second.yaml", 'version: "1"', 'version: "2"')
    after = fingerprints(checkout)
    assert after["component/second:2"] == before["component/second:1"]
    assert after["component/both:1"] != before["component/both:1"]  # it refers to another version now


@pytest.mark.parametrize(
    ("path", "old", "new", "changed"),
    [
        ("component_specs/area/first.yaml", "python -m this", "python -m that", {"component/first:1"}),
        ("containers/small/Dockerfile", "FROM scratch", "FROM other", {"environment/small:1"}),
        ("component_specs/pipelines/both.yaml", "parent.inputs.text", "parent.inputs.txt", {"component/both:1"}),
    ],
)
def test_a_change_is_seen_where_it_is_made(
    checkout: Checkout, path: str, old: str, new: str, changed: set[str]
) -> None:
    before = fingerprints(checkout)
    checkout.edit(path, old, new)
    after = fingerprints(checkout)
    assert {key for key in before if before[key] != after[key]} == changed


def test_code_counts_and_what_is_ignored_does_not(checkout: Checkout) -> None:
    checkout.edit("component_specs/area/first.yaml", "environment:", "code: ./src\nenvironment:")
    checkout.write("component_specs/area/src/run.py", "print(1)\n")
    checkout.write("component_specs/area/src/.amlignore", "*.log\n")
    before = fingerprints(checkout)
    checkout.write("component_specs/area/src/a.log", "x\n")
    checkout.write("component_specs/area/src/__pycache__/a.pyc", "x\n")
    assert fingerprints(checkout) == before
    checkout.write("component_specs/area/src/run.py", "print(2)\n")
    assert fingerprints(checkout) != before


def test_the_package_is_part_of_an_environment_that_installs_it(tmp_path: Path, checkout: Checkout) -> None:
    checkout.write("pyproject.toml", "[project]\n")
    checkout.write("runtime/a.py", "x = 1\n")
    before = fingerprints(checkout)
    checkout.write("runtime/a.py", "x = 2\n")
    assert fingerprints(checkout) == before
    checkout.write("containers/small/Dockerfile", "FROM scratch\nCOPY ngcrun-*.whl /tmp/\n")
    with_wheel = fingerprints(checkout)["environment/small:1"]
    checkout.write("runtime/a.py", "x = 3\n")
    assert fingerprints(checkout)["environment/small:1"] != with_wheel


def test_two_files_of_one_name_and_version_are_a_problem(checkout: Checkout) -> None:
    text = (checkout.root / "component_specs/area/first.yaml").read_text()
    checkout.write("component_specs/area/copy.yaml", text)
    problems = assets.in_checkout(checkout.root).problems
    assert len(problems) == 1
    assert "is also declared in" in problems[0].line()


def test_a_name_that_is_none_is_refused_with_the_nearest(checkout: Checkout) -> None:
    with pytest.raises(BadInput, match="did you mean 'first'"):
        assets.chosen(assets.in_checkout(checkout.root), ["frist"])


def test_the_plan_says_what_and_why(checkout: Checkout) -> None:
    found = assets.in_checkout(checkout.root).assets
    first, second, both = (found[f"component/{n}:1"] for n in ("first", "second", "both"))
    small = found["environment/small:1"]
    there = {
        first.key: Remote(first.fingerprint),
        second.key: Remote("other"),
        both.key: None,
        small.key: Remote(None),
    }
    made = plan.decide(found, there, {})
    assert {k: a.what for k, a in made.items()} == {
        first.key: "unchanged", second.key: "changed", both.key: "create", small.key: "refused",
    }  # fmt: skip
    assert plan.text(made, "registry:r").splitlines()[0] == "registry:r: 1 to create, 1 unchanged, 1 changed, 1 refused"
    archived = plan.decide({first.key: first}, {first.key: Remote(first.fingerprint, archived=True)}, {})
    assert archived[first.key].what == "refused"


def test_work_starts_when_what_it_needs_is_done_and_runs_side_by_side() -> None:
    done: list[str] = []
    together = threading.Barrier(2, timeout=10)

    def work(key: str) -> None:
        if key in ("b", "c"):
            together.wait()  # fails unless both run at the same time
        done.append(key)

    failed = schedule.run({"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b", "c"}}, work, 4, str)
    assert failed == {}
    assert done[0] == "a" and done[-1] == "d" and set(done) == set("abcd")


def test_what_needs_a_failed_one_is_not_tried_and_the_rest_goes_on() -> None:
    tried = []

    def work(key: str) -> None:
        tried.append(key)
        if key == "a":
            raise ValueError("broken")

    failed = schedule.run({"a": set(), "b": {"a"}, "c": {"b"}, "d": set()}, work, 2, str)
    assert failed == {"a": "broken", "b": "not tried: it needs a", "c": "not tried: it needs b"}
    assert sorted(tried) == ["a", "d"]


def test_a_snapshot_holds_the_names_and_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("1")
    one = snapshot.fingerprint(tmp_path / "a")
    (tmp_path / "a" / "x.txt").rename(tmp_path / "a" / "y.txt")
    assert snapshot.fingerprint(tmp_path / "a") != one
    snapshot.copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "y.txt").read_text() == "1"
