"""The wheel of this package from a checkout, built once for each state of its sources."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from runtime import vendor
from runtime.cache import cache_folder, locked

EPOCH = "1704067200"  # zip files hold times: the same sources give the same bytes


def build(root: Path) -> Path:
    """The path of the wheel; raises `ToolFailed` with pip's last lines.

    Files written: `<cache>/wheels/<fingerprint>/ngcrun-<version>-py3-none-any.whl`.
    """
    from runtime.snapshot import files, package_fingerprint

    folder = cache_folder() / "wheels" / package_fingerprint(root)[:16]
    with locked(folder):
        made = sorted(folder.glob("ngcrun-*.whl"))
        if made:
            return made[0]
        with tempfile.TemporaryDirectory(prefix="ngcrun-wheel-") as work:
            copied = Path(work) / "source"  # pip writes build/ and egg-info beside what it builds
            for path in (root / "pyproject.toml", root / "README.md", root / "LICENSE", *files(root / "runtime")):
                place = copied / path.relative_to(root)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
            # No build isolation: setuptools comes with the extra `azureml`, and nothing is downloaded.
            pip = [
                sys.executable,
                "-m",
                "pip",
                "wheel",
                "--no-deps",
                "--no-build-isolation",
                "--disable-pip-version-check",
            ]
            argv = [*pip, "-w", work, str(copied)]
            log = folder.with_name(f"{folder.name}.log")
            vendor.run(argv, log, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})
            wheel = next(Path(work).glob("ngcrun-*.whl"))
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(wheel, folder / wheel.name)
            log.unlink()
            return folder / wheel.name
