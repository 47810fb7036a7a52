"""The clients against a real server that is far away: TLS, keys, deployments; and one that goes away."""

import contextlib
import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient

from runtime import vendor
from runtime.execute import main
from runtime.triton import serve
from runtime.triton.client import Client, Endpoint
from runtime.triton.infer_images import infer_images
from runtime.triton.infer_tensors import infer_tensors
from runtime.triton.serve_env import find_server
from tests.fakes import certificates, picture_models
from tests.fakes.gateway import gateway
from tests.fakes.triton_server import end, left_behind, server, shared_memory, start

IMAGES = Path(__file__).parents[1] / "data" / "wider" / "WIDER_train" / "images"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote") / "repository"
    picture_models.colours(folder, {"task": "classification", "pixels": "unit"})
    picture_models.sleeper(folder)
    return folder


@pytest.fixture(scope="module")
def running(repository):
    with server(repository, "colours", "sleeper") as found:
        yield found


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("tls"))


def classify(out, *words):
    return main(infer_images, [f"images={IMAGES}", "model_name=colours", f"predictions={out}", "retries=0", *words])


def told(out):
    return [json.loads(line)["image"] for line in (out / "predictions.jsonl").read_text().splitlines()]


@contextlib.contextmanager
def told_to_nobody(secret, capfd, *files):
    """Fails where `secret` stands in anything that was printed, or in the files."""
    yield
    out = capfd.readouterr()
    assert secret not in out.out + out.err
    for path in files:
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            assert secret.encode() not in file.read_bytes(), file


def test_an_azureml_endpoint_gets_key_and_deployment_over_tls(running, tls, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TRITON_TOKEN", "s3cret-of-the-endpoint")
    monkeypatch.setenv("TRITON_DEPLOYMENT", "blue")
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority))
    with (
        told_to_nobody("s3cret-of-the-endpoint", capfd, tmp_path),
        gateway(running.http, tls) as front,
    ):
        assert classify(tmp_path / "out", f"url=https://{front.address}") == 0
        with Client(Endpoint.parse(f"https://{front.address}", "http"), "colours") as client:  # triton_verify's
            assert client.config().name == "colours"
    assert len(told(tmp_path / "out")) == 2
    heads = bytes(front.seen).lower()
    assert heads.count(b"\r\nauthorization: bearer s3cret-of-the-endpoint\r\n") == heads.count(b" http/1.1\r\n") >= 2
    assert heads.count(b"\r\nazureml-model-deployment: blue\r\n") == heads.count(b" http/1.1\r\n")


@pytest.mark.parametrize("protocol", ["http", "grpc", "stream"])
def test_a_certificate_that_nobody_vouches_for_is_refused(running, tls, tmp_path, capsys, protocol):
    with gateway(
        running.http if protocol == "http" else running.grpc, tls, ("h2",) if protocol != "http" else ()
    ) as front:
        words = [f"url=https://{front.address}", f"protocol={protocol}", "timeout_s=5"]
        assert classify(tmp_path / "out", *words) == 3
    assert f"triton_infer_images: {front.address}: no answer (" in capsys.readouterr().err
    assert b"HTTP" not in front.seen


@contextlib.contextmanager
def secured(repository, tls, folder, *options):
    """A real server whose gRPC speaks TLS; gives its HTTP and gRPC addresses."""
    found = find_server()
    ports = serve._ports(0, 0)
    prefix = f"ngcrun-{os.getpid()}-tls"
    argv = [
        *serve.command(found, repository, serve.backend_folder(found, folder), ports, prefix),
        "--grpc-use-ssl=true", f"--grpc-server-cert={tls.certificate}", f"--grpc-server-key={tls.key}",
        "--load-model=colours", *options,
    ]  # fmt: skip
    log = folder / "server.log"
    try:
        with vendor.running(argv, log, env=found.env(), grace_s=0):
            until = time.monotonic() + 60
            while "Started HTTPService" not in (log.read_text() if log.is_file() else ""):
                assert time.monotonic() < until, vendor.tail(log)
                time.sleep(0.05)
            yield f"127.0.0.1:{ports[0]}", f"localhost:{ports[1]}"
    finally:
        serve.remove_shared_memory(prefix)


def test_a_server_with_tls_on_grpc_and_a_key_on_http_is_asked(repository, tls, tmp_path, monkeypatch, capfd):
    option = "--http-restricted-api=inference,model-config:Authorization=Bearer s3cret-of-the-server"
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    with secured(repository, tls, tmp_path / "server", option) as (http, grpc):
        assert classify(tmp_path / "refused", f"url={http}") == 2
        assert "refuses the request (403); put a valid key into TRITON_TOKEN" in capfd.readouterr().err
        monkeypatch.setenv("TRITON_TOKEN", "s3cret-of-the-server")
        with told_to_nobody("s3cret-of-the-server", capfd, tmp_path / "key", tmp_path / "metrics.jsonl"):
            assert classify(tmp_path / "key", f"url={http}") == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority))
        with Client(Endpoint.parse(f"grpcs://{grpc}", "grpc"), "colours") as client:  # triton_verify's
            assert client.config().name == "colours"
        for protocol in ("grpc", "stream"):
            assert classify(tmp_path / protocol, f"url=grpcs://{grpc}", f"protocol={protocol}") == 0
            assert told(tmp_path / protocol) == told(tmp_path / "key")
        assert classify(tmp_path / "plain", f"url={grpc}", "protocol=grpc", "timeout_s=3") == 3
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    capfd.readouterr()
    assert classify(tmp_path / "none", f"url=grpcs://{grpc}", "protocol=grpc") == 2
    assert "none.pem': cannot be read; name a PEM file with the authorities to trust" in capfd.readouterr().err


def sleepers(folder, *seconds):
    folder.mkdir()
    for number, wait in enumerate(seconds):
        np.save(folder / f"{number}.npy", np.array([wait], np.float32))
    return folder


@pytest.mark.parametrize("protocol", ["http", "grpc", "stream"])
def test_one_answer_that_does_not_come_in_time_fails_that_item_alone(running, tmp_path, protocol):
    url = running.http if protocol == "http" else running.grpc
    words = [f"tensors={sleepers(tmp_path / 'in', 0, 3, 0, 0)}", f"url={url}", f"protocol={protocol}"]
    words += ["model_name=sleeper", "timeout_s=0.7", "retries=0", f"predictions={tmp_path / 'out'}"]
    assert main(infer_tensors, words) == 0
    (entry,) = json.loads((tmp_path / "out" / "failed.json").read_text())
    assert entry["item"] == "1"
    assert "no answer (" in entry["error"]
    assert sorted(p.name for p in (tmp_path / "out" / "slept").iterdir()) == ["0.npy", "2.npy", "3.npy"]


@pytest.mark.parametrize("protocol", ["http", "grpc", "stream"])
def test_a_server_that_goes_away_ends_the_step_and_nothing_is_written(running, tmp_path, capsys, protocol):
    folder = sleepers(tmp_path / "in", *[0.2] * 40)
    with gateway(running.http if protocol == "http" else running.grpc) as front:
        threading.Timer(1.0, front.cut).start()
        words = [f"tensors={folder}", f"url={front.address}", f"protocol={protocol}", "model_name=sleeper", "retries=1"]
        before = time.monotonic()
        assert main(infer_tensors, [*words, f"predictions={tmp_path / 'out'}", "timeout_s=5"]) == 3
    assert time.monotonic() - before < 15
    assert f"triton_infer_tensors: {front.address}: no answer (" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_server_on_this_machine_that_maps_no_memory_is_asked_through_the_socket(
    repository, tls, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    with secured(repository, tls, tmp_path / "server", "--http-restricted-api=shared-memory:admin=key") as (http, _):
        assert classify(tmp_path / "out", f"url={http}") == 0
        assert classify(tmp_path / "wanted", f"url={http}", "shared_memory=yes") == 2
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    (tag,) = [r["value"] for r in records if r["kind"] == "tag" and r["key"] == "shared_memory"]
    assert tag.startswith("no: ")
    assert "refuses the request (403)" in tag
    assert "shared_memory='yes': cannot be had (" in capsys.readouterr().err
    assert not [name for name in shared_memory(f"ngcrun-{os.getpid()}-") if re.fullmatch(r"ngcrun-\d+-\w{8}", name)]


def test_a_server_that_was_started_anew_and_knows_no_memory_is_asked_through_the_socket(running, repository, tmp_path):
    with server(repository, "sleeper") as other:
        for protocol in ("http", "grpc", "stream"):
            old, new = (found.http if protocol == "http" else found.grpc for found in (running, other))
            folder, out = sleepers(tmp_path / protocol, *[0.1] * 40), tmp_path / f"{protocol}-out"
            with gateway(old) as front:
                timer = threading.Timer(0.6, front.move, (new,))
                timer.start()
                words = [f"tensors={folder}", f"url={front.address}", f"protocol={protocol}", "model_name=sleeper"]
                assert main(infer_tensors, [*words, "shared_memory=yes", f"predictions={out}"]) == 0
                timer.join()
            assert json.loads((out / "failed.json").read_text()) == []
            assert len(list((out / "slept").iterdir())) == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_client_that_is_stopped_leaves_no_memory_and_no_output(running, tmp_path, number):
    folder = sleepers(tmp_path / "in", *[0.3] * 60)
    words = [f"tensors={folder}", f"url={running.http}", "model_name=sleeper", f"predictions={tmp_path / 'out'}"]
    process = start("runtime.triton.infer_tensors", *words, "shared_memory=yes", cwd=tmp_path)
    until = time.monotonic() + 20
    while not list(tmp_path.glob(".out*/out/slept/*.npy")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    status, error = end(process, number)
    assert status == (-9 if number == signal.SIGKILL else 130), error
    assert left_behind(process.pid) == []
    assert shared_memory(f"ngcrun-{process.pid}-") == []
    if number != signal.SIGKILL:
        assert error.splitlines()[-1] == "triton_infer_tensors: stopped; no output was written"
        with contextlib.closing(InferenceServerClient(running.http)) as client:
            mapped = [region["name"] for region in client.get_system_shared_memory_status()]
        assert [name for name in mapped if name.startswith(f"ngcrun-{process.pid}-")] == []
        assert not list(tmp_path.glob(".out*"))
    assert not (tmp_path / "out").exists()
