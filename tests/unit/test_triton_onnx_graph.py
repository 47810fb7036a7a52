"""Reading the graph of an ONNX file without the numbers of its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from runtime.errors import BadInput
from runtime.triton import kind_onnx, onnx_graph

NUMBERS = ("raw_data", "float_data", "int32_data", "int64_data", "string_data", "double_data", "uint64_data")


def model(weights: list[TensorProto]) -> onnx.ModelProto:
    """A model of every kind of field: a node with an attribute, metadata, an opset, weights."""
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Constant", [], ["c"], value_float=1.5)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 3]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights, doc_string="about")
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="test")
    helper.set_model_props(made, {"key": "value"})
    return made


def without_numbers(proto: onnx.ModelProto) -> onnx.ModelProto:
    for tensor in proto.graph.initializer:
        for name in NUMBERS:
            tensor.ClearField(name)
    return proto


sizes = st.integers(0, 300)
tensors = st.one_of(
    sizes.map(lambda n: numpy_helper.from_array(np.arange(n, dtype=np.float32), f"raw{n}")),
    sizes.map(lambda n: helper.make_tensor(f"float{n}", TensorProto.FLOAT, [n], [0.5] * n)),
    sizes.map(lambda n: helper.make_tensor(f"int{n}", TensorProto.INT64, [n], [-n] * n)),
    sizes.map(lambda n: helper.make_tensor(f"text{n}", TensorProto.STRING, [n], [b"word"] * n)),
)


@given(st.lists(tensors, max_size=4))
def test_all_but_the_numbers_is_there(tmp_path_factory: pytest.TempPathFactory, weights: list[TensorProto]) -> None:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    made = model(weights)
    path.write_bytes(made.SerializeToString())
    with pytest.MonkeyPatch.context() as patch:
        assert onnx_graph.load_graph(path) == made
        patch.setattr(onnx_graph, "SMALL_BYTES", 0)
        assert onnx_graph.load_graph(path) == without_numbers(made)


def test_where_weights_lie_outside_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [numpy_helper.from_array(np.ones(5000, np.float32), "w")]
    onnx.save(model(weights), tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    monkeypatch.setattr(onnx_graph, "SMALL_BYTES", 0)
    (tensor,) = onnx_graph.load_graph(tmp_path / "model.onnx").graph.initializer
    assert {entry.key: entry.value for entry in tensor.external_data}["location"] == "w.bin"


@given(st.data())
def test_a_damaged_large_file_is_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = bytearray(model([numpy_helper.from_array(np.ones(50, np.float32), "w")]).SerializeToString())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[place:]
    else:
        whole[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("damaged") / "model.onnx"
    path.write_bytes(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_graph, "SMALL_BYTES", 0)
        try:
            opened = kind_onnx.open_file(path, (), False)
        except BadInput as error:
            assert len(error.problems) == 1
            assert "\n" not in error.problems[0].line()
        else:
            assert opened.kind == "onnx"
