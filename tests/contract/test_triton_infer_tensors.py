"""triton_infer_tensors against a real server: rows, single inputs, text, a decoupled model."""

import json
import os
import re
import shutil

import numpy as np
import pytest

from runtime.execute import main
from runtime.triton.infer_tensors import infer_tensors
from tests.fakes import picture_models as models
from tests.fakes.triton_server import server, shared_memory

PROTOCOLS = ("http", "grpc", "stream")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server with `colours`, `where_red`, `echo`, `liar` and the decoupled `counter`."""
    repository = tmp_path_factory.mktemp("tensors") / "repository"
    models.colours(repository, {})
    models.counter(repository)
    models.echo(repository)
    models.where_red(repository)
    models.liar(repository)
    with server(repository, "colours", "counter", "echo", "where_red", "liar") as found:
        yield found


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def ask(running, folder, *words, protocol="http"):
    url = running.http if protocol == "http" else running.grpc
    targets = [f"tensors={folder / 'in'}", f"predictions={folder / 'out'}", f"url={url}", f"protocol={protocol}"]
    return main(infer_tensors, [*targets, *words])


def failed(folder):
    entries = json.loads((folder / "out" / "failed.json").read_text())
    return {entry["item"]: entry["error"] for entry in entries}


@pytest.mark.parametrize("sharing", ["yes", "no"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rows_go_in_requests_that_the_model_takes_and_come_back_in_order(running, tmp_path, protocol, sharing):
    rows = np.random.default_rng(0).random((37, *models.IMAGE.dims), np.float32)
    save(tmp_path / "in" / "deep" / "rows.npy", rows)
    save(tmp_path / "in" / "one.npy", rows[0].astype(np.float64))
    words = ["model_name=colours", f"shared_memory={sharing}", "clients=3", "batch_size=5"]
    assert ask(running, tmp_path, *words, protocol=protocol) == 0
    found = np.load(tmp_path / "out" / "predictions" / "deep" / "rows.npy")
    np.testing.assert_allclose(found, rows.mean(axis=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "predictions" / "one.npy"), found[0], atol=1e-5)
    first = json.loads((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[0])
    assert first == {
        "item": "deep/rows",
        "outputs": {"predictions": {"file": "predictions/deep/rows.npy", "shape": [37, 3]}},
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_large_answers_through_shared_memory_are_those_of_the_socket_bit_for_bit(running, tmp_path, protocol):
    rows = np.random.default_rng(0).random((23, *models.IMAGE.dims), np.float32)
    found = []
    for sharing in ("yes", "no"):
        save(tmp_path / sharing / "in" / "rows.npy", rows)
        words = ["model_name=where_red", f"shared_memory={sharing}", "clients=3", "batch_size=5"]
        assert ask(running, tmp_path / sharing, *words, protocol=protocol) == 0
        found.append(np.load(tmp_path / sharing / "out" / "logits" / "rows.npy"))
    assert found[0].shape == (23, 2, *models.IMAGE.dims[1:])
    assert found[0].tobytes() == found[1].tobytes()
    assert (found[0][:, 1] == rows[:, 0]).all()
    assert [name for name in shared_memory(f"ngcrun-{os.getpid()}-") if re.fullmatch(r"ngcrun-\d+-\w{8}", name)] == []


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_answer_that_is_larger_than_its_model_says_is_told_or_comes_through_the_socket(running, tmp_path, protocol):
    save(tmp_path / "in" / "a.npy", np.zeros((1, 2), np.float32))
    assert ask(running, tmp_path, "model_name=liar", protocol=protocol) == 0
    assert np.load(tmp_path / "out" / "many" / "a.npy").shape == (1, 99)
    shutil.rmtree(tmp_path / "out")
    assert ask(running, tmp_path, "model_name=liar", "shared_memory=yes", protocol=protocol) == 3


def test_a_region_that_is_too_small_is_told_in_one_line(running, tmp_path, capsys):
    save(tmp_path / "in" / "a.npy", np.zeros((1, 2), np.float32))
    assert ask(running, tmp_path, "model_name=liar", "shared_memory=yes", "allow_failed=0") == 3
    said = "output 'many' (8 bytes) should be at least 396 bytes to hold the results; say shared_memory=no: the model gives"
    assert said in capsys.readouterr().err


def test_several_inputs_and_text_have_a_folder_each(running, tmp_path):
    words = np.array([[f"wørd {i}"] for i in range(9)])
    numbers = np.arange(18).reshape(9, 2)
    save(tmp_path / "in" / "words_in_0" / "a.npy", words)
    save(tmp_path / "in" / "numbers" / "a.npy", numbers)
    save(tmp_path / "in" / "numbers" / "alone.npy", numbers)
    assert ask(running, tmp_path, "model_name=echo") == 0
    assert np.load(tmp_path / "out" / "WORDS" / "a.npy").tolist() == [[w.upper()] for (w,) in words.tolist()]
    assert (np.load(tmp_path / "out" / "NUMBERS" / "a.npy") == numbers + 10).all()
    assert failed(tmp_path) == {"alone": "has no file for the input words/in:0"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_of_some_megabytes_gets_through_without_a_warning(running, tmp_path, protocol):
    save(tmp_path / "in" / "words_in_0" / "long.npy", np.array([["a" * 2_000_000]]))
    save(tmp_path / "in" / "numbers" / "long.npy", np.zeros((1, 2), np.int64))
    assert ask(running, tmp_path, "model_name=echo", protocol=protocol) == 0
    assert np.load(tmp_path / "out" / "WORDS" / "long.npy")[0, 0] == "A" * 2_000_000


def test_every_answer_of_a_decoupled_model_is_collected(running, tmp_path, capsys):
    for name, most in (("many", 50), ("one", 1), ("none", 0), ("refused", -1)):
        save(tmp_path / "in" / f"{name}.npy", np.array([most], np.int32))
    assert ask(running, tmp_path, "model_name=counter", protocol="stream") == 0
    assert np.load(tmp_path / "out" / "number" / "many.npy").tolist() == list(range(50))
    assert np.load(tmp_path / "out" / "number" / "one.npy").tolist() == [0]
    errors = failed(tmp_path)
    assert errors["none"] == "the model gave no answer"
    assert "cannot count to less than nothing" in errors["refused"]
    assert "2 of 4 tensors failed; the rest is written, see failed.json" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_decoupled_model_wants_a_stream(running, tmp_path, capsys, protocol):
    save(tmp_path / "in" / "a.npy", np.array([1], np.int32))
    assert ask(running, tmp_path, "model_name=counter", protocol=protocol) == 2
    said = f"protocol='{protocol}': cannot ask counter, which is decoupled; say protocol=stream and give"
    assert said in capsys.readouterr().err


def test_each_file_that_cannot_be_sent_says_why(running, tmp_path):
    good = np.zeros(models.IMAGE.dims, np.float32)
    save(tmp_path / "in" / "good.npy", good)
    save(tmp_path / "in" / "text.npy", np.array(["a"]))
    save(tmp_path / "in" / "complex.npy", good.astype(complex))
    save(tmp_path / "in" / "small.npy", good[:, :5])
    np.savez(tmp_path / "archive.npz", good)
    (tmp_path / "archive.npz").rename(tmp_path / "in" / "archive.npy")
    (tmp_path / "in" / "empty.npy").write_bytes(b"")
    (tmp_path / "in" / "cut.npy").write_bytes((tmp_path / "in" / "good.npy").read_bytes()[:200])
    np.save(tmp_path / "in" / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert ask(running, tmp_path, "model_name=colours") == 0
    errors = failed(tmp_path)
    assert list(errors) == ["archive", "complex", "cut", "empty", "pickle", "small", "text"]
    assert errors["complex"] == "is complex128, input_1 takes FP32; convert it"
    assert errors["text"] == "is <U1, input_1 takes FP32; convert it"
    assert errors["archive"] == "is an archive of arrays; give one array a file"
    assert errors["small"].startswith("unexpected shape for input 'input_1' for model 'colours'")
    assert all(errors[name].startswith("is no array that can be read (") for name in ("cut", "empty", "pickle"))
    assert (tmp_path / "out" / "predictions" / "good.npy").is_file()


def test_mistakes_are_one_line_each(running, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("no array")
    assert ask(running, tmp_path, "model_name=colours") == 2
    assert "holds no .npy file; give input_1/*.npy" in capsys.readouterr().err
    save(tmp_path / "in" / "a.npy", np.zeros(models.IMAGE.dims, np.float32))
    assert ask(running, tmp_path, "model_name=colours", "batch_size=9") == 2
    assert "batch_size=9: is more than the model takes at a time, 8; use batch_size=8" in capsys.readouterr().err
    assert ask(running, tmp_path, "model_name=colours", "url=127.0.0.1:9", "retries=0") == 3
    assert "127.0.0.1:9: no answer (" in capsys.readouterr().err
    save(tmp_path / "in" / "a.npy", np.zeros(2, np.float32))
    assert ask(running, tmp_path, "model_name=colours") == 3
    assert "triton_infer_tensors: 1 of 1 tensors failed\n  | tensors='a': unexpected shape" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
