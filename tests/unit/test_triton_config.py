"""config.pbtxt through Triton's own protobuf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.triton import model_config
from runtime.triton.model_config import TYPES, Plan, Signature, Tensor

WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
DIMS = st.lists(st.integers(1, 9) | st.just(-1), min_size=1, max_size=3).map(tuple)
TENSORS = st.lists(st.builds(Tensor, WORD, st.sampled_from(sorted(TYPES)), DIMS), min_size=1, max_size=3).map(tuple)


@st.composite
def plans(draw):
    size = draw(st.integers(0, 4096))
    signature = Signature(draw(TENSORS), draw(TENSORS), size > 0)
    parameters = draw(st.dictionaries(WORD, WORD, max_size=3))
    return Plan(draw(WORD), draw(WORD), signature, size, parameters=parameters, count=draw(st.integers(1, 4)))


@given(plans())
def test_a_config_reads_back_as_it_was_written(tmp_path_factory, plan):
    folder = tmp_path_factory.mktemp("config")
    config = model_config.build(plan)
    assert model_config.read(model_config.write(config, folder)) == config
    assert model_config.signature_of(config) == plan.signature


def test_the_config_of_a_table_model_is_this_text(tmp_path):
    signature = Signature((Tensor("input__0", "FP32", (4,)),), (Tensor("output__0", "FP32", (1,)),), True)
    plan = Plan("fare", "fil", signature, 64, "KIND_CPU", 2, {"model_type": "treelite_checkpoint"})
    assert model_config.to_text(model_config.build(plan)) == (
        'name: "fare"\nmax_batch_size: 64\n'
        'input {\n  name: "input__0"\n  data_type: TYPE_FP32\n  dims: 4\n}\n'
        'output {\n  name: "output__0"\n  data_type: TYPE_FP32\n  dims: 1\n}\n'
        "instance_group {\n  count: 2\n  kind: KIND_CPU\n}\n"
        "dynamic_batching {\n}\n"
        'parameters {\n  key: "model_type"\n  value {\n    string_value: "treelite_checkpoint"\n  }\n}\n'
        'backend: "fil"\n'
    )


def test_no_batches_are_written_as_zero_and_get_no_dynamic_batching():
    signature = Signature((Tensor("x", "FP32", (2, 4)),), (Tensor("y", "FP32", (2,)),), False)
    text = model_config.to_text(model_config.build(Plan("fixed", "onnxruntime", signature, 0)))
    assert "max_batch_size: 0\n" in text
    assert "dynamic_batching" not in text


def test_one_number_a_row_is_written_as_a_dim_that_the_server_drops_again():
    signature = Signature((Tensor("x", "FP32", (4,)),), (Tensor("label", "INT64", ()),), True)
    config = model_config.build(Plan("m", "python", signature, 8))
    assert (list(config.output[0].dims), config.output[0].HasField("reshape")) == ([1], True)
    assert model_config.signature_of(config) == signature


def test_warm_up_is_a_real_row_at_batch_one_and_at_the_largest():
    signature = Signature((Tensor("x", "FP32", (4,)),), (Tensor("y", "FP32", (1,)),), True)
    config = model_config.build(Plan("m", "python", signature, 256, warmup={"x": ((4,), "x.bin")}))
    assert [(w.batch_size, w.inputs["x"].input_data_file) for w in config.model_warmup] == [
        (1, "x.bin"),
        (256, "x.bin"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch_size: eight", "1:17"),
        ("max_batchsize: 8", 'no field named "max_batchsize"'),
        ('input { name: "x" data_type: FP32 }', "no value named FP32"),
        ('name: "a" name: "b"', 'should not have multiple "name" fields'),
    ],
)
def test_text_that_is_no_config_is_refused_with_the_line_and_the_parsers_words(tmp_path, text, said):
    (tmp_path / "config.pbtxt").write_text(text)
    with pytest.raises(ValueError, match="1:") as caught:
        model_config.read(tmp_path / "config.pbtxt")
    assert said in str(caught.value)


def test_tensor_bytes_are_little_endian_and_text_carries_its_length():
    import numpy as np

    assert model_config.little_endian(np.array([1.0], dtype=">f4")) == b"\x00\x00\x80\x3f"
    assert model_config.little_endian(np.array(["é"], dtype=object)) == b"\x02\x00\x00\x00\xc3\xa9"
