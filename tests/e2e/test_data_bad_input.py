"""What bad input gets from the data steps: one exact line a problem, the right exit status, nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_support import ROOT, command, environment

from runtime.component import Component
from runtime.data.download import download
from runtime.execute import main
from tests.fakes.web_server import Server, serving

SHA = "0" * 64


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    for name in ("NGCRUN_DOWNLOAD_TOKEN", "NGC_API_KEY", "NGC_CLI_API_KEY", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    with serving() as running:
        yield running


def refused(step: Component, words: list[str], folder: Path, capsys, status: int = 2) -> str:
    """What stands on stderr, `<d>` for the folder; the step must have failed so and left no output."""
    assert main(step, words) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert not (folder / "out").exists()
    assert not [p for p in folder.iterdir() if ".partial-" in p.name]
    return captured.err.replace(str(folder), "<d>").removesuffix("\n")


# name -> (words, the line); <s> is the server, <d> the folder
WORDS = {
    "nothing": ([], "manifest=None: is not given, nor are urls; give one of the two"),
    "both": (
        ["manifest=<d>/m.yaml", "urls=x"],
        "manifest='<d>/m.yaml': is given together with urls; give one of the two",
    ),
    "blank": (["urls= "], "urls=' ': names nothing; give one or more addresses, or a manifest"),
    "no_checksum": (
        ["urls=<s>/f.bin"],
        "urls='<s>/f.bin': has no checksum; give its sha256, or set allow_unverified=true once and pin the one in download.json",
    ),
    "too_few_checksums": (
        ["urls=<s>/f.bin <s>/g.bin", f"sha256={SHA}"],
        f"sha256='{SHA}': has 1 checksums for 2 addresses; give one for each address, in their order",
    ),
    "no_digest": (
        ["urls=<s>/f.bin", "sha256=abc"],
        "sha256='abc': is no SHA-256; write its 64 hexadecimal digits, as sha256sum prints them",
    ),
    "checksum_with_manifest": (
        ["manifest=<d>/m.yaml", f"sha256={SHA}"],
        f"sha256='{SHA}': goes with urls, not with a manifest; write it into the manifest",
    ),
    "scheme": (
        ["urls=ftp://host/x", f"sha256={SHA}"],
        "urls='ftp://host/x': ftp is not a way to fetch it; give an http, https or file address",
    ),
    "no_host": (["urls=https:///x", f"sha256={SHA}"], "urls='https:///x': names no host; write https://host/path"),
    "bad_port": (
        ["urls=http://host:99999/x", f"sha256={SHA}"],
        "urls='http://host:99999/x': is not an address (Port out of range 0-65535); write https://host/path",
    ),
    "password": (
        ["urls=https://me:pw@host/x", f"sha256={SHA}"],
        "urls='https://...@host/x': holds a secret; put it into a file and give that as manifest: what is on a command line is seen and kept",
    ),
    "signed": (
        ["urls=https://host/x?sig=abc", f"sha256={SHA}"],
        "urls='https://host/x?sig=...': holds a secret; put it into a file and give that as manifest: what is on a command line is seen and kept",
    ),
    "no_name": (
        ["urls=<s>/", f"sha256={SHA}"],
        "urls='': names no file for <s>/; give a path in a manifest",
    ),
    "name_that_leads_out": (
        ["urls=<s>/..%2Fx", f"sha256={SHA}"],
        None,
    ),
    "same_name": (
        ["urls=<s>/f.bin <s>/a/f.bin", f"sha256={SHA} {SHA}"],
        "urls='<s>/a/f.bin': has the same path as another, f.bin; give each a path of its own in a manifest",
    ),
    "name_of_the_report": (
        ["urls=<s>/download.json", f"sha256={SHA}"],
        "urls='<s>/download.json': is named download.json, as the report is; give it a path",
    ),
    "not_there": (["urls=<s>/f.bin", f"sha256={SHA}"], "urls='<s>/f.bin': is not there (404); correct the address"),
    "no_file": (
        ["urls=<d>/none.bin", f"sha256={SHA}"],
        "urls='<d>/none.bin': does not exist; name an existing file",
    ),
    "beyond_ascii": (
        ["urls=<s>/ü", f"sha256={SHA}"],
        "urls='<s>/ü': holds a blank, a control character or one beyond ASCII; write it as %20, %0A, %C3%BC, ...",
    ),
    "file_of_another_machine": (
        ["urls=file://server/x", f"sha256={SHA}"],
        "urls='file://server/x': is a file of another machine, server; write file:///path",
    ),
    "a_folder": (["urls=file://<d>", f"sha256={SHA}"], "urls='file://<d>': is a folder, not a file; name an existing file"),
    "no_archive": (
        ["urls=<d>/m.yaml", "allow_unverified=true", "unpack=true"],
        "urls='<d>/m.yaml': is no archive that is known; known: zip, tar, tar.gz, tar.bz2, tar.xz; set unpack=false to keep it as it is",
    ),
    "connections": (
        ["urls=<s>/f.bin", "connections=0"],
        "connections=0: is below the minimum 1; give a larger number",
    ),
    "timeout": (["urls=<s>/f.bin", "timeout_s=soon"], "timeout_s='soon': is not a number; write a number, such as timeout_s=60.0"),
    "misspelled": (
        ["url=<s>/f.bin"],
        "url='<s>/f.bin': is not a port; did you mean 'urls'? known: allow_unverified, connections, data, manifest, max_entries, max_ratio, max_unpacked_gib, partial, retries, sha256, timeout_s, unpack, urls",
    ),
}  # fmt: skip


def write(folder: Path, text: str) -> None:
    (folder / "m.yaml").write_text(text)


@pytest.mark.parametrize("case", WORDS)
def test_download_refuses_words(case, server, tmp_path, capsys):
    write(tmp_path, f"- {{url: x, sha256: '{SHA}'}}\n")
    words, line = WORDS[case]
    filled = [word.replace("<s>", server.url).replace("<d>", str(tmp_path)) for word in words]
    said = refused(download, [*filled, f"--data={tmp_path / 'out'}"], tmp_path, capsys).replace(server.url, "<s>")
    if line is None:
        line = "urls='<s>/..%2Fx': is not there (404); correct the address"  # its name is `x`: nothing leads out
    assert said == f"data_download: {line}"


MANIFESTS = {
    "empty": ("", "manifest='<d>/m.yaml': lists nothing; write a list of {url, sha256, size_bytes, path, unpack}"),
    "text": ("hello", "manifest='<d>/m.yaml': is no list; write a list of {url, sha256, size_bytes, path, unpack}"),
    "no_yaml": ("- {url: [", "manifest='<d>/m.yaml': is neither YAML nor JSON (line 1); write a list of {url, sha256}"),
    "no_mapping": ("- http://h/x", "manifest[0]='http://h/x': is no mapping; write {url: ..., sha256: ...}"),
    "no_url": ("- {sha256: '" + SHA + "'}", "manifest[0].url=None: is missing; say where the file comes from"),
    "unknown_field": (
        "- {url: x, sha265: y}",
        "manifest[0].sha265='y': is not a field; did you mean 'sha256'? known: path, sha256, size_bytes, unpack, url",
    ),
    "number_for_text": ("- {url: x, sha256: 12}", "manifest[0].sha256=12: is not text; write text; quote text in YAML"),
    "text_for_number": (
        "- {url: x, size_bytes: big}",
        "manifest[0].size_bytes='big': is not a whole number; write a whole number; quote text in YAML",
    ),
    "negative_size": ("- {url: x, size_bytes: -1}", "manifest[0].size_bytes=-1: is below 0; give the number of bytes"),
    "no_digest": (
        "- {url: x, sha256: abc}",
        "manifest[0].sha256='abc': is no SHA-256; write its 64 hexadecimal digits, as sha256sum prints them",
    ),
    "path_leads_out": (
        f"- {{url: x, sha256: '{SHA}', path: ../x}}",
        "manifest[0].path='../x': leads out of the folder (..); give a path inside the output, with /",
    ),
    "absolute_path": (
        f"- {{url: x, sha256: '{SHA}', path: /x}}",
        "manifest[0].path='/x': is an absolute path; give a path inside the output, with /",
    ),
    "password": (
        f"- {{url: 'https://me:pw@host/x', sha256: '{SHA}'}}",
        "manifest[0].url='https://...@host/x': holds a user or a password; take them out; a token goes into NGCRUN_DOWNLOAD_TOKEN",
    ),
    "blank_in_address": (
        f"- {{url: 'http://host/a b', sha256: '{SHA}'}}",
        "manifest[0].url='http://host/a b': holds a blank, a control character or one beyond ASCII; write it as %20, %0A, %C3%BC, ...",
    ),
    "every_mistake_at_once": (
        "- {url: ftp://h/x}\n- {path: y}\n",
        "manifest[0].url='ftp://h/x': ftp is not a way to fetch it; give an http, https or file address\n"
        "data_download: manifest[1].url=None: is missing; say where the file comes from",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MANIFESTS)
def test_download_refuses_manifests(case, server, tmp_path, capsys):
    text, line = MANIFESTS[case]
    write(tmp_path, text or " ")
    words = [f"manifest={tmp_path / 'm.yaml'}", f"--data={tmp_path / 'out'}"]
    assert refused(download, words, tmp_path, capsys) == f"data_download: {line}"


def test_a_token_that_would_go_in_clear_text_or_is_no_token_is_refused_unseen(tmp_path, capsys, monkeypatch):
    words = ["urls=http://host.invalid/x", f"sha256={SHA}", f"--data={tmp_path / 'out'}"]
    monkeypatch.setenv("NGCRUN_DOWNLOAD_TOKEN", "s3cret")
    assert refused(download, words, tmp_path, capsys) == (
        "data_download: urls='http://host.invalid/x': would get NGCRUN_DOWNLOAD_TOKEN in clear text; "
        "give an https address, or unset NGCRUN_DOWNLOAD_TOKEN"
    )
    monkeypatch.setenv("NGCRUN_DOWNLOAD_TOKEN", "s3cret\nHost: other")
    assert refused(download, words, tmp_path, capsys) == (
        "data_download: NGCRUN_DOWNLOAD_TOKEN='...': holds a blank, a line end or another character that no token has; set it again"
    )


def test_a_file_where_an_archive_has_put_one_is_refused(server, tmp_path, capsys):
    folder = tmp_path / "pack"
    folder.mkdir()
    for name in ("x", "download.json"):
        (folder / name).write_text(name)
        shutil.make_archive(str(tmp_path / name), "tar", folder, name)
    write(tmp_path, "- {url: x.tar, unpack: true}\n- {url: m.yaml, path: x}\n")
    words = [f"manifest={tmp_path / 'm.yaml'}", "allow_unverified=true", f"--data={tmp_path / 'out'}"]
    assert refused(download, words, tmp_path, capsys) == (
        "data_download: manifest[1].url='m.yaml': has the path x, where an archive or another file has put something; "
        "give it another path in a manifest"
    )
    write(tmp_path, "- {url: download.json.tar, unpack: true}\n")
    assert refused(download, words, tmp_path, capsys) == (
        "data_download: manifest[0].url='download.json.tar': brings download.json, as the report is named; unpack it elsewhere"
    )


def test_a_disk_that_is_too_small_is_told_before_it_is_full(server, tmp_path):
    server.add("/f.bin", bytes(600_000))
    begin = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"']
    (tmp_path / "disk").mkdir()
    begin.append(str(tmp_path / "disk"))
    if shutil.which("unshare") is None or subprocess.run([*begin, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounting in a namespace of one's own (unshare --mount)")
    words = [f"urls={server.url}/f.bin", "allow_unverified=true", f"data={tmp_path}/disk/out"]
    done = subprocess.run(
        [*begin, *command("download", *words)], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert (
        "f.bin: needs 600,000 bytes, and the disk has 262,144; free some space or point the outputs elsewhere"
        in done.stderr
    )


def test_python_dash_m_carries_the_status_to_the_shell(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "runtime.data.download", "data=out"]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n"), list(tmp_path.iterdir())) == (2, 1, [])
