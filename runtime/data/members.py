"""Names from outside (members of an archive, files of a manifest) that stay inside the folder they are written to."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath

_DRIVE = re.compile(r"[A-Za-z]:")
LONGEST = 255  # bytes of one part of a path. Source: linux/limits.h, NAME_MAX
LONGEST_PATH = 3000  # bytes; PATH_MAX is 4096, and our own folder comes before it


def unsafe(name: str) -> str:
    """What is wrong with a name as a path below a folder; empty when nothing is."""
    parts = name.split("/")
    sizes = [len(os.fsencode(part)) if part.isprintable() else 0 for part in parts]
    tests = {
        "is no name": not name.strip("/."),
        "is an absolute path": name.startswith("/") or bool(_DRIVE.match(name)),
        "leads out of the folder (..)": ".." in parts,
        "holds a backslash": "\\" in name,
        "holds a character that cannot be shown": not name.isprintable(),  # control characters, broken UTF-8
        "is too long": max(sizes) > LONGEST or sum(sizes) + len(sizes) > LONGEST_PATH,
    }
    return next((wrong for wrong, holds in tests.items() if holds), "")


def tidy(name: str) -> str:
    """A safe name without `./` and doubled slashes: two names of one file become equal."""
    return str(PurePosixPath(name))
