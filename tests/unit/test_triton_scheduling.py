"""The typed settings of a server: each lands in its field of config.pbtxt, and what the server would refuse is refused."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from runtime.execute import main
from runtime.triton import model_config
from runtime.triton.package import package
from tests.fakes import triton_models as models


def run(tmp_path, *words):
    """The config of an ONNX model that sums rows of four, and the exit status."""
    (tmp_path / "m").mkdir(exist_ok=True)
    models.onnx_model(tmp_path / "m")
    ports = [f"model={tmp_path / 'm'}", f"repository={tmp_path / 'repo'}", f"golden={tmp_path / 'golden'}"]
    status = main(package, [*ports, "target=ngc", *words])
    path = tmp_path / "repo" / "model" / "config.pbtxt"
    return status, model_config.read(path) if path.exists() else None


@pytest.mark.parametrize(
    ("words", "field", "expected"),
    [
        (["scheduler.preferred_batch_sizes=[64,8]", "scheduler.max_queue_delay_us=200"], "dynamic_batching",
         "preferred_batch_size: 8 preferred_batch_size: 64 max_queue_delay_microseconds: 200"),
        (["scheduler.priority_levels=3", "scheduler.default_priority_level=2"],
         "dynamic_batching", "priority_levels: 3 default_priority_level: 2"),
        (["scheduler.preserve_ordering=true"], "dynamic_batching", "preserve_ordering: true"),
        (["scheduler.queue_timeout_us=5000", "scheduler.max_queue_size=10"], "dynamic_batching",
         "default_queue_policy { default_timeout_microseconds: 5000 max_queue_size: 10 }"),
        (["scheduler=sequence", "scheduler.max_idle_us=7"], "sequence_batching",
         "max_sequence_idle_microseconds: 7 direct { }"),
        (["scheduler=sequence", "scheduler.oldest=true", "scheduler.max_candidate_sequences=4"], "sequence_batching",
         "max_sequence_idle_microseconds: 1000000 oldest { max_candidate_sequences: 4 }"),
        (["serving.response_cache=true"], "response_cache", "enable: true"),
        (["serving.versions=all"], "version_policy", "all { }"),
        (["serving.versions=latest:2"], "version_policy", "latest { num_versions: 2 }"),
        (["serving.versions='1'"], "version_policy", "specific { versions: 1 }"),
        (["serving.tensorrt=FP16", "device=gpu"], "optimization",
         'execution_accelerators { gpu_execution_accelerator { name: "tensorrt" '
         'parameters { key: "precision_mode" value: "FP16" } } }'),
    ],
)  # fmt: skip
def test_each_setting_lands_in_its_field(tmp_path, words, field, expected):
    status, config = run(tmp_path, *words)
    assert status == 0
    assert text_format.MessageToString(getattr(config, field), as_one_line=True) == expected


def test_instances_share_resources_and_gpus(tmp_path):
    words = ["serving.resources=['R1:4']", "serving.rate_limit_priority=2", "serving.gpus=[0,1]", "device=gpu"]
    status, config = run(tmp_path, *words)
    assert status == 0
    (group,) = config.instance_group
    assert [(r.name, r.count) for r in group.rate_limiter.resources] == [("R1", 4)]
    assert (group.rate_limiter.priority, list(group.gpus)) == (2, [0, 1])


def test_a_direct_scheduler_is_the_absence_of_every_other(tmp_path):
    (tmp_path / "m").mkdir()
    models.onnx_model(tmp_path / "m", name="a100.onnx")
    words = ["file=model.onnx", "scheduler=direct", "serving.model_files=['8.0:a100.onnx']"]
    status, config = run(tmp_path, *words)
    assert (status, config.WhichOneof("scheduling_choice")) == (0, None)
    assert dict(config.cc_model_filenames) == {"8.0": "a100.onnx"}
    written = tmp_path / "repo/model/1"
    assert (written / "a100.onnx").read_bytes() == (tmp_path / "m/a100.onnx").read_bytes()


def test_the_control_inputs_of_a_sequence_are_the_servers_to_fill(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    (tmp_path / "m").mkdir()
    kinds = {"x": TensorProto.FLOAT, "begin": TensorProto.BOOL, "stop": TensorProto.FLOAT, "who": TensorProto.UINT64}
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds],
        "kept",
        [helper.make_tensor_value_info(name, kind, ["rows", 1]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info(f"{name}_out", kind, ["rows", 1]) for name, kind in kinds.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m/model.onnx"
    )
    words = [f"model={tmp_path / 'm'}", f"repository={tmp_path / 'repo'}", f"golden={tmp_path / 'golden'}"]
    named = ["scheduler.start=begin", "scheduler.end=stop", "scheduler.correlation_id=who"]
    assert main(package, [*words, "target=ngc", "scheduler=sequence", *named]) == 0
    config = model_config.read(tmp_path / "repo/model/config.pbtxt")
    assert [entry.name for entry in config.input] == ["x"]
    texts = [text_format.MessageToString(c, as_one_line=True) for c in config.sequence_batching.control_input]
    assert texts == [
        'name: "begin" control { bool_false_true: false bool_false_true: true }',
        'name: "stop" control { kind: CONTROL_SEQUENCE_END fp32_false_true: 0.0 fp32_false_true: 1.0 }',
        'name: "who" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 }',
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["scheduler.preferred_batch_sizes=[2048]"],
         "scheduler.preferred_batch_sizes=2048: is no batch of this model, whose max_batch_size is 1024; prefer sizes from 1 to that"),
        (["scheduler.priority_levels=2"],
         "scheduler.priority_levels=2: needs the level of a request that names none; give default_priority_level"),
        (["scheduler.default_priority_level=1"], "scheduler.default_priority_level=1: is above the 0 levels there are; name one of them"),
        (["scheduler=sequence", "scheduler.start=begin"], "scheduler.start='begin': is no input of the model"),
        (["serving.versions=newest"], "serving.versions='newest': says no versions; write latest, latest:N, all, or numbers"),
        (["serving.gpus=[0]", "device=cpu"], "serving.gpus=[0]: is for a model that runs on the CPU"),
        (["serving.tensorrt=FP16", "device=cpu"], "serving.tensorrt='FP16': is for ONNX Runtime on a GPU, and this is onnxruntime on KIND_CPU"),
        (["serving.tensorrt=FP8", "device=gpu"], "serving.tensorrt='FP8': is no precision; write FP32 or FP16"),
        (["serving.cuda_graphs=true"], "serving.cuda_graphs=True: is for TensorRT engines; leave it out"),
        (["serving.model_files=['A100:a.onnx']"], "serving.model_files='A100:a.onnx': is no compute capability and file name; write 8.0:a100.plan"),
        (["serving.model_files=['8.0:b.onnx']"], "serving.model_files='b.onnx': is not in "),
        (["scheduler.preserve_ordering=true", "scheduler.priority_levels=2", "scheduler.default_priority_level=1"],
         "scheduler.preserve_ordering=True: cannot be kept among requests of different priority; remove one of the two"),
        (["serving.resources=['R:0']"], "serving.resources='R:0': is no resource and how much of it; write NAME:COUNT"),
    ],
)  # fmt: skip
def test_what_the_server_would_refuse_or_ignore_is_refused(tmp_path, capsys, words, told):
    status, config = run(tmp_path, *words)
    assert (status, config) == (2, None)
    assert told in capsys.readouterr().err
