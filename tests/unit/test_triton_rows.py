"""Tables to requests and answers to columns, without a server."""

import numpy as np
import polars as pl
import pytest

from runtime.errors import BadInput
from runtime.triton import model_config
from runtime.triton.client import Endpoint, explain
from runtime.triton.model_config import Plan, Signature, Tensor
from runtime.triton.report import Answer, Report
from runtime.triton.rows import answer_columns, layout, requests, require_columns, scan


def config(inputs, most=64, parameters=None):
    outputs = (Tensor("y", "FP32", (1,)),)
    return model_config.build(
        Plan("m", "python", Signature(tuple(inputs), outputs, most > 0), most, parameters=parameters or {})
    )


def test_a_table_input_takes_the_features_that_the_model_names():
    plan = layout(config([Tensor("x", "FP32", (2,))], parameters={"feature_names": '["a", "b"]'}), None, None)
    assert (plan.columns, plan.rows_each) == ({"x": ("a", "b")}, 64)


def test_columns_may_be_named_in_another_way():
    plan = layout(config([Tensor("x", "FP32", (2,))]), "b, a", 8)
    assert (plan.columns, plan.rows_each) == ({"x": ("b", "a")}, 8)


def test_several_inputs_take_a_column_each(tmp_path):
    plan = layout(config([Tensor("city", "BYTES", (1,)), Tensor("age", "INT64", (1,))]), None, None)
    frame = pl.DataFrame({"age": [1, 2], "city": ["Aarhus", "Køge"], "other": [None, None]})
    require_columns(frame.lazy(), tmp_path, plan, None)
    feed = requests(frame, plan, tmp_path)
    assert feed["city"].tolist() == [["Aarhus"], ["Køge"]]
    assert (feed["age"].dtype, feed["age"].shape) == (np.int64, (2, 1))


@pytest.mark.parametrize(
    ("inputs", "most", "columns", "said"),
    [
        ([Tensor("image", "FP32", (3, 8, 8))], 4, "a", "model_name='m': takes no rows of a table: image [3, 8, 8]"),
        ([Tensor("x", "FP32", (2,))], 4, None, "columns=None: is not set, and the model does not name its features"),
        ([Tensor("x", "FP32", (2,))], 4, "a", "columns='a': are 1 columns, the model takes 2; list as many"),
        ([Tensor("x", "FP32", (-1, 2))], 0, "a", "columns='a': are 1 columns, the model takes 2; list as many"),
    ],
)
def test_a_model_that_a_table_does_not_suit_is_refused(inputs, most, columns, said):
    with pytest.raises(BadInput) as caught:
        layout(config(inputs, most), columns, None)
    assert said in str(caught.value)


def test_rows_that_are_an_ordinary_dim_go_in_requests_of_a_thousand():
    assert layout(config([Tensor("x", "FP32", (-1, 1))], 0), "a", None).rows_each == 1024
    assert layout(config([Tensor("x", "FP32", (2, 1))], 0), "a", None).rows_each == 2


def test_each_column_that_does_not_fit_is_told_at_once(tmp_path):
    plan = layout(config([Tensor("x", "FP32", (3,))]), "a,b,c", None)
    frame = pl.DataFrame({"a": ["text"], "b": [1.5]}).lazy()
    with pytest.raises(BadInput) as caught:
        require_columns(frame, tmp_path, plan, "id")
    assert [p.line() for p in caught.value.problems] == [
        "columns='c': is not in the table; known: a, b",
        "id_column='id': is not in the table; known: a, b",
        "columns='a': is String, the model takes FP32; convert the column, or name another",
    ]


def test_a_missing_number_is_nan_for_floats_and_refused_for_whole_numbers(tmp_path):
    frame = pl.DataFrame({"a": [1, None]})
    feed = requests(frame, layout(config([Tensor("x", "FP32", (1,))]), "a", None), tmp_path)
    np.testing.assert_array_equal(feed["x"], np.array([[1], [np.nan]], np.float32))
    with pytest.raises(BadInput, match="misses values in a, which INT32 cannot express"):
        requests(frame, layout(config([Tensor("x", "INT32", (1,))]), "a", None), tmp_path)


def test_answers_become_columns_named_after_what_they_are():
    ids = pl.Series("id", [7, 8])
    one = answer_columns({"y": np.zeros((2, 1), np.float32)}, ids)
    assert one.columns == ["id", "prediction"]
    two = answer_columns({"label": np.array([[b"a"], [b"b"]], object), "p": np.zeros((2, 3), np.float32)}, None)
    assert (two.columns, two["label"].to_list()) == (["label", "p_0", "p_1", "p_2"], ["a", "b"])


def test_tables_are_parquet_or_csv_but_not_both(tmp_path):
    (tmp_path / "features.json").write_text("{}")
    with pytest.raises(BadInput, match=r"holds no tables of one kind \(found: \.json\); give"):
        scan(tmp_path)
    (tmp_path / "b.csv").write_text("x\n1\n")
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r"found: \.csv, \.json, \.parquet"):
        scan(tmp_path)
    (tmp_path / "b.csv").unlink()
    assert scan(tmp_path).collect().height == 1


@pytest.mark.parametrize(
    ("url", "protocol", "address", "secure"),
    [
        ("localhost", "http", "localhost:8000", False),
        ("localhost", "grpc", "localhost:8001", False),
        ("http://10.0.0.1:81", "http", "10.0.0.1:81", False),
        ("https://e.westeurope.inference.ml.azure.com/", "http", "e.westeurope.inference.ml.azure.com:443", True),
        ("grpcs://host:9/", "grpc", "host:9", True),
        ("[::1]:8000", "http", "[::1]:8000", False),
    ],
)
def test_the_address_of_a_server_is_read_in_each_form(url, protocol, address, secure):
    assert Endpoint.parse(url, protocol) == Endpoint(address, protocol, secure)


@pytest.mark.parametrize("url", ["", "ftp://host", "http://", "host:port", "https://host?key=x"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(BadInput, match="write localhost:8000 or https://host"):
        Endpoint.parse(url, "http")


def test_a_bug_of_ours_is_not_taken_for_a_complaint_of_the_server():
    assert explain(KeyError("x"), Endpoint("h"), "m") is None


def test_a_report_is_a_table_that_reads_well():
    report = Report("fare", (1, 2), "fil", ["x FP32 [4]"], ["y FP32 [1]"], 8, golden_source="sample")
    report.answers.append(Answer("http", "y", 64, 1.5e-6, 2e-7, False))
    assert report.markdown().splitlines()[:4] == [
        "# fare", "", "- backend: fil, versions 1, 2", "- rows a batch: at most 8",
    ]  # fmt: skip
    assert "| http | y | 1.5e-06 | 2e-07 | NO |" in report.markdown()
