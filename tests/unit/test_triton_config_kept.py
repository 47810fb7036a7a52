"""A config.pbtxt that someone wrote: unknown fields with their place, and corrections that keep the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.execute import main
from runtime.triton import config_text, model_config
from runtime.triton.check import check_repository
from runtime.triton.package import package
from tests.fakes import triton_models as models

KEPT = """\
# The fare model of team A.
name: "model"
backend: "onnxruntime"
max_batch_size: 64   # what fits into 4 GiB

input [ # one table
  {
    name: "x"
    data_type: TYPE_FP32   # always
    dims: [ 4 ]
  }
]
output { name: 'total' data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }
dynamic_batching {
  preferred_batch_size: [ 8, 64 ]
  max_queue_delay_microseconds: 200 # measured
}
instance_group [ { count: 2, kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value { string_value: "3" } }
"""


def run(tmp_path: Path, config: str, *words: str, **how: int) -> int:
    """The exit status of packaging a model that sums rows of four with this config.pbtxt."""
    (tmp_path / "m").mkdir(exist_ok=True)
    models.onnx_model(tmp_path / "m", **how)
    (tmp_path / "config.pbtxt").write_text(config)
    ports = [f"model={tmp_path / 'm'}", f"repository={tmp_path / 'repo'}", f"golden={tmp_path / 'golden'}"]
    return main(package, [*ports, f"config={tmp_path / 'config.pbtxt'}", "target=ngc", *words])


def written(tmp_path: Path) -> str:
    return (tmp_path / "repo" / "model" / "config.pbtxt").read_text()


def test_a_config_that_is_right_is_kept_to_the_last_byte(tmp_path, capsys):
    assert run(tmp_path, KEPT) == 0
    assert written(tmp_path) == KEPT
    assert "config.pbtxt:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "corrected", "note"),
    [
        ('name: "model"', 'name: "other"', 'name: "model"', "name: other -> model (the model's folder)"),
        ('name: "x"', 'name: "X1"', 'name: "x"', "input 'X1': name -> 'x' (the model's name for it)"),
        ("dims: [ 4 ]", "dims: [ 5 ]", "dims: [4]", "input 'x' dims: [5] -> [4] (the model's dims)"),
        ("dims: [ 4 ]", "dims: 2 dims: 2", "dims: [4]", "input 'x' dims: [2, 2] -> [4] (the model's dims)"),
        ("data_type: TYPE_FP32   # always", "data_type: TYPE_INT64   # always", "data_type: TYPE_FP32   # always",
         "input 'x' data_type: TYPE_INT64 -> TYPE_FP32 (the model's type)"),
        ("[ 8, 64 ]", "[ 8, 128 ]", "[8]", "preferred_batch_size: [8, 128] -> [8] (max_batch_size is 64)"),
        ('backend: "onnxruntime"', 'platform: "tensorflow_savedmodel"', 'backend: "onnxruntime"',
         "backend: tensorflow_savedmodel -> onnxruntime (what the model file is packaged for)"),
    ],
)  # fmt: skip
def test_what_the_model_contradicts_is_corrected_and_told_and_comments_stay(  # noqa: PLR0917 - a row of the table
    tmp_path, capsys, old, new, corrected, note
):
    assert KEPT.count(old) == 1
    assert run(tmp_path, KEPT.replace(old, new)) == 0
    text = written(tmp_path)
    assert corrected in text
    assert new not in text
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("config.pbtxt: ")]
    assert told == [f"config.pbtxt: {note}"]
    for comment in ("# The fare model of team A.", "# what fits into 4 GiB", "# one table", "# always", "# measured"):
        assert comment in text
    assert check_repository(tmp_path / "repo").name == "model"


def test_a_model_without_batches_loses_what_needs_them(tmp_path, capsys):
    assert run(tmp_path, KEPT, batch=3) == 0
    config = model_config.parse(written(tmp_path))
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
    assert [list(entry.dims) for entry in (*config.input, *config.output)] == [[3, 4], [3]]
    assert "max_batch_size: 64 -> 0 (the model's first dimension is fixed)" in capsys.readouterr().out


def test_a_tensor_that_is_not_the_models_goes_and_one_that_is_missing_comes(tmp_path, capsys):
    more = KEPT.replace("output {", 'output { name: "a" data_type: TYPE_FP32 dims: [ 1 ] }\noutput { name: "b" data_type: TYPE_FP32 dims: [ 1 ] }\noutput {', 1)  # fmt: skip
    assert run(tmp_path, more.replace("{ name: 'total'", "{ name: 'sum'")) == 0
    config = model_config.parse(written(tmp_path))
    assert [entry.name for entry in config.output] == ["total"]
    out = capsys.readouterr().out
    assert "output 'sum': there -> removed (the model has no such tensor)" in out
    assert "output 'total': absent -> added (the model has it)" in out


def test_parameters_that_the_backend_reads_are_added_and_others_kept(tmp_path):
    assert run(tmp_path, KEPT, "backend=python") == 0
    config = model_config.parse(written(tmp_path))
    assert model_config.parameter(config, "numpy_below") == "2"
    assert model_config.parameter(config, "intra_op_thread_count") == "3"
    assert config.instance_group[0].count == 2
    assert config.dynamic_batching.max_queue_delay_microseconds == 200


def test_each_unknown_or_misplaced_field_is_told_with_its_line_and_column(tmp_path, capsys):
    wrong = KEPT.replace("max_batch_size: 64", "max_batchsize: 64").replace("count: 2,", "count: 2, max_batch_size: 3,")
    assert run(tmp_path, wrong) == 2
    err = capsys.readouterr().err
    assert "config.pbtxt:4:1': ModelConfig has no field 'max_batchsize'; did you mean 'max_batch_size'?" in err
    assert (
        "config.pbtxt:18:30': ModelInstanceGroup has no field 'max_batch_size'; move it to the top of the file" in err
    )
    assert not (tmp_path / "repo").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name: "m', "1:7: a text that is not closed"),
        ("input {", "1:8: expected a field, found the end"),
        ("max_batch_size: eight", "1:17 : 'max_batch_size: eight': Couldn't parse integer: eight"),
        ("input { data_type: FP32 }", "has no value named FP32"),
    ],
)
def test_a_text_that_is_no_config_is_told_with_its_place(tmp_path, capsys, text, told):
    assert run(tmp_path, text) == 2
    assert told in capsys.readouterr().err


def test_a_port_that_the_config_says_too_is_refused(tmp_path, capsys):
    assert run(tmp_path, KEPT, "instances=2", "scheduler=direct") == 2
    err = capsys.readouterr().err
    assert "triton_package: instances=2: is what config says, too; set it in" in err
    assert "scheduler=" in err


def test_the_tree_of_places_covers_every_writing_of_a_list(tmp_path):
    text = 'a: [1, 2]; b { c: "x" "y" }, d [ { e: 1 }, { e: 2 } ] f: < g: \'z\' >  # end\n'
    tree = config_text.parse(text)
    assert [f.name for f in tree.fields] == ["a", "b", "d", "f"]
    assert [text[f.value : f.end_value] for f in tree.fields] == [
        "[1, 2]", '{ c: "x" "y" }', "[ { e: 1 }, { e: 2 } ]", "< g: 'z' >",
    ]  # fmt: skip
    assert len(tree.blocks("d")) == 2
    editor = config_text.Editor(text)
    editor.remove_block(editor.tree, "d", 1)
    editor.add(editor.tree, "h: 1")
    editor.add(editor.tree, "i: 2")
    assert editor.done() == 'a: [1, 2]; b { c: "x" "y" }, d [ { e: 1 } ] f: < g: \'z\' >  # end\nh: 1\ni: 2\n'
