"""What holds on the stand-in and on Azure itself: `nox -s azureml` runs it on the one, `nox -s azure` on the other.

On Azure it makes a few small assets of new names in the workspace that the environment names; a version cannot be taken back.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azureml.support import Checkout
from tests.fakes.azure import SUBSCRIPTION, WORKSPACE, Azure

REAL = os.environ.get("NGCRUN_REAL_AZURE") == "1"


class RealAzure:
    """Azure as the environment names it: the same few things that the tests ask of the stand-in."""

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, **more}


@pytest.fixture
def anywhere(tmp_path: Path) -> Iterator[tuple[Checkout, str]]:
    """(checkout, target); the assets' names are new each time, since a version cannot be taken back."""
    stand_in = None
    if not REAL:
        (tmp_path / "azure").mkdir()
        stand_in = Azure(tmp_path / "azure").__enter__()
    checkout = Checkout(tmp_path / "checkout", stand_in or RealAzure())  # type: ignore[arg-type]
    suffix = uuid.uuid4().hex[:8]
    for path in sorted(checkout.root.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        for name in ("small", "first", "second", "both"):
            text = text.replace(f"name: {name}", f"name: {name}_{suffix}").replace(
                f"azureml:{name}:", f"azureml:{name}_{suffix}:"
            )
        path.write_text(text, encoding="utf-8")
    checkout.write("containers/small/Dockerfile", "FROM mcr.microsoft.com/mirror/docker/library/ubuntu:22.04\n")
    yield checkout, f"workspace:{os.environ['AZURE_ML_WORKSPACE'] if REAL else WORKSPACE}"
    if stand_in is not None:
        stand_in.__exit__()


def test_whoami_says_where_each_value_comes_from(anywhere: tuple[Checkout, str]) -> None:
    checkout, _ = anywhere
    done = checkout.ngcrun("whoami")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert (os.environ["AZURE_SUBSCRIPTION_ID"] if REAL else SUBSCRIPTION) in rows["subscription"]
    assert rows["subscription"].endswith("environment, AZURE_SUBSCRIPTION_ID")
    assert "signed in as" in done.stdout
    secret = os.environ.get("AZURE_CLIENT_SECRET", "a-made-up-secret")
    assert secret not in done.stdout + done.stderr


def test_publishing_twice_makes_everything_once_and_then_nothing(anywhere: tuple[Checkout, str]) -> None:
    checkout, target = anywhere
    first = checkout.ngcrun("publish", "--to", target, timeout_s=600)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1].startswith(f"{target}: 4 created, 0 unchanged, 0 failed")
    again = checkout.ngcrun("publish", "--to", target, timeout_s=600)
    assert again.stdout.splitlines()[0] == f"{target}: 4 unchanged"
    checkout.edit("component_specs/area/first.yaml", "default: hello", "default: bye")
    refused = checkout.ngcrun("publish", "--to", target, timeout_s=600)
    assert refused.returncode == 2
    assert "changed; this version is there with other content; run `ngcrun specs bump`" in refused.stderr


def test_what_is_not_there_is_one_line(anywhere: tuple[Checkout, str]) -> None:
    checkout, _ = anywhere
    for words in (
        ("follow", "no_such_job_here"),
        ("compute", "show", "no-such-cluster"),
        ("endpoint", "show", "no-such-endpoint"),
    ):
        done = checkout.ngcrun(*words)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "does not exist" in done.stderr
