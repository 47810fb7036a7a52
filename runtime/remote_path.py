"""A file or folder in an object store or on the web, with what steps use of a `Path`: read in place, or filled at once.

Listing, small files and uploads go through fsspec; tables are read by Polars' own readers, which take the address as it
is. Both find the credentials of the environment by themselves: adlfs and Polars through azure-identity or
AZURE_STORAGE_*, s3fs and Polars through AWS_* and the AWS profile.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from runtime.errors import BadInput, NgcrunError, ToolFailed
from runtime.redact import redacted

# Schemes that Polars reads, and the fsspec package of each. Sources: polars 1.44.2, cloud storage; fsspec 2026.9.
SCHEMES = {
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "s3": "s3fs",
    "gs": "gcsfs",
    "https": "aiohttp",
    "http": "aiohttp",
}
_AZURE = ("abfs", "abfss", "az")
# How a store that refuses is told from one that fails: words of its errors, or of their types' names.
_REFUSED = (
    "AuthenticationFailed",
    "AuthorizationFailure",
    "Forbidden",
    "InvalidAccessKeyId",
    "NoCredentials",
)


def as_remote(path: object) -> Remote | None:
    """The value of a port where it is an address: its type says `Path`, as it mostly is one."""
    return path if isinstance(path, Remote) else None


def is_remote(text: str) -> bool:
    """Whether a port's text is an address, and no path on this machine."""
    return "://" in text


class Remote(str):
    """An address. It is text, so that whatever takes one takes it, with the methods of a `Path` that steps use."""

    __slots__ = ()

    @classmethod
    def of(cls, port: str, text: str) -> Remote:
        """The address in `text`; raises `BadInput` for a scheme that is not read, or whose package is not here."""
        scheme = text.partition("://")[0].lower()
        package = SCHEMES.get(scheme)
        if package is None:
            raise BadInput.of(port, text, "is in no storage that is read here", f"known: {', '.join(SCHEMES)}")
        for name in ("fsspec", package):
            if importlib.util.find_spec(name) is None:
                extra = "s3" if package == "s3fs" else "remote"
                todo = f"pip install 'ngcrun[{extra}]' {'gcsfs' if package == 'gcsfs' else ''}".strip()
                raise BadInput.of(port, text, f"needs the package {name}, which is not installed", todo)
        return cls(text.rstrip("/") if "?" not in text else text)

    @property
    def scheme(self) -> str:
        """`abfs`, `s3`, `https`, ..."""
        return self.partition("://")[0].lower()

    @property
    def name(self) -> str:
        """The last part, without a query."""
        return PurePosixPath(urlsplit(self).path).name or urlsplit(self).netloc

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """Of the path, for an order by name."""
        return PurePosixPath(urlsplit(self).path).parts

    @property
    def parent(self) -> Remote:
        """The folder that it is in."""
        return Remote(self.partition("?")[0].rpartition("/")[0])

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self}/{name}")

    def _there(self) -> tuple[Any, str]:
        import fsspec  # type: ignore[import-untyped] # it has no types

        found: tuple[Any, str] = fsspec.core.url_to_fs(str(self), **({"anon": False} if self.scheme in _AZURE else {}))
        return found

    def exists(self) -> bool:
        """Whether there is such a file, or a file below it."""
        with told(self):
            system, path = self._there()
            if self.scheme in ("http", "https"):  # whose `exists` says no where the server refuses
                system.info(path)
                return True
            return bool(system.exists(path))

    def is_file(self) -> bool:
        """Whether it is one file; on the web everything is."""
        if self.scheme in ("http", "https"):
            return True
        with told(self):
            system, path = self._there()
            return bool(system.isfile(path))

    def is_dir(self) -> bool:
        """Whether there are files below it."""
        return not self.is_file()

    def iterdir(self) -> Iterator[Remote]:
        """Each file below it."""
        return self.rglob("*")

    def rglob(self, _everything: str) -> Iterator[Remote]:
        """Each file below it, at whatever depth."""
        with told(self):
            system, path = self._there()
            found = sorted(system.find(path))
        for one in found:
            yield Remote(f"{self}/{str(one)[len(path.rstrip('/')) :].lstrip('/')}")

    def relative_to(self, root: str) -> PurePosixPath:
        """The path below `root`."""
        return PurePosixPath(self.removeprefix(str(root)).lstrip("/"))

    def is_relative_to(self, other: object) -> bool:
        """Whether it is `other` or below it."""
        return f"{self}/".startswith(f"{other}/")

    def resolve(self) -> Remote:
        """Itself: an address has no links."""
        return self

    def stat(self) -> Stat:
        """Its size, and the tag by which its store says that it is the same."""
        with told(self):
            system, path = self._there()
            info = system.info(path)
        tag = next((info[key] for key in ("etag", "ETag") if info.get(key)), "")
        return Stat(int(info.get("size") or 0), str(tag).strip('"') or str(info.get("last_modified", "")))

    def open(self, mode: str = "r", **text: Any) -> Any:
        """The file, to be read; `text`: encoding, errors, newline."""
        with told(self):
            system, path = self._there()
            file = system.open(path, "rb")
        return file if "b" in mode else io.TextIOWrapper(file, **text)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole file."""
        with told(self):
            system, path = self._there()
            return bytes(system.cat_file(path)).decode(encoding)

    def joinpath(self, name: str) -> Remote:
        """What `/` gives."""
        return self / name

    def upload(self, source: Path) -> None:
        """Fill it with a file, or with the files of a folder; when one fails, those before it are removed again."""
        with told(self):
            system, path = self._there()
            files = [p for p in sorted(source.rglob("*")) if p.is_file()] if source.is_dir() else [source]
            done = []
            try:
                for file in files:
                    place = f"{path}/{file.relative_to(source).as_posix()}" if source.is_dir() else path
                    done.append(place)
                    system.put_file(str(file), place)
            except BaseException:
                for place in done:
                    with contextlib.suppress(Exception):
                        system.rm_file(place)
                raise

    def remove(self) -> None:
        """Remove what `upload` has put there, as far as that can be done."""
        with contextlib.suppress(Exception):
            system, path = self._there()
            system.rm(path, recursive=True)


@dataclass(frozen=True)
class Stat:
    """What a store says of a file."""

    st_size: int
    tag: str


@contextlib.contextmanager
def told(address: str) -> Iterator[None]:
    """Raise our own errors for those of a store, whose packages each have others."""
    try:
        yield
    except NgcrunError:
        raise
    except Exception as error:
        module = type(error).__module__.partition(".")[0]
        if not (isinstance(error, OSError | ValueError) or module in ("azure", "botocore", "aiohttp")):
            raise
        raise _ours(address, error) from error


def _ours(address: str, error: Exception) -> NgcrunError:
    """Our error for a store's: what is not there, what is refused, and what failed."""
    # Of aiohttp's, behind fsspec's FileNotFoundError; of azure-core's.
    status = getattr(error.__cause__, "status", 0) or getattr(error, "status_code", 0)
    first = redacted(next(iter(str(error).splitlines()), "") or type(error).__name__)[:200]
    said = f"{type(error).__name__} {error}"
    if isinstance(error, PermissionError) or status in (401, 403) or any(word in said for word in _REFUSED):
        todo = "sign in (az login; AZURE_* or AWS_* in the environment), or ask for the right to read or write it"
        return BadInput.of("address", address, f"is refused by its store ({first})", todo)
    if isinstance(error, FileNotFoundError):
        todo = "correct it; a folder is there once it holds a file"
        return BadInput.of("address", address, "does not exist", todo)
    return ToolFailed(f"{redacted(address)}: {first}")
