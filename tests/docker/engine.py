"""A real dockerd and a real registry for the tests, and a stand-in for the NGC images: Debian under their exact names.

The stand-in has Python 3.11 and pip, marked as Debian's and Ubuntu's are (PEP 668), and no `python` beside `python3`. It
proves what the Dockerfiles themselves do. What NVIDIA's images hold it cannot prove.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGES = ("docker.io", "mmdebstrap")
STAND_IN = "ngcrun.stand-in"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INCLUDE = "python3,python3-pip,python3-venv,libpython3.11,ca-certificates"


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
            _empty_cgroups()


def _empty_cgroups() -> None:
    """Dockerd leaves its folders below /sys/fs/cgroup; those of another dockerd are not empty, and stay."""
    for path in sorted(Path("/sys/fs/cgroup").glob("*/docker/**/"), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()


def traces() -> set[str]:
    """What a dockerd of ours would leave on the machine: mounts, cgroups, processes."""
    mounts = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}
    cgroups = {str(path) for path in Path("/sys/fs/cgroup").glob("*/docker")}
    names = {f"process {path.read_text().strip()}" for path in Path("/proc").glob("[0-9]*/comm")}
    return mounts | cgroups | {name for name in names if "docker" in name or "containerd" in name}


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Debian's own docker-registry, unpacked and not installed, on a port of loopback; yields host:port."""
    subprocess.run(["apt-get", "-qq", "download", "docker-registry"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {folder}/held}}\n"
        f"http: {{addr: {host}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(folder / "usr/bin/docker-registry"), "serve", str(config)], stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 20
        while not _listens(host):
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield host
    finally:
        process.terminate()
        process.wait()


def _listens(host: str) -> bool:
    name, _, port = host.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((name, int(port)), timeout=1):
        return True
    return False


def _wait(daemon: subprocess.Popen[bytes], environment: Mapping[str, str], log: Path) -> None:
    until = time.monotonic() + 30
    while subprocess.run(["docker", "version"], env=environment, capture_output=True, check=False).returncode != 0:
        assert daemon.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
        time.sleep(0.2)


def base(folder: Path) -> Path:
    """A root file system as a tar: Debian 12 with Python 3.11 and pip.

    It trusts whom this machine trusts: a build that goes through a proxy of the house needs the house's certificate.
    """
    tar = folder / "stand-in.tar"
    hook = "; ".join([
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
    trust = f"ENV PATH={PATH} PIP_CERT={CERTIFICATES} SSL_CERT_FILE={CERTIFICATES}"
    done = subprocess.run(
        ["docker", "import", "--change", label, "--change", trust, str(tar), names[0]],
        env=environment,
        check=True,
        capture_output=True,
    )
    image = done.stdout.decode().strip()
    for name in names[1:]:
        subprocess.run(["docker", "tag", image, name], env=environment, check=True)


def with_numpy(name: str, version: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Give the stand-in under this name a numpy of its own, as the vendor's image has one."""
    (folder / "Dockerfile").write_text(
        f"FROM {name}\nRUN PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --no-cache-dir numpy=={version}\n"
    )
    argv = ["docker", "build", "--network=host", "--tag", name, str(folder)]
    subprocess.run(argv, env=environment, check=True, capture_output=True, timeout=300)
