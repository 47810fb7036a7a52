"""A real dockerd for the tests, and a stand-in for the NGC images: Debian with Python and pip, under their exact names.

The stand-in proves what the Dockerfiles themselves do. What NVIDIA's images hold it cannot prove.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGES = ("docker.io", "mmdebstrap")
STAND_IN = "ngcrun.stand-in"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
INCLUDE = "python3,python3-pip,python3-venv,python-is-python3,ca-certificates"


def install() -> None:
    """The engine and the tool that makes the base, from Debian's packages; nothing where they are there."""
    if shutil.which("dockerd") and shutil.which("mmdebstrap"):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", "-qq", *words], env=environment, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def running() -> Iterator[Mapping[str, str]]:
    """Start dockerd in a mount namespace of its own, on the host's network without touching it; yields the environment.

    Gone afterwards: the daemon, its containers, its data.
    """
    with tempfile.TemporaryDirectory(prefix="ngcrun-docker-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        (root / "daemon.json").write_text("{}\n")
        flags = ["--host", f"unix://{root}/docker.sock", "--data-root", f"{root}/data", "--exec-root", f"{root}/exec",
                 "--pidfile", f"{root}/docker.pid", "--config-file", f"{root}/daemon.json", "--bridge=none", "--iptables=false",
                 "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]  # fmt: skip
        with (root / "dockerd.log").open("wb") as log:
            daemon = subprocess.Popen(
                ["unshare", "-m", "--propagation", "private", "dockerd", *flags], stdout=log, stderr=log
            )
        environment = {
            **os.environ,
            "DOCKER_HOST": f"unix://{root}/docker.sock",
            "DOCKER_BUILDKIT": "0",
            "HOME": folder,
        }
        try:
            _wait(daemon, environment, root / "dockerd.log")
            yield environment
        finally:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((root / "docker.pid").read_text()), signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
            daemon.kill()
            daemon.wait()


def _wait(daemon: subprocess.Popen[bytes], environment: Mapping[str, str], log: Path) -> None:
    until = time.monotonic() + 30
    while subprocess.run(["docker", "version"], env=environment, capture_output=True, check=False).returncode != 0:
        assert daemon.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
        time.sleep(0.2)


def base(folder: Path) -> Path:
    """A root file system as a tar: Debian 12 with Python 3.11 and pip, which may install as those of an image may.

    It trusts whom this machine trusts: a build that goes through a proxy of the house needs the house's certificate.
    """
    tar = folder / "stand-in.tar"
    hook = "; ".join([
        'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
        'useradd -R "$1" -m rapids',
        'useradd -R "$1" -m triton-server',
        f'cp {CERTIFICATES} "$1"{CERTIFICATES}',
    ])  # fmt: skip
    words = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={INCLUDE}",
        f"--customize-hook={hook}",
        "bookworm",
        str(tar),
    ]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return tar


def tag(tar: Path, names: list[str], environment: Mapping[str, str]) -> None:
    """Import the stand-in under each of the vendor's names, with a label that says what it is."""
    label = f"LABEL {STAND_IN}=1"
    trust = f"ENV PIP_CERT={CERTIFICATES} SSL_CERT_FILE={CERTIFICATES}"
    done = subprocess.run(
        ["docker", "import", "--change", label, "--change", trust, str(tar), names[0]],
        env=environment,
        check=True,
        capture_output=True,
    )
    image = done.stdout.decode().strip()
    for name in names[1:]:
        subprocess.run(["docker", "tag", image, name], env=environment, check=True)
