"""Whatever ends triton_verify, nothing of its server is left: no process, no port, no shared memory, no output."""

import http.client
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from runtime.triton.serve import serving
from runtime.triton.serve_env import find_server
from tests.fakes import triton_models as models
from tests.fakes.triton_server import end, left_behind, packaged, processes, shared_memory, start


@pytest.fixture(scope="module")
def fare(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fare")
    return packaged(folder, models.model_folder(folder / "m", "xgboost"), "model_name=fare")


def verify_that_serves(fare, tmp_path, **ports):
    """A verify in its own process that measures for a minute, once its server has loaded the model."""
    words = [f"repository={fare[0]}", f"golden={fare[1]}", f"report={tmp_path / 'report'}", "measure_s=60"]
    process = start("runtime.triton.verify", *words, *(f"{k}={v}" for k, v in ports.items()), cwd=tmp_path)
    until = time.monotonic() + 30
    while not (shared_memory(f"ngcrun-{process.pid}-") and processes(f"ngcrun-{process.pid}-")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("number", "group", "status"),
    [
        (signal.SIGINT, True, 130),
        (signal.SIGINT, False, 130),
        (signal.SIGTERM, False, 130),
        (signal.SIGKILL, False, -9),
    ],
)
def test_a_verify_that_is_stopped_or_killed_leaves_nothing(fare, tmp_path, number, group, status):
    process = verify_that_serves(fare, tmp_path)
    time.sleep(0.5)  # into the loading, or the measuring
    code, error = end(process, number, group=group)
    assert code == status, error
    assert left_behind(process.pid, str(fare[0])) == []
    assert not (tmp_path / "report").exists()
    if number != signal.SIGKILL:
        assert error.splitlines()[-1] == "triton_verify: stopped; no output was written"
        assert list(tmp_path.iterdir()) == []


def test_a_killed_server_fails_the_verify_and_leaves_nothing(fare, tmp_path):
    process = verify_that_serves(fare, tmp_path)
    time.sleep(1.0)
    mine = processes(f"ngcrun-{process.pid}-").items()
    servers = [pid for pid, line in mine if line.split()[0].endswith("bin/tritonserver")]
    assert len(servers) == 1
    os.kill(servers[0], signal.SIGKILL)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 3, error
    assert error.startswith("triton_verify: 127.0.0.1:")
    assert "no answer" in error.splitlines()[0]
    assert left_behind(process.pid, str(fare[0])) == []
    assert list(tmp_path.iterdir()) == []


def listening(*addresses):
    """The hosts, as the kernel writes them, that listen on the ports of `addresses`."""
    ports = {int(address.split(":")[1]) for address in addresses}
    lines = [x.split() for name in ("tcp", "tcp6") for x in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    found = [line[1].split(":") for line in lines if line[3] == "0A"]
    return sorted(host for host, port in found if int(port, 16) in ports)


def test_a_server_listens_on_this_machine_only_and_its_ports_are_free_afterwards(fare, tmp_path):
    with serving(find_server(), fare[0], ["fare"]) as running:
        port = int(running.http.split(":")[1])
        # 127.0.0.1, and the same as an IPv6 address, which is how gRPC binds it
        assert listening(running.http, running.grpc) == ["0000000000000000FFFF00000100007F", "0100007F"]
        assert left_behind(os.getpid(), within_s=0) != []
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=2).request("GET", "/v2/health/live")
    with serving(find_server(), fare[0], ["fare"], http_port=port) as again:
        assert again.http == f"127.0.0.1:{port}"
    assert left_behind(os.getpid()) == []


def test_two_servers_run_side_by_side(fare, tmp_path):
    with (
        serving(find_server(), fare[0], ["fare"]) as one,
        serving(find_server(), fare[0], ["fare"]) as two,
    ):
        assert len({one.http, one.grpc, two.http, two.grpc}) == 4
    assert left_behind(os.getpid()) == []


def test_a_repository_below_a_path_with_blanks_is_served(fare, tmp_path):
    repository = tmp_path / "new user (1) & co" / "repository"
    repository.parent.mkdir()
    shutil.copytree(fare[0], repository)
    with serving(find_server(), repository, ["fare"], timeout_s=30) as running:
        host, port = running.http.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", "/v2/models/fare/ready")
        assert connection.getresponse().status == 200
        connection.close()
