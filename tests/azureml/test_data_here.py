"""Data of a workspace in a pipeline on this machine: found by the SDK, read by adlfs, from the stand-in for Azure."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.azureml.support import ROOT, Checkout, azure_python
from tests.fakes.azure import GROUP, SUBSCRIPTION, WORKSPACE
from tests.fakes.azure.state import CONTAINER, Asset, Blob
from tests.fakes.pipelines import write_component, write_pipeline

LONG = f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{WORKSPACE}/datastores/workspaceblobstore"


def pipeline(checkout: Checkout, path: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    folder = checkout.root / "here"
    folder.mkdir(exist_ok=True)
    write_component(folder, command="cat ${{inputs.data}}/* > ${{outputs.out}}/text",
                    inputs={"data": {"type": "uri_folder"}})  # fmt: skip
    file = write_pipeline(folder, {"a": {"inputs": {"data": {"type": "uri_folder", "path": path}}}})
    env = checkout.azure.environment(PYTHONPATH=str(ROOT), NGCRUN_CACHE=str(folder / "cache"), **environment)
    argv = [azure_python(), "-m", "runtime", "pipeline", file.name, "--no-mlflow", *words]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def text_of(checkout: Checkout) -> str:
    record = max((checkout.root / "here").glob("runs/*/run.json"), key=lambda p: p.stat().st_mtime_ns)
    step = json.loads(record.read_text(encoding="utf-8"))["steps"][0]
    return (Path(step["outputs"]["out"]) / "text").read_text(encoding="utf-8")


def add_trips(checkout: Checkout) -> None:
    state = checkout.azure.state
    for name, data in (("a.csv", b"1\n"), ("b.csv", b"2\n")):
        state.blobs[(CONTAINER, f"trips/{name}")] = Blob(data)
    properties = {"dataType": "uri_folder", "dataUri": f"{LONG}/paths/trips", "tags": {}, "properties": {}}
    state.assets[(f"workspaces/{WORKSPACE}", "data", "trips", "1")] = Asset(properties, time.monotonic())


@pytest.mark.parametrize(
    "path", ["azureml:trips:1", "azureml:trips@latest", "azureml://datastores/workspaceblobstore/paths/trips", f"{LONG}/paths/trips"]
)  # fmt: skip
def test_data_of_a_workspace_is_brought_here(checkout: Checkout, path: str) -> None:
    add_trips(checkout)
    done = pipeline(checkout, path)
    assert done.returncode == 0, done.stderr
    assert f"copying {path} (2 files) ..." in done.stdout
    assert text_of(checkout) == "1\n2\n"


def test_what_has_not_changed_in_storage_is_not_read_again(checkout: Checkout) -> None:
    add_trips(checkout)
    assert pipeline(checkout, "azureml:trips:1").returncode == 0
    again = pipeline(checkout, "azureml:trips:1")
    assert "copying" not in again.stdout
    assert "1 of 1 steps taken over" in again.stdout
    checkout.azure.state.blobs[(CONTAINER, "trips/b.csv")] = Blob(b"3\n")
    assert pipeline(checkout, "azureml:trips:1").returncode == 0
    assert text_of(checkout) == "1\n3\n"


@pytest.mark.parametrize(
    ("path", "environment", "line"),
    [
        (
            "azureml:gone:7",
            {},
            "path='azureml:gone:7': is not found in Azure (azure='azureml:gone:7': does not exist (",
        ),
        ("azureml://datastores/workspaceblobstore/paths/empty", {}, "paths/empty': holds no file; correct the address"),
        ("azureml:trips:1", {"AZURE_ML_WORKSPACE": ""}, "(workspace=None: is not known; say workspace=VALUE, set "),
        ("azureml:trips:1", {"AZURE_CLIENT_ID": "", "PATH": "/nowhere"}, "(credential='auto': finds no way to sign in"),
        ("azureml:trips:1", {"AZURE_CLIENT_SECRET": "wrong"}, "(credential="),
    ],
)
def test_data_that_cannot_be_had_is_one_line(
    checkout: Checkout, path: str, environment: dict[str, str], line: str
) -> None:
    add_trips(checkout)
    done = pipeline(checkout, path, **environment)
    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list((checkout.root / "here").glob("runs/*/run.json"))
