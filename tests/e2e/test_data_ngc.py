"""`data_ngc_model` against a stand-in for NGC: guests, keys, versions, checksums, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_support import files, report, run

from runtime.data.ngc_model import ngc_model
from runtime.execute import main
from tests.fakes.ngc_api import KEY, Ngc, running

MODEL = "nvidia/tao/trafficcamnet"
FILES = {
    "model.onnx": os.urandom(300_000),
    "labels.txt": b"car\n",
    "int8/cal ib.bin": b"\0" * 100,
    "a.json": b"{}",
    "b": b"b",
}


@pytest.fixture
def ngc() -> Iterator[Ngc]:
    with running() as stand_in:
        stand_in.add(MODEL, "deployable_v1.0", {"old": b"old"})
        stand_in.add(MODEL, "deployable_v1.1", FILES)
        yield stand_in


def test_a_guest_gets_the_latest_version_whole_and_verified(ngc, tmp_path):
    done = run("ngc_model", f"model={MODEL}", "downloaded=out", cwd=tmp_path, **ngc.env)
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "out") == FILES
    told = report(tmp_path / "out")
    assert (told["model"], told["version"]) == (MODEL, "deployable_v1.1")
    assert all(f["verified"] for f in told["files"])
    assert set(ngc.api.headers("Authorization")) == {None}
    assert ngc.auth.seen == []


@pytest.mark.parametrize("variable", ["NGC_API_KEY", "NGC_CLI_API_KEY"])
def test_a_key_becomes_a_token_that_the_storage_never_sees(ngc, tmp_path, variable):
    ngc.add("private/team/net", "1", {"a": b"a", "b": b"b"})
    env = {variable: KEY, "NGCRUN_METRICS_FILE": str(tmp_path / "metrics.jsonl"), **ngc.env}
    env["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/mlflow.db"
    done = run("ngc_model", "model=private/team/net", "version=1", "downloaded=out", cwd=tmp_path, **env)
    assert (done.returncode, done.stderr) == (0, "")
    assert ngc.tokens == ["token-0-group/ngc:private+group/ngc:private/team"]
    assert set(ngc.api.headers("Authorization")) == {f"Bearer {ngc.tokens[0]}"}
    assert set(ngc.storage.headers("Authorization")) == {None}
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert not any(s in path.read_bytes() for s in (KEY.encode(), ngc.tokens[0].encode(), b"s3cr3t")), path
    assert not any(s in done.stdout for s in (KEY, ngc.tokens[0], "s3cr3t"))


def test_a_personal_key_is_a_token_itself(ngc, tmp_path):
    ngc.add("private/net", "1", {"a": b"a"})
    done = run("ngc_model", "model=private/net", "downloaded=out", cwd=tmp_path, NGC_API_KEY="nvapi-good", **ngc.env)
    assert (done.returncode, ngc.auth.seen) == (0, [])


def test_a_token_is_renewed_before_it_expires(ngc, tmp_path):
    from runtime.data.ngc import Model, Registry
    from runtime.data.transfer import Policy

    ngc.life_s = 1  # less than the margin: taken as two minutes, so that no token is asked for with each file
    registry = Registry(Model.of(MODEL), Policy(pause_s=0.01), {"NGC_API_KEY": KEY, **ngc.env})
    registry.files("deployable_v1.1")
    assert len(ngc.tokens) == 1
    registry.policy.access.secrets._until = 0.0  # type: ignore[attr-defined] # time passes
    registry.files("deployable_v1.1")
    assert len(ngc.tokens) == 2


def test_only_the_files_that_are_asked_for(ngc, tmp_path):
    done = run("ngc_model", f"model={MODEL}", "files=*.onnx int8/*", "downloaded=out", cwd=tmp_path, **ngc.env)
    assert done.returncode == 0
    assert sorted(files(tmp_path / "out")) == ["int8/cal ib.bin", "model.onnx"]


def test_what_ngc_gives_no_checksum_for_is_told_and_can_be_pinned(ngc, tmp_path):
    version = ngc.add("nvidia/net", "1", {"a": b"one", "b": b"two"}, checksums=False)
    words = ["model=nvidia/net", "downloaded=out"]
    done = run("ngc_model", *words, cwd=tmp_path, **ngc.env)
    assert (done.returncode, done.stderr) == (
        0,
        "warning: NGC gives no checksum for 2 of 2 files, so only their sizes were checked; pin them: pinned=.../download.json\n",
    )
    pinned = ["model=nvidia/net", "pinned=out/download.json"]
    done = run("ngc_model", *pinned, "downloaded=again", cwd=tmp_path, **ngc.env)
    assert (done.returncode, done.stderr, files(tmp_path / "again")) == (0, "", {"a": b"one", "b": b"two"})
    version.files["b"] = b"TWO"
    done = run("ngc_model", *pinned, "downloaded=third", cwd=tmp_path, **ngc.env)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "/versions/1/files/b: wrong checksum: expected sha256 " in done.stderr
    version.checksums = True
    done = run("ngc_model", *pinned, "downloaded=third", cwd=tmp_path, **ngc.env)
    assert done.returncode == 2
    assert (
        "has b with sha256 3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3, and NGC has "
        in done.stderr
    )


def test_a_passing_fault_of_the_api_is_outlived_and_one_that_stays_is_told(ngc, tmp_path):
    ngc.api.add(f"/v2/models/{MODEL}", b'{"model": {"latestVersionIdStr": "deployable_v1.1"}}', faults=["status 503"])
    assert run("ngc_model", f"model={MODEL}", "downloaded=out", cwd=tmp_path, **ngc.env).returncode == 0
    ngc.fault = 500
    done = run("ngc_model", f"model={MODEL}", "version=x", "retries=1", "downloaded=o", cwd=tmp_path, **ngc.env)
    assert (done.returncode, done.stderr) == (
        3,
        f"data_ngc_model: {ngc.api.url}/v2/models/{MODEL}/versions/x: HTTP 500 Internal Server Error; tried 2 times, try again later\n",
    )


# name -> (words, env, the line); <a> is the API
BAD = {
    "no_name": (["model=trafficcamnet"], {}, "model='trafficcamnet': is not a model's name; write org/team/name, such as nvidia/tao/trafficcamnet"),
    "version_in_name": (
        [f"model={MODEL}:1"],
        {},
        f"model='{MODEL}:1': is not a model's name; write org/team/name, such as nvidia/tao/trafficcamnet; a version goes into version=",
    ),
    "dots": (["model=nvidia/../x"], {}, "model='nvidia/../x': is not a model's name; write org/team/name, such as nvidia/tao/trafficcamnet"),
    "no_model": (
        ["model=nvidia/tao/trafficamnet"],
        {},
        "model='nvidia/tao/trafficamnet': is no model on NGC; look it up at catalog.ngc.nvidia.com; a private one needs NGC_API_KEY",
    ),
    "no_version": (
        [f"model={MODEL}", "version=deployable_v1"],
        {},
        f"version='deployable_v1': is no version of {MODEL}; did you mean 'deployable_v1.1'? known: deployable_v1.0, deployable_v1.1",
    ),
    "no_model_nor_version": (
        ["model=nvidia/x", "version=1"],
        {},
        "model='nvidia/x': is no model on NGC; look it up at catalog.ngc.nvidia.com; a private one needs NGC_API_KEY",
    ),
    "needs_a_key": (
        ["model=private/net"],
        {},
        "model='private/net': needs a key (401); make a key at https://org.ngc.nvidia.com/setup and put it into NGC_API_KEY",
    ),
    "bad_key": (
        [f"model={MODEL}"],
        {"NGC_API_KEY": "wr0ng"},
        "NGC_API_KEY='...': is refused by NGC (401); make a new key at https://org.ngc.nvidia.com/setup",
    ),
    "key_without_access": (
        ["model=private/net"],
        {"NGC_API_KEY": "nvapi-other"},
        "model='private/net': is not open to this key (401); ask for access to private, or use the key of a member (NGC_API_KEY)",
    ),
    "key_in_two_lines": (
        [f"model={MODEL}"],
        {"NGC_API_KEY": "wr0ng\nX: y"},
        "NGC_API_KEY='...': holds a blank, a line end or another character that no key has; set it again",
    ),
    "key_in_clear": (
        [f"model={MODEL}"],
        {"NGC_API_KEY": "wr0ng", "NGCRUN_NGC_API": "http://ngc.invalid"},
        "NGCRUN_NGC_API='http://ngc.invalid': would get the key in clear text; give an https address",
    ),
    "no_file_like_this": (
        [f"model={MODEL}", "files=*.etlt"],
        {},
        "files='*.etlt': matches no file of this version; it has: a.json, b, int8/cal ib.bin, labels.txt, model.onnx",
    ),
    "not_whole": (["model=nvidia/new", "version=1"], {}, "version='1': is not whole yet (UPLOAD_PENDING); take another, or wait"),
    "path_that_leads_out": (
        ["model=nvidia/evil"],
        {},
        "files='../x': leads out of the folder (..); leave it out with files=",
    ),
    "no_report": ([f"model={MODEL}", "pinned=<d>/no.json"], {}, "pinned='<d>/no.json': is no report of a model; give the download.json that data_ngc_model wrote"),
    "other_version": (
        [f"model={MODEL}", "version=deployable_v1.0", "pinned=<d>/pin.json"],
        {},
        "pinned='<d>/pin.json': is of version 7, not of deployable_v1.0; say that version, or pin anew",
    ),
    "file_not_pinned": ([f"model={MODEL}", "files=b", "pinned=<d>/pin.json"], {}, "pinned='<d>/pin.json': does not name b; pin anew"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_ngc_model_refuses(case, ngc, tmp_path, capsys, monkeypatch):
    words, env, line = BAD[case]
    ngc.add("private/net", "1", {"a": b"a"})
    ngc.add("nvidia/new", "1", {"a": b"a"}, status="UPLOAD_PENDING")
    ngc.add("nvidia/evil", "1", {"../x": b"a"})
    (tmp_path / "no.json").write_text("[]")
    (tmp_path / "pin.json").write_text('{"version": "7", "files": [{"path": "a", "sha256": "0"}]}')
    for name, value in {"no_proxy": "*", **ngc.env, **env}.items():
        monkeypatch.setenv(name, value)
    for name in {"NGC_API_KEY", "NGC_CLI_API_KEY", "MLFLOW_TRACKING_URI"} - set(env):
        monkeypatch.delenv(name, raising=False)
    filled = [word.replace("<d>", str(tmp_path)) for word in words]
    assert main(ngc_model, [*filled, f"--downloaded={tmp_path / 'out'}"]) == 2
    captured = capsys.readouterr()
    assert captured.err.replace(str(tmp_path), "<d>") == f"data_ngc_model: {line}\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["no.json", "pin.json"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            403,
            f"'{MODEL}': needs a key (403); make a key at https://org.ngc.nvidia.com/setup and put it into NGC_API_KEY",
        ),
        (412, f"'{MODEL}': has terms to accept (412); accept them at catalog.ngc.nvidia.com"),
        (400, f"'{MODEL}': cannot be read: NGC answers HTTP 400 Bad Request; use a personal key of its org"),
    ],
)
def test_a_no_of_the_api_is_told_with_the_way_out(ngc, tmp_path: Path, fault, told):
    ngc.fault = fault
    done = run("ngc_model", f"model={MODEL}", "downloaded=out", cwd=tmp_path, **ngc.env)
    assert (done.returncode, done.stderr) == (2, f"data_ngc_model: model={told}\n")
