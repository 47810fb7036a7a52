"""What triton_package writes about serving, shown to a real tritonserver: it loads, keeps it, and answers the same."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from runtime.execute import main
from runtime.triton import versions
from runtime.triton.client import Client, Endpoint
from runtime.triton.package import package
from tests.fakes import triton_models as models
from tests.fakes.triton_server import server

KEPT = """\
# by hand
backend: "python"
max_batch_size: 16
input [ { name: "X" data_type: TYPE_FP32 dims: [ 5 ] } ]  # both wrong
output { name: "total" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }
dynamic_batching { max_queue_delay_microseconds: 50 }
"""
SETTINGS = {
    "batches": ["scheduler.preferred_batch_sizes=[4,16]", "scheduler.max_queue_delay_us=100", "max_batch_size=16"],
    "priorities": ["scheduler.priority_levels=2", "scheduler.default_priority_level=1", "scheduler.max_queue_size=8"],
    "direct": ["scheduler=direct", "instances=2"],
    "limited": ["serving.resources=['R:1']", "serving.rate_limit_priority=1"],
    "cached": ["serving.response_cache=true"],
    "all_versions": ["serving.versions=all"],
    "kept": [],
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """One repository with a model for each setting, all of them the same sum; `all_versions` and `kept` have two."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "m").mkdir()
    models.onnx_model(folder / "m")
    (folder / "config.pbtxt").write_text(KEPT)
    for name, words in SETTINGS.items():
        out = folder / name
        ports = [f"model={folder / 'm'}", f"repository={out / 'package'}", f"golden={out / 'golden'}", "backend=python"]
        own = [f"config={folder / 'config.pbtxt'}"] if name == "kept" else []
        assert main(package, [*ports, f"model_name={name}", *words, *own]) == 0
        for _ in range(2 if name in ("all_versions", "kept") else 1):
            versions.add(folder / "repo", out / "package")
    versions.serve(folder / "repo", "kept", 1)
    return folder / "repo"


def test_every_setting_loads_and_the_server_has_it_and_each_model_answers(repository):
    x = models.rows(3)
    with server(repository, *SETTINGS) as running:
        for protocol, address in (("http", running.http), ("grpc", running.grpc)):
            for name in SETTINGS:
                with Client(Endpoint(address, protocol), name) as client:
                    answer = client.infer({"x": x}, {"x": "FP32"})["total"]
                    assert np.allclose(answer, x.sum(axis=1, keepdims=True), atol=1e-5), name
        configs = {}
        for name in SETTINGS:
            with Client(Endpoint(running.http, "http"), name) as client:
                configs[name] = client.config()
        batching = text_format.MessageToString(configs["batches"].dynamic_batching, as_one_line=True)
        assert batching == "preferred_batch_size: 4 preferred_batch_size: 16 max_queue_delay_microseconds: 100"
        assert configs["priorities"].dynamic_batching.default_queue_policy.max_queue_size == 8
        assert configs["direct"].instance_group[0].count == 2
        assert not configs["direct"].HasField("dynamic_batching")
        assert configs["limited"].instance_group[0].rate_limiter.resources[0].name == "R"
        assert configs["cached"].response_cache.enable
        assert configs["kept"].dynamic_batching.max_queue_delay_microseconds == 50


def test_the_versions_that_a_policy_names_are_the_ones_that_answer(repository):
    from runtime.errors import BadInput

    x = models.rows(2)
    with server(repository, "all_versions", "kept") as running:
        for name, version, there in (
            ("all_versions", "1", True), ("all_versions", "2", True), ("kept", "1", True), ("kept", "2", False),
        ):  # fmt: skip
            with Client(Endpoint(running.http, "http"), name, version) as client:
                if there:
                    assert client.infer({"x": x}, {"x": "FP32"})["total"].shape == (2, 1)
                else:
                    with pytest.raises(BadInput, match="is not found"):
                        client.infer({"x": x}, {"x": "FP32"})
