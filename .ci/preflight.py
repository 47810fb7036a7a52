"""Says in one line what a bare Debian or Ubuntu lacks, before a minute is spent on installing the rest."""

import ctypes
import importlib.util
import os
import platform
import sys
import sysconfig

version = f"{sys.version_info.major}.{sys.version_info.minor}"
packages = []
if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
    packages.append(f"python{version}-venv")
# tritonserver's Python stub is linked to libpython; without it the server hangs. Source: measured, docs/triton.md.
names = [
    f"libpython{version}.so.1.0",
    os.path.join(sysconfig.get_config_var("LIBDIR") or "", f"libpython{version}.so.1.0"),
]
for name in names:
    try:
        ctypes.CDLL(name)
        break
    except OSError:
        pass
else:
    packages.append(f"libpython{version}")
libc, release = platform.libc_ver()
if libc == "glibc" and tuple(map(int, release.split(".")[:2])) < (2, 35):
    sys.exit(
        f"make: this machine has glibc {release}; the tritonserver of the demo needs 2.35 (Debian 12, Ubuntu 22.04)"
    )
if platform.machine() != "x86_64" or sys.platform != "linux":
    sys.exit(
        f"make: the tritonserver of the demo runs on Linux x86-64 only, not on {sys.platform} {platform.machine()}"
    )
if packages:
    todo = f"sudo apt-get install -y {' '.join(packages)}, or name another Python: make demo PYTHON=..."
    sys.exit(f"make: {sys.executable} lacks {' and '.join(packages)}; on Debian and Ubuntu: {todo}")
