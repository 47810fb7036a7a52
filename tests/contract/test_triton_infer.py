"""triton_infer against a real server, over HTTP and gRPC."""

import json
import sys

import numpy as np
import polars as pl
import pytest
import xgboost

from runtime.errors import BadInput, ToolFailed
from runtime.execute import main
from runtime.triton.client import Client, Endpoint
from runtime.triton.infer import infer
from tests.fakes import triton_models as models
from tests.fakes.triton_server import left_behind, packaged, server, start

TYPES = {"input__0": "FP32"}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """(server, model folder): model `fare`, at most 64 rows a batch."""
    folder = tmp_path_factory.mktemp("infer")
    repository, _ = packaged(
        folder, models.model_folder(folder / "m", "xgboost"), "model_name=fare", "max_batch_size=64"
    )
    with server(repository, "fare") as found:
        yield found, folder / "m"


@pytest.fixture
def table(tmp_path):
    """1000 rows with an id, in an order of their own."""
    frame = pl.DataFrame(models.rows(1000, seed=3), schema=list(models.FEATURES))
    frame = frame.with_columns(pl.Series("trip_id", np.random.default_rng(0).permutation(1000)))
    frame.write_parquet(tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def expected(folder, frame):
    rows = frame.select(models.FEATURES).cast(pl.Float32).to_numpy()
    return xgboost.Booster(model_file=folder / "model.ubj").inplace_predict(rows, validate_features=False)


def ask(running, rows, tmp_path, *words, protocol="http"):
    url = running[0].http if protocol == "http" else running[0].grpc
    targets = [f"rows={rows}", f"url={url}", f"protocol={protocol}", f"predictions={tmp_path / 'out'}"]
    return main(infer, [*targets, "model_name=fare", *words])


def refused(tmp_path, capsys, said):
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("  | ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("triton_infer: ")
    assert said in lines[0]
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("protocol", ["http", "grpc", "stream"])
def test_the_order_of_the_rows_and_their_ids_are_kept(running, table, tmp_path, protocol):
    assert ask(running, table, tmp_path, "id_column=trip_id", "batch_size=7", "clients=8", protocol=protocol) == 0
    frame, found = pl.read_parquet(table), pl.read_parquet(tmp_path / "out")
    assert found.columns == ["trip_id", "prediction"]
    assert found["trip_id"].to_list() == frame["trip_id"].to_list()
    np.testing.assert_allclose(found["prediction"].to_numpy(), expected(running[1], frame), atol=1e-4)


def test_csv_with_missing_numbers_is_sent_as_nan_in_batches_that_the_model_takes(running, table, tmp_path):
    frame = pl.read_parquet(table).with_columns(pl.when(pl.col("hour") > 0).then(pl.col("hour")).alias("hour"))
    frame.write_csv(tmp_path / "rows.csv")
    assert ask(running, tmp_path / "rows.csv", tmp_path) == 0
    found = pl.read_parquet(tmp_path / "out")
    np.testing.assert_allclose(
        found["prediction"].to_numpy(), expected(running[1], pl.read_csv(tmp_path / "rows.csv")), atol=1e-4
    )


def test_the_model_names_its_features_so_their_order_in_the_table_does_not_matter(running, table, tmp_path):
    pl.read_parquet(table).select(reversed(pl.read_parquet(table).columns)).write_parquet(tmp_path / "turned.parquet")
    assert ask(running, tmp_path / "turned.parquet", tmp_path) == 0
    found = pl.read_parquet(tmp_path / "out")["prediction"].to_numpy()
    np.testing.assert_allclose(found, expected(running[1], pl.read_parquet(table)), atol=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model_name=taxi"], "model_name='taxi': Request for unknown model: 'taxi' is not found"),
        (["model_version=9"], "version 9 is not found"),
        (["batch_size=65"], "batch_size=65: is more than the model takes at a time, 64; use batch_size=64"),
        (["columns=hour,distance"], "columns='hour,distance': are 2 columns, the model takes 4"),
        (["columns=hour,distance,passengers,tip"], "columns='tip': is not in the table; did you mean 'trip_id'?"),
        (["id_column=trip"], "id_column='trip': is not in the table; did you mean 'trip_id'?"),
    ],
)
def test_each_complaint_is_one_line(running, table, tmp_path, capsys, words, said):  # noqa: PLR0917 - fixtures, a case
    for protocol in ("http", "grpc"):
        assert ask(running, table, tmp_path, *words, protocol=protocol) == 2
        refused(tmp_path, capsys, said)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_value_that_the_model_refuses_is_a_mistake_of_the_caller(running, table, tmp_path, capsys, protocol):
    bad = tmp_path / "inf.parquet"
    pl.read_parquet(table).with_columns(pl.lit(float("inf")).cast(pl.Float32).alias("hour")).write_parquet(bad)
    assert ask(running, bad, tmp_path, protocol=protocol) == 2
    refused(tmp_path, capsys, "input 'input__0' holds an infinity; this model takes finite numbers and NaN for missing")


@pytest.mark.parametrize("protocol", ["http", "grpc", "stream"])
@pytest.mark.parametrize("ids", [["id_column=trip_id"], []])
def test_rows_that_may_fail_stay_without_a_prediction_and_the_rest_has_its_own(  # noqa: PLR0917 - fixtures, cases
    running, table, tmp_path, capsys, protocol, ids
):
    frame = pl.read_parquet(table).with_row_index()
    wrong = pl.col("index").is_in([0, 499, 998, 999])
    bad = frame.with_columns(pl.when(wrong).then(float("inf")).otherwise("hour").cast(pl.Float32).alias("hour"))
    bad.write_parquet(tmp_path / "some.parquet")
    words = [*ids, "batch_size=50", "allow_failed=0.01"]
    assert ask(running, tmp_path / "some.parquet", tmp_path, *words, protocol=protocol) == 0
    found = pl.read_parquet(tmp_path / "out" / "*.parquet")
    assert found.columns == [*(["trip_id"] if ids else []), "prediction"]
    assert found["prediction"].is_null().arg_true().to_list() == [0, 499, 998, 999]
    if ids:
        assert found["trip_id"].to_list() == frame["trip_id"].to_list()
    kept = ~found["prediction"].is_null()
    want = expected(running[1], frame)[kept.to_numpy()]
    np.testing.assert_allclose(found["prediction"].drop_nulls().to_numpy(), want, atol=1e-4)
    failed = json.loads((tmp_path / "out" / "failed.json").read_text())
    assert [entry["item"] for entry in failed] == ["row 0", "row 499", "row 998", "row 999"]
    assert "input 'input__0' holds an infinity" in failed[0]["error"]
    assert "4 of 1000 rows failed; the rest is written, see failed.json" in capsys.readouterr().err


def test_more_rows_than_may_fail_end_the_step(running, table, tmp_path, capsys):
    bad = tmp_path / "half.parquet"
    half = pl.when(pl.col("hour") > 0).then("hour").otherwise(float("inf")).cast(pl.Float32).alias("hour")
    pl.read_parquet(table).head(40).with_columns(half).write_parquet(bad)
    assert ask(running, bad, tmp_path, "allow_failed=0.1") == 3
    refused(tmp_path, capsys, "rows failed, more than allow_failed=0.1")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    ("feed", "said"),
    [
        ({"input__0": np.zeros((2, 4), np.int64)}, "data-type is 'INT64', but model 'fare' expects 'FP32'"),
        ({"input__0": np.zeros((2, 5), np.float32)}, "unexpected shape for input 'input__0'"),
        ({"input__0": np.zeros((65, 4), np.float32)}, "batch-size must be <= 64"),
        ({"Q": np.zeros((2, 4), np.float32)}, "input"),
        ({}, "input"),
    ],
)
def test_what_the_server_says_of_a_wrong_request_comes_back_as_bad_input(running, protocol, feed, said):
    endpoint = Endpoint(getattr(running[0], protocol), protocol)
    types = {name: "INT64" if array.dtype == np.int64 else "FP32" for name, array in feed.items()}
    with Client(endpoint, "fare") as client, pytest.raises(BadInput) as caught:
        client.infer(feed, types)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_request_does_not_spoil_the_others_that_it_is_batched_with(running):
    from concurrent.futures import ThreadPoolExecutor

    good, bad = np.zeros((2, 4), np.float32), np.full((2, 4), np.inf, np.float32)

    def one(index):
        with Client(Endpoint(running[0].http, "http"), "fare") as client:
            try:
                return client.infer({"input__0": bad if index % 4 == 0 else good + index}, TYPES)["output__0"]
            except BadInput:
                return None

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(48)))
    want = expected(
        running[1], pl.DataFrame(np.arange(48, dtype=np.float32)[:, None] + good[:1], schema=list(models.FEATURES))
    )
    for index, answer in enumerate(answers):
        assert (answer is None) == (index % 4 == 0)
        if answer is not None:
            np.testing.assert_allclose(answer[:, 0], [want[index]] * 2, atol=1e-4)


def test_a_server_that_is_not_there_is_tried_again_and_then_told(table, tmp_path, capsys):
    for protocol in ("http", "grpc"):
        words = [
            f"rows={table}",
            "url=127.0.0.1:9",
            f"protocol={protocol}",
            f"predictions={tmp_path / 'out'}",
            "retries=1",
            "timeout_s=2",
        ]
        assert main(infer, words) == 3
        refused(tmp_path, capsys, "127.0.0.1:9: no answer (")


def test_the_token_is_sent_and_told_to_nobody(table, tmp_path, capsys, monkeypatch):
    import http.server
    import threading

    seen = []

    class Gateway(http.server.BaseHTTPRequestHandler):
        """Answers as an AzureML endpoint does to a wrong key."""

        def do_GET(self):
            seen.append((self.headers["Authorization"], self.headers["Accept-Encoding"]))
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_words):
            pass

    gateway = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=gateway.serve_forever, daemon=True).start()
    monkeypatch.setenv("TRITON_TOKEN", "s3cret")
    monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / "metrics.jsonl"))
    try:
        url = f"http://127.0.0.1:{gateway.server_port}"
        assert main(infer, [f"rows={table}", f"url={url}", f"predictions={tmp_path / 'out'}", "retries=0"]) == 2
    finally:
        gateway.shutdown()
        gateway.server_close()
    assert seen == [("Bearer s3cret", "identity")]
    out = capsys.readouterr()
    assert "refuses the request (401); put a valid key into TRITON_TOKEN" in out.err
    assert "s3cret" not in out.err + out.out + (tmp_path / "metrics.jsonl").read_text()


def test_a_stub_that_died_is_told_as_a_failure_of_the_server(tmp_path):
    folder = tmp_path / "dead"
    repository, _ = packaged(folder, models.model_folder(folder / "m", "linear"))
    text = "import os\n\n\nclass TritonPythonModel:\n    def execute(self, requests):\n        os._exit(1)\n"
    config = repository / "model" / "config.pbtxt"
    config.write_text(config.read_text().split("model_warmup")[0] + 'backend: "python"\n')
    (repository / "model" / "1" / "model.py").write_text(text)
    with (
        server(repository, "model") as running,
        Client(Endpoint(running.grpc, "grpc"), "model") as client,
        pytest.raises(ToolFailed, match="is not healthy"),
    ):
        client.infer({"input__0": np.zeros((1, 4), np.float32)}, TYPES)


def test_a_command_can_be_run_while_a_repository_is_served(running, table, tmp_path):
    repository = running[1].parent / "repo"
    words = [
        "runtime.triton.infer",
        f"rows={table}",
        "url={http}",
        "model_name=fare",
        f"predictions={tmp_path / 'out'}",
    ]
    process = start("runtime.triton.serve", str(repository), "--", sys.executable, "-m", *words, cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "models fare" in out
    assert pl.read_parquet(tmp_path / "out").height == 1000
    assert left_behind(process.pid) == []


def test_a_broken_table_is_one_line(running, table, tmp_path, capsys):
    whole = table.read_bytes()
    for data in (whole[: len(whole) // 2], b""):
        table.write_bytes(data)
        assert ask(running, table, tmp_path) == 2
        refused(tmp_path, capsys, "cannot be read (")
