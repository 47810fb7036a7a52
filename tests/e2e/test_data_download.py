"""`python -m runtime.data.download` on a stand-in server: whole runs, stops and restarts, secrets."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_support import command, environment, files, report, run

from tests.fakes.web_server import Server, serving

BODY = os.urandom(2_000_000)
SECRET = "s3cr3t-t0ken-value"  # noqa: S105 - of the test


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def manifest(folder: Path, *entries: dict[str, object]) -> str:
    path = folder / "manifest.json"
    path.write_text(json.dumps(entries))
    return f"manifest={path}"


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def test_files_and_archives_arrive_verified_and_the_report_tells_of_each(server, tmp_path):
    one, two = server.add("/a%20b.bin", BODY), server.add("/faces.zip", zipped(x=b"1", y=b"2"))
    local = tmp_path / "here.txt"
    local.write_bytes(b"here")
    words = manifest(
        tmp_path,
        {"url": f"{server.url}/a%20b.bin", "sha256": one.sha256.upper(), "size_bytes": len(BODY)},
        {"url": f"{server.url}/faces.zip", "sha256": f"sha256:{two.sha256}", "unpack": True, "path": "faces"},
        {"url": "here.txt", "sha256": hashlib.sha256(b"here").hexdigest(), "path": "texts/mine.txt"},
    )
    done = run("download", words, "data=out", "connections=2", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "out") == {"a b.bin": BODY, "faces/x": b"1", "faces/y": b"2", "texts/mine.txt": b"here"}
    told = report(tmp_path / "out")["files"]
    assert [(f["path"], f["sha256"], f["size_bytes"], f["verified"], f["resumed_from"]) for f in told] == [
        ("a b.bin", one.sha256, len(BODY), True, 0),
        ("faces", two.sha256, len(two.body), True, 0),
        ("texts/mine.txt", hashlib.sha256(b"here").hexdigest(), 4, True, 0),
    ]
    assert told[1]["unpacked_files"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["here.txt", "manifest.json", "out"]


def test_what_was_taken_unverified_is_pinned_by_its_own_report(server, tmp_path):
    resource = server.add("/f.bin", BODY)
    done = run("download", f"urls={server.url}/f.bin", "allow_unverified=true", "data=first", cwd=tmp_path)
    assert done.returncode == 0
    assert report(tmp_path / "first")["files"][0]["verified"] is False
    assert run("download", "manifest=first/download.json", "data=second", cwd=tmp_path).returncode == 0
    assert report(tmp_path / "second")["files"][0]["verified"] is True
    resource.body = BODY[::-1]
    done = run("download", "manifest=first/download.json", "data=third", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert f"wrong checksum: expected sha256 {hashlib.sha256(BODY).hexdigest()}, got {resource.sha256}" in done.stderr
    assert not (tmp_path / "third").exists()


def test_a_wrong_checksum_stops_the_run_and_the_others_go_on_the_next_time(server, tmp_path):
    good, bad = server.add("/good.bin", BODY), server.add("/bad.bin", BODY[:1000])
    urls = f"urls={server.url}/good.bin {server.url}/bad.bin"
    words = ["data=out", "partial=state", "connections=1"]
    done = run("download", urls, f"sha256={good.sha256} {'0' * 64}", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert not (tmp_path / "out").exists()
    server.seen.clear()
    assert run("download", urls, f"sha256={good.sha256} {bad.sha256}", *words, cwd=tmp_path).returncode == 0
    assert [path for path, _ in server.seen] == ["/bad.bin"]
    assert [f["resumed_from"] for f in report(tmp_path / "out")["files"]] == [len(BODY), 0]
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["finished"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_download_that_is_stopped_goes_on_where_it_was(server, tmp_path, number):
    resource = server.add("/f.bin", BODY, pause_s=0.1)
    words = [f"urls={server.url}/f.bin", f"sha256={resource.sha256}", "data=out"]
    process = subprocess.Popen(
        command("download", *words), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    state = tmp_path / "out.partial"
    wait_for(lambda: any(p.stat().st_size > 200_000 for p in state.glob("*.part")))
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < 5
    if number != signal.SIGKILL:
        assert (process.returncode, said) == (130, "data_download: stopped; no output was written\n")
        assert not (tmp_path / "out").exists()
    resource.pause_s = 0.0
    server.seen.clear()
    assert run("download", *words, cwd=tmp_path).returncode == 0
    told = report(tmp_path / "out")["files"][0]
    assert told["resumed_from"] > 200_000
    assert server.headers("Range") == [f"bytes={told['resumed_from']}-"]
    assert files(tmp_path / "out") == {"f.bin": BODY}
    assert not state.exists()


def wait_for(condition, within_s: float = 20.0) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


def test_two_runs_in_one_folder_of_parts_do_not_mix(server, tmp_path):
    resource = server.add("/f.bin", BODY, pause_s=0.1)
    words = [f"urls={server.url}/f.bin", f"sha256={resource.sha256}", "partial=state"]
    with subprocess.Popen(command("download", *words, "data=one"), cwd=tmp_path, env=environment()) as first:
        wait_for(lambda: any((tmp_path / "state").glob("*.part")))
        done = run("download", *words, "data=two", cwd=tmp_path)
        assert first.wait(30) == 0
    assert done.returncode == 2
    assert (
        done.stderr
        == f"data_download: partial='{tmp_path}/state': is in use by another run; wait for it, or name another\n"
    )


def test_secrets_are_told_to_nobody_but_their_own_host(server, tmp_path):
    with serving() as storage:
        signed = storage.add("/blob", BODY)
        server.add("/f.bin", token=SECRET, redirect=f"{storage.url}/blob?sig={SECRET}")
        server.add("/gone.bin", token=SECRET, redirect=f"{storage.url}/none?X-Amz-Signature={SECRET}")
        storage.add("/other.bin", b"other")
        good = {"url": f"{server.url}/f.bin?sig={SECRET}&v=1", "sha256": signed.sha256, "path": "f.bin"}
        other = {"url": f"{storage.url}/other.bin", "sha256": hashlib.sha256(b"other").hexdigest()}
        bad = {"url": f"{server.url}/gone.bin?token={SECRET}", "sha256": "0" * 64, "path": "g.bin"}
        env = {
            "NGCRUN_DOWNLOAD_TOKEN": SECRET,
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
            "NGCRUN_METRICS_FILE": str(tmp_path / "metrics.jsonl"),
        }
        done = run("download", manifest(tmp_path, good, other), "data=out", cwd=tmp_path, **env)
        assert done.returncode == 0, done.stderr
        failed = run("download", manifest(tmp_path, bad), "data=out2", "retries=0", cwd=tmp_path, **env)
        assert failed.returncode == 2
        assert failed.stderr == (
            f"data_download: manifest[0].url='{server.url}/gone.bin?token=...': is not there (404); correct the address\n"
        )
        assert set(storage.headers("Authorization")) == {None}
        assert set(server.headers("Authorization")) == {f"Bearer {SECRET}"}
    (tmp_path / "manifest.json").unlink()
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in done.stdout + done.stderr + failed.stdout
    assert report(tmp_path / "out")["files"][0]["url"] == f"{server.url}/f.bin?sig=...&v=1"


def test_progress_is_shown_on_a_terminal(server, tmp_path):
    resource = server.add("/f.bin", BODY, pause_s=0.03)
    screen, terminal = os.openpty()
    words = [f"urls={server.url}/f.bin", f"sha256={resource.sha256}", "data=out"]
    process = subprocess.Popen(
        command("download", *words), cwd=tmp_path, env=environment(TERM="xterm", COLUMNS="120"), stderr=terminal
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            shown += os.read(screen, 4096)
        except OSError:  # the other end was closed
            break
    os.close(screen)
    assert process.wait(30) == 0
    assert b"1 file" in shown
    assert b"MB/s" in shown


def test_an_archive_that_is_refused_need_not_be_fetched_again(server, tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(40_000_000))
    resource = server.add("/z.zip", data.getvalue())
    words = [f"urls={server.url}/z.zip", f"sha256={resource.sha256}", "unpack=true", "data=out"]
    done = run("download", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "unpacks to more than 200 times its size, as a zip bomb does; allow more with max_ratio" in done.stderr
    assert run("download", *words, "max_ratio=2000", cwd=tmp_path).returncode == 0
    assert (len(server.seen), (tmp_path / "out" / "zeros").stat().st_size) == (1, 40_000_000)
