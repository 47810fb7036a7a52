"""Which values of a spec are paths, which of them must be there, and what is put in place of a relative one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.tao import spec_paths

KEYS = {
    "dataset.root_dir": ("data", True),
    "dataset.train_data_sources.0.json_file": ("a.json", True),
    "train.pretrained_model_path": ("a.pth", True),
    "model.backbone.type": ("resnet_18", False),
    "model.name": ("./a", True),
    "model.any": ("/a", True),
    "wandb.name": ("two words", False),
    "dataset.url_path": ("https://host/a", False),
    "dataset.images_dir": ("azureml://datastores/a", False),
    "train.checkpoint": ("${results_dir}/a", False),
    "train.resume_path": ("???", False),
    "dataset.empty_dir": ("", False),
    "dataset.note_file": ("a\nb", False),
    "dataset_config.data_sources.0.tfrecords_path": ("records/*", True),
}


def nested(dotted: str, value: str) -> dict[str, Any]:
    tree: Any = value
    for part in reversed(dotted.split(".")):
        tree = [tree] if part == "0" else {part: tree}
    return dict(tree)


@pytest.mark.parametrize("key", KEYS)
def test_a_path_is_known_by_its_key_or_by_how_it_begins(key: str) -> None:
    value, is_path = KEYS[key]
    found = list(spec_paths.path_values(nested(key, value)))
    assert found == ([(tuple(key.split(".")), value)] if is_path else [])


def lines(values: dict[str, Any], action: str, *folders: Path) -> list[str]:
    return [f.problem.line() for f in spec_paths.check(values, action, folders, ".".join)]


def test_what_tao_reads_must_be_there_and_what_it_writes_need_not(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    values = {
        "results_dir": "/nowhere/r",
        "dataset": {"root_dir": "there", "cache_dir": "/nowhere/c"},
        "export": {"onnx_file": "/nowhere/m.onnx", "checkpoint": "/nowhere/m.pth"},
        "evaluate": {"checkpoint": "/nowhere/m.pth"},
    }
    todo = "name a path on this machine; one inside a container is another"
    assert lines(values, "export", tmp_path) == [f"export.checkpoint='/nowhere/m.pth': does not exist; {todo}"]
    assert lines(values, "train", tmp_path) == []
    assert lines({"dataset": {"root_dir": "gone"}}, "train", tmp_path, tmp_path) == [
        f"dataset.root_dir='gone': does not exist below {tmp_path}; {todo}"
    ]
    assert lines(
        {"gen_trt_engine": {"onnx_file": "/nowhere/m.onnx", "trt_engine": "/nowhere/e"}}, "gen_trt_engine"
    ) == [f"gen_trt_engine.onnx_file='/nowhere/m.onnx': does not exist; {todo}"]


def test_a_pattern_must_match_a_file(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    values = {"dataset_config": {"data_sources": [{"tfrecords_path": f"{tmp_path}/records/*"}]}}
    told = f"dataset_config.data_sources.0.tfrecords_path='{tmp_path}/records/*': matches no file; "
    assert [line.startswith(told) for line in lines(values, "train")] == [True]
    (tmp_path / "records" / "part-0").touch()
    assert lines(values, "train") == []


def test_a_relative_path_becomes_the_first_place_where_it_is(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "data").mkdir(parents=True)
    (tmp_path / "b" / "data" / "x.png").touch()
    values = {"d": {"root_dir": "data", "sources": [{"image_dir": "data/*"}], "other_dir": "/data", "gone_dir": "gone"}}
    assert spec_paths.relative(values, (tmp_path / "a", tmp_path / "b")) == {
        "d.root_dir": str(tmp_path / "a" / "data"),
        "d.sources[0].image_dir": str(tmp_path / "b" / "data" / "*"),
    }


def test_a_folder_with_brackets_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "set [1]").mkdir()
    assert lines({"dataset": {"root_dir": str(tmp_path / "set [1]")}}, "train") == []
