"""Azurite and moto's S3 for the tests of this folder, each on a free port of 127.0.0.1, with keys made up on the spot."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

BOX = "trips"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert process.poll() is None, "the store has ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on {port}")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which clients find it; its container `trips` is there."""
    port, account, key = free_port(), "ngcruntests", base64.b64encode(secrets.token_bytes(64)).decode()
    argv = [
        os.environ["NGCRUN_AZURITE"],
        "--blobPort",
        str(port),
        "--silent",
        "--skipApiVersionCheck",
        "--disableTelemetry",
    ]
    argv += ["--location", str(tmp_path_factory.mktemp("azurite"))]
    with subprocess.Popen(argv, env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"}) as process:
        wait_for(port, process)
        url = f"http://127.0.0.1:{port}"
        connection = (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};BlobEndpoint={url}/{account};"
        )
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(connection) as client:
            client.create_container(BOX)
        yield {"AZURE_STORAGE_CONNECTION_STRING": connection, "AZURE_STORAGE_ACCOUNT_NAME": account,
               "AZURE_STORAGE_ACCOUNT_KEY": key, "AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": url}  # fmt: skip
        process.terminate()


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    """The environment in which clients find moto's S3; its bucket `trips` is there."""
    port = free_port()
    with subprocess.Popen(
        [os.environ["NGCRUN_MOTO"], "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    ) as process:
        wait_for(port, process)
        found = {"AWS_ACCESS_KEY_ID": secrets.token_hex(8), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(8),
                 "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
                 "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}  # fmt: skip
        import s3fs

        s3fs.S3FileSystem(
            key=found["AWS_ACCESS_KEY_ID"],
            secret=found["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=found["AWS_ENDPOINT_URL"],
        ).mkdir(BOX)
        yield found
        process.terminate()


@pytest.fixture(params=["azurite", "s3"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of a container, with its keys in the environment; each test gets a folder of its own in it."""
    for name in [n for n in os.environ if n.startswith(("AZURE_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in request.getfixturevalue(request.param).items():
        monkeypatch.setenv(name, value)
    return f"{'az' if request.param == 'azurite' else 's3'}://{BOX}/{tmp_path.name}"
