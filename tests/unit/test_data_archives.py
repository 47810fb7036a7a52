"""Archives that mean harm are refused by the name of the member, and what is good comes out whole."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from runtime.data.archives import Limits, Unpacker
from runtime.errors import BadInput

MIB = 1 << 20
GOOD = {"a.txt": b"one", "sub/b.txt": b"two", "sub/deep/empty.txt": b""}


def make_zip(path: Path, members: dict[str, bytes], **fields: object) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for field, value in fields.items():
                setattr(member, field, value)
            archive.writestr(member, data)
    return path


def make_tar(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def unpack(path: Path, limits: Limits | None = None, target: Path | None = None) -> dict[str, bytes]:
    folder = target or path.parent / "out"
    Unpacker(folder, limits or Limits()).unpack(path, path.name, "urls")
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refusal(path: Path, limits: Limits | None = None) -> str:
    before = {p for p in path.parent.rglob("*") if "out" not in p.parts}
    with pytest.raises(BadInput) as refused:
        unpack(path, limits)
    assert {p for p in path.parent.rglob("*") if "out" not in p.parts} == before  # nothing beside the folder
    (line,) = refused.value.lines()
    return line.removeprefix(f"urls={path.name!r}: ")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_each_kind_is_told_by_its_content_and_comes_out_whole(tmp_path, kind):
    path = tmp_path / "nameless"
    if kind == "zip":
        make_zip(path, GOOD)
    else:
        make_tar(path, *GOOD.items(), mode=f"w:{kind.partition('.')[2]}")
    assert unpack(path) == GOOD


NAMES = {
    "../evil.txt": "which leads out of the folder (..)",
    "a/../../evil.txt": "which leads out of the folder (..)",
    "/tmp/evil.txt": "which is an absolute path",
    "C:/evil.txt": "which is an absolute path",
    "a\\..\\evil.txt": "which holds a backslash",
    "evil\n.txt": "which holds a character that cannot be shown",
    "x" * 300: "which is too long",
    "d/" * 1600 + "x": "which is too long",
}


@pytest.mark.parametrize("name", NAMES, ids=lambda n: repr(n)[:24])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, kind, name):
    if kind == "zip":
        path = make_zip(tmp_path / "a.zip", {"good.txt": b"x", name: b"x"})
    else:
        path = make_tar(tmp_path / "a.tar", ("good.txt", b"x"), (name, b"x"))
    line = f"holds {name[:200]!r}, {NAMES[name]}; do not use an archive like this; nothing was kept"
    assert refusal(path) == line


@pytest.mark.parametrize(
    ("members", "told"),
    [
        (
            [special("l", tarfile.SYMTYPE, "/etc/passwd")],
            "holds 'l', which is a link that leads out of the folder (/etc/passwd)",
        ),
        (
            [special("d/l", tarfile.SYMTYPE, "../../x")],
            "holds 'd/l', which is a link that leads out of the folder (../../x)",
        ),
        ([special("l", tarfile.LNKTYPE, "../x")], "holds 'l', which is a link that leads out of the folder (../x)"),
        (
            [special("l", tarfile.SYMTYPE, "."), ("l/x", b"x")],
            "holds 'l', which is a link that leads out of the folder (.)",
        ),
        (
            [special("l", tarfile.SYMTYPE, "later"), ("later", b"x")],
            "holds 'l', which is a link to no file before it (later)",
        ),
        ([special("f", tarfile.FIFOTYPE)], "holds 'f', which is a device"),
        ([special("c", tarfile.CHRTYPE)], "holds 'c', which is a device"),
        ([("a", b"x"), ("./a", b"y")], "holds './a', which is there already"),
        ([("a", b"x"), ("a/b", b"y")], "holds 'a/b', which is a file and a folder"),
        ([("a/b", b"x"), ("a", b"y")], "holds 'a', which is there already"),
        ([special("d", tarfile.DIRTYPE)], "holds no file"),
    ],
)
def test_what_a_tar_may_not_hold(tmp_path, members, told):
    assert refusal(make_tar(tmp_path / "a.tar", *members)).startswith(f"{told}; ")


def test_a_link_that_stays_inside_becomes_a_copy(tmp_path):
    members = [("d/a", b"x"), special("d/s", tarfile.SYMTYPE, "a"), special("h", tarfile.LNKTYPE, "d/a")]
    assert unpack(make_tar(tmp_path / "a.tar", *members)) == {"d/a": b"x", "d/s": b"x", "h": b"x"}
    assert not any(p.is_symlink() for p in (tmp_path / "out").rglob("*"))


def test_what_a_zip_may_not_hold(tmp_path):
    link = make_zip(tmp_path / "link.zip", {"l": b"/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    assert refusal(link).startswith("holds 'l', which is a link; ")
    fifo = make_zip(tmp_path / "fifo.zip", {"f": b""}, external_attr=(stat.S_IFIFO | 0o777) << 16)
    assert refusal(fifo).startswith("holds 'f', which is a device; ")
    locked = make_zip(tmp_path / "locked.zip", {"s": b"x"})
    data = locked.read_bytes()
    at = data.index(b"PK\x01\x02") + 8
    locked.write_bytes(data[:at] + b"\x01\x00" + data[at + 2 :])
    assert refusal(locked).startswith("holds 's', which is encrypted; ")
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = tmp_path / "twice.zip"
        with zipfile.ZipFile(twice, "w") as archive:
            archive.writestr("a", "x")
            archive.writestr("a", "y")
    assert refusal(twice).startswith("holds 'a', which is there already; ")


def test_bombs_are_stopped_before_they_fill_the_disk(tmp_path):
    zeros = bytes(64 * MIB)
    ratio = "unpacks to more than 200 times its size, as a zip bomb does; allow more with max_ratio if you know it"
    for path in (make_zip(tmp_path / "b.zip", {"z": zeros}), make_tar(tmp_path / "b.tgz", ("z", zeros), mode="w:gz")):
        assert refusal(path) == ratio
        assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()) == 0
    small = Limits(unpacked_gib=0.001, ratio=1e9)
    assert refusal(tmp_path / "b.zip", small) == "unpacks to more than 0.001 GiB; allow more with max_unpacked_gib"
    assert refusal(tmp_path / "b.tgz", small) == "unpacks to more than 0.001 GiB; allow more with max_unpacked_gib"
    many = make_zip(tmp_path / "m.zip", {f"{n}": b"" for n in range(20)})
    assert refusal(many, Limits(entries=10)) == "holds more than 10 entries; allow more with max_entries"
    tar = make_tar(tmp_path / "m.tar", *((f"{n}", b"") for n in range(20)))
    assert refusal(tar, Limits(entries=10)) == "holds more than 10 entries; allow more with max_entries"


def test_a_zip_that_lies_about_its_sizes_writes_no_more_than_it_said(tmp_path):
    path = make_zip(tmp_path / "liar.zip", {"z": bytes(MIB)})
    data = path.read_bytes().replace((MIB).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(data)
    assert "is broken (Bad CRC-32 for file 'z')" in refusal(path)
    assert (tmp_path / "out" / "z").stat().st_size <= 10


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2 * MIB
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(3 * MIB))
    assert (
        refusal(tmp_path / "a.tar")
        == "cannot be read (a header of 2,097,152 bytes); get it again, or from another place"
    )


def broken(tmp_path: Path, name: str) -> Path:
    noise = os.urandom(100_000)
    good = make_zip(tmp_path / "g.zip", {"n": noise}).read_bytes()
    packed = make_tar(tmp_path / "g.tgz", ("n", noise), mode="w:gz").read_bytes()
    plain = make_tar(tmp_path / "g.tar", ("n", noise)).read_bytes()
    contents = {
        "cut.zip": good[:50_000],
        "bad_crc.zip": good[:5000] + bytes([good[5000] ^ 1]) + good[5001:],
        "cut.tgz": packed[:50_000],
        "bad_crc.tgz": packed[:-8] + bytes(8),
        "cut.tar": plain[:50_000],
        "gzip_of_no_tar.gz": gzip.compress(b"hello" * 1000),
        "bz2_of_no_tar.bz2": bz2.compress(b"hello" * 1000),
    }
    (tmp_path / name).write_bytes(contents[name])
    return tmp_path / name


@pytest.mark.parametrize(
    "name", ["cut.zip", "bad_crc.zip", "cut.tgz", "bad_crc.tgz", "cut.tar", "gzip_of_no_tar.gz", "bz2_of_no_tar.bz2"]
)
def test_a_broken_archive_is_one_line(tmp_path, name):
    assert refusal(broken(tmp_path, name)).startswith(("is broken (", "cannot be read ("))


def test_what_is_no_archive_is_told_with_what_would_be(tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    assert refusal(tmp_path / "x") == (
        "is no archive that is known; known: zip, tar, tar.gz, tar.bz2, tar.xz; set unpack=false to keep it as it is"
    )
    (tmp_path / "z").write_bytes(b"\x28\xb5\x2f\xfd----")
    assert refusal(tmp_path / "z").startswith(
        "is packed with Zstandard, which is not supported; pack it as one of zip,"
    )


def test_archives_share_a_folder_but_no_file(tmp_path):
    one, two = make_zip(tmp_path / "1.zip", {"a/x": b"1"}), make_zip(tmp_path / "2.zip", {"a/y": b"2"})
    unpack(one)
    assert unpack(two) == {"a/x": b"1", "a/y": b"2"}
    assert refusal(one).startswith("holds 'a/x', which is there already; ")
