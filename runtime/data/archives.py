"""Unpacking an archive that came from outside: only regular files and folders, only inside, and no more than allowed.

What is refused, by name of the member: a path that is absolute or leads out, a name twice, a device, an encrypted
member, a link that leads out. A link that stays inside becomes a copy of what it points to, for a link may be followed
later by somebody who trusts the folder, and object stores have none.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from runtime.data.members import tidy, unsafe
from runtime.errors import BadInput
from runtime.redact import redacted

CHUNK = 1 << 20
GIB = 1 << 30
RATIO_FREE_BYTES = 16 * CHUNK  # a small file of zeros may well shrink a thousandfold
LONGEST_HEADER = CHUNK  # of a tar member's extended header, which tarfile reads into memory
KINDS = "zip, tar, tar.gz, tar.bz2, tar.xz"
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    NotImplementedError,
)


@dataclass(frozen=True)
class Limits:
    """What one archive may become. `ratio`: bytes unpacked for each byte packed."""

    unpacked_gib: float = 500.0
    ratio: float = 200.0
    entries: int = 2_000_000


class Unpacker:
    """Writes the members of archives below one folder; a file that two of them bring is refused."""

    def __init__(self, target: Path, limits: Limits) -> None:
        self.target, self.limits = target, limits
        self.files = 0

    def unpack(self, path: Path, shown: str, port: str, below: str = ".") -> int:
        """Unpack the archive at `path` (told as `shown`) to `<target>/<below>`; returns the number of its files.

        Raises:
            BadInput: it is no archive, is broken, or holds what is refused.
        """
        return _Archive(self, path, redacted(shown), port, self.target / below).unpack()


class _Archive:
    def __init__(self, owner: Unpacker, path: Path, shown: str, port: str, folder: Path) -> None:
        self.owner, self.path, self.shown, self.port, self.folder = owner, path, shown, port, folder
        self.packed = max(1, path.stat().st_size)
        self.written = self.entries = 0
        self.names: dict[str, Path] = {}

    def unpack(self) -> int:
        opener = self._kind()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            opener()
        except _BROKEN as error:
            raise self._refused(f"is broken ({str(error).splitlines()[0] if str(error) else 'cut short'})") from error
        except (RuntimeError, ValueError) as error:  # zipfile: password, compression; tarfile: numbers
            raise self._refused(f"cannot be read ({str(error).splitlines()[0]})") from error
        except OSError as error:
            if isinstance(error, gzip.BadGzipFile) or error.errno is None:
                raise self._refused(f"is broken ({error})") from error
            raise
        if not self.names:
            raise self._refused("holds no file")
        return len(self.names)

    def _refused(self, wrong: str, todo: str = "get it again, or from another place") -> BadInput:
        return BadInput.of(self.port, self.shown, wrong, todo)

    def _member_refused(self, name: str, wrong: str) -> BadInput:
        return self._refused(
            f"holds {name[:200]!r}, which {wrong}", "do not use an archive like this; nothing was kept"
        )

    def _kind(self) -> Any:
        with self.path.open("rb") as file:
            head = file.read(512)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return self._zip
        for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open)):
            if head.startswith(magic):
                return lambda: self._tar(cast("IO[bytes]", opener(self.path, "rb")))
        if head[257:262] == b"ustar":
            return lambda: self._tar(self.path.open("rb"))
        if head.startswith(b"\x28\xb5\x2f\xfd"):
            raise self._refused("is packed with Zstandard, which is not supported", f"pack it as one of {KINDS}")
        raise self._refused("is no archive that is known", f"known: {KINDS}; set unpack=false to keep it as it is")

    # --- zip ------------------------------------------------------------------------------------------------------

    def _zip(self) -> None:
        with zipfile.ZipFile(self.path) as archive:
            members = archive.infolist()
            self._allow(sum(m.file_size for m in members), len(members))  # as declared, before anything is written
            for member in members:
                self._check_name(member.filename)
                mode = stat.S_IFMT(member.external_attr >> 16)
                if member.flag_bits & 1:
                    raise self._member_refused(member.filename, "is encrypted")
                if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                    wrong = "is a link" if mode == stat.S_IFLNK else "is a device"
                    raise self._member_refused(member.filename, wrong)
            for member in members:
                if member.is_dir():
                    self._folder(self.folder / tidy(member.filename), member.filename)
                    continue
                with archive.open(member) as data:
                    self._write(member.filename, data)

    # --- tar ------------------------------------------------------------------------------------------------------

    def _tar(self, stream: IO[bytes]) -> None:
        with stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, errorlevel=1) as archive:
            for member in archive:
                self.entries += 1
                self._allow(self.written + (member.size if member.isreg() else 0), self.entries)
                self._check_name(member.name)
                if member.isdir():
                    self._folder(self.folder / tidy(member.name), member.name)
                elif member.issparse():
                    raise self._member_refused(member.name, "is sparse")
                elif member.isreg():
                    self._write(member.name, cast("IO[bytes]", archive.extractfile(member)), member.size)
                elif member.islnk() or member.issym():
                    self._link(member)
                else:
                    raise self._member_refused(member.name, "is a device")
            while stream.read(CHUNK):  # what follows the end mark: a checksum of the stream is tested at its end
                pass

    def _link(self, member: tarfile.TarInfo) -> None:
        start = posixpath.dirname(member.name) if member.issym() else ""
        to = posixpath.normpath(posixpath.join(start, member.linkname))
        if unsafe(to) or member.linkname.startswith("/"):
            raise self._member_refused(member.name, f"is a link that leads out of the folder ({member.linkname[:200]})")
        source = self.names.get(tidy(to))
        if source is None:
            raise self._member_refused(member.name, f"is a link to no file before it ({member.linkname[:200]})")
        self._allow(self.written + source.stat().st_size, self.entries)
        with source.open("rb") as data:
            self._write(member.name, data)

    # --- both -----------------------------------------------------------------------------------------------------

    def _allow(self, size: int, entries: int) -> None:
        limits = self.owner.limits
        if entries > limits.entries:
            raise self._refused(f"holds more than {limits.entries:,} entries", "allow more with max_entries")
        if size > limits.unpacked_gib * GIB:
            wrong = f"unpacks to more than {limits.unpacked_gib:g} GiB"
            raise self._refused(wrong, "allow more with max_unpacked_gib")
        if size > max(RATIO_FREE_BYTES, limits.ratio * self.packed):
            wrong = f"unpacks to more than {limits.ratio:g} times its size, as a zip bomb does"
            raise self._refused(wrong, "allow more with max_ratio if you know it")

    def _check_name(self, name: str) -> None:
        wrong = unsafe(name.rstrip("/") or name)
        if wrong and tidy(name) != ".":
            raise self._member_refused(name, wrong)

    def _folder(self, path: Path, name: str) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise self._member_refused(name, "is a file and a folder") from None

    def _write(self, name: str, data: IO[bytes], size: int | None = None) -> None:
        target = self.folder / tidy(name)
        began = self.written
        self._folder(target.parent, name)
        try:
            with target.open("xb") as file:
                while chunk := data.read(CHUNK):
                    self.written += len(chunk)
                    self._allow(self.written, self.entries)
                    file.write(chunk)
        except FileExistsError:
            raise self._member_refused(name, "is there already") from None
        if size is not None and self.written - began != size:
            raise self._refused(f"is broken (ends inside {name[:200]!r})")
        self.names[tidy(name)] = target


class _Header(tarfile.TarInfo):
    """A member whose extended header is no memory bomb."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """As in tarfile, for every header block."""
        header = super().frombuf(buf, encoding, errors)
        extended = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if (
            header.type in (*extended, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
            and header.size > LONGEST_HEADER
        ):
            raise ValueError(f"a header of {header.size:,} bytes")
        return header
