"""Data that is elsewhere: brought here by https and through fsspec, handed on as an address, or refused with a way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from runtime.errors import BadInput, ToolFailed
from runtime.local.graph import read
from runtime.local.pipeline import Options, run_file
from runtime.redact import redacted
from tests.fakes.pipelines import write_component, write_pipeline
from tests.fakes.web_server import serving


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGCRUN_CACHE", str(tmp_path / "cache"))


def pipeline(folder: Path, path: str, kind: str = "uri_file", **more: Any) -> Path:
    command = "ls -d ${{inputs.data}} && cat ${{inputs.data}} > ${{outputs.out}}/text"
    if kind == "uri_folder":
        command = "cat ${{inputs.data}}/* > ${{outputs.out}}/text"
    if more.get("mode") == "direct":
        command = "echo ${{inputs.data}} > ${{outputs.out}}/text"
    write_component(folder, command=command, inputs={"data": {"type": kind}})
    return write_pipeline(folder, {"a": {"inputs": {"data": {"type": kind, "path": path, **more}}}})


def run(path: Path, status: int = 0) -> dict[str, Any]:
    assert run_file(path, {}, Options(mlflow=False, runs=path.parent / "runs")) == status
    record = max(path.parent.glob("runs/*/run.json"), key=lambda p: p.stat().st_mtime_ns)
    return dict(json.loads(record.read_text())["steps"][0])


def text_of(step: dict[str, Any]) -> str:
    return (Path(step["outputs"]["out"]) / "text").read_text()


def test_a_file_on_the_web_is_brought_here(tmp_path: Path) -> None:
    with serving() as server:
        server.add("/trips.csv", b"a,b\n1,2\n")
        path = pipeline(tmp_path, f"{server.url}/trips.csv")
        assert text_of(run(path)) == "a,b\n1,2\n"
        assert run(path)["reused"]
    with pytest.raises((BadInput, ToolFailed)):
        run(path)


def test_a_folder_in_storage_comes_through_fsspec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/trips-1/a.csv": b"1\n", "/trips-1/b.csv": b"2\n"})
    path = pipeline(tmp_path, "memory://trips-1", "uri_folder")
    assert text_of(run(path)) == "1\n2\n"
    assert "copying memory://trips-1 (2 files)" in capsys.readouterr().out
    assert run(path)["reused"]
    assert "copying" not in capsys.readouterr().out
    memory.pipe("/trips-1/b.csv", b"3\n")
    assert text_of(run(path)) == "1\n3\n"
    with pytest.raises(BadInput, match=r"path='memory://gone': holds no file"):
        run(pipeline(tmp_path, "memory://gone", "uri_folder"))


def test_in_direct_mode_the_address_is_the_value(tmp_path: Path) -> None:
    assert text_of(run(pipeline(tmp_path, "azureml:trips:1", mode="direct"))) == "azureml:trips:1\n"


@pytest.mark.parametrize(
    ("path", "kind", "todo"),
    [
        (
            "azureml:trips:1",
            "uri_file",
            "pip install 'ngcrun[azureml,remote]', or download it and name the local copy: data=PATH, or --map it",
        ),
        ("azureml://datastores/d/paths/p", "uri_folder", "pip install 'ngcrun[azureml,remote]', or download it"),
        ("azureml://registries/r/data/d/versions/1", "uri_folder", "download it and name the local copy: data=PATH"),
        ("abfss://c@a.dfs.core.windows.net/p", "uri_folder", "pip install fsspec adlfs, or download it"),
        ("https://a.blob.core.windows.net/c/p", "uri_folder", "pip install fsspec adlfs, or download it"),
        ("https://example.invalid/folder", "uri_folder", "download it and name the local copy"),
    ],
)
def test_what_cannot_be_brought_here_is_refused_with_a_way_out(tmp_path: Path, path: str, kind: str, todo: str) -> None:
    with pytest.raises(BadInput) as wrong:
        read(pipeline(tmp_path, path, kind))
    assert f"jobs.a.inputs.data.path='{redacted(path)}': is not on this machine; {todo}" in str(wrong.value)
