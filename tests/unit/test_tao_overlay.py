"""The folder that shows a dataset, what was made of it, and a network's own files; and what is no path of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.tao import network, overlay, spec_paths

BPNET = network.find("bpnet")


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    """A dataset with pictures and a file of the network's, and records with masks and a file of the same name."""
    for name in ("dataset", "records", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "dataset" / "train2017").mkdir()
    (tmp_path / "dataset" / "infer.yaml").write_text("mine")
    (tmp_path / "records" / "train_mask2017").mkdir()
    (tmp_path / "records" / "infer.yaml").write_text("of the records")
    return {name: str(tmp_path / name) for name in ("dataset", "records", "results")}


def test_it_links_the_dataset_and_the_records_and_adds_what_the_network_reads(given: dict[str, str]) -> None:
    results = Path(given["results"])
    with overlay.made(BPNET, given, None, results) as more:
        folder = Path(more["overlay"])
        names = {path.name: path.is_symlink() for path in folder.iterdir()}
        assert names == {
            "train2017": True, "train_mask2017": True, "infer.yaml": True,
            "coco_spec.json": False, "pose_config.json": False, "trained.yaml": False,
        }  # fmt: skip
        assert (folder / "infer.yaml").read_text() == "mine"
        assert f'"root_directory_path": "{folder}"' in (folder / "coco_spec.json").read_text()
        assert f"pose_config_path: {folder}/pose_config.json" in (folder / "trained.yaml").read_text()
    assert not folder.exists()
    assert list(results.iterdir()) == []
    assert (Path(given["dataset"]) / "infer.yaml").read_text() == "mine"


def test_what_is_written_into_it_becomes_part_of_the_results_unless_the_run_fails(given: dict[str, str]) -> None:
    results = Path(given["results"])
    with overlay.made(BPNET, given, None, results) as more:
        masks = Path(more["overlay"]) / "val_mask2017"
        masks.mkdir()
        (masks / "1.jpg").write_text("x")
    assert [str(p.relative_to(results)) for p in results.rglob("*.jpg")] == ["val_mask2017/1.jpg"]
    with pytest.raises(OSError, match="stopped"), overlay.made(BPNET, given, None, results) as more:
        (Path(more["overlay"]) / "other").mkdir()
        raise OSError("stopped")
    assert not (results / "other").exists() and not Path(more["overlay"]).exists()


def test_the_spec_of_the_checkpoint_goes_before_the_template(given: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "spec.yaml").write_text("pose: ${overlay}/pose_config.json\n")
    with overlay.made(BPNET, given, tmp_path / "trained", Path(given["results"])) as more:
        assert (Path(more["overlay"]) / "trained.yaml").read_text() == f"pose: {more['overlay']}/pose_config.json\n"


def test_only_the_runs_that_name_it_get_one() -> None:
    actions = {name: overlay.is_used(a, a.spec) for name, a in BPNET.actions.items()}
    assert actions == {
        "dataset_convert": True, "train": False, "evaluate": True, "prune": False, "retrain": False, "inference": True,
        "export": True,
    }  # fmt: skip
    assert overlay.is_used(BPNET.actions["train"], BPNET.spec)
    assert not overlay.is_used(network.find("detectnet_v2").actions["train"], network.find("detectnet_v2").spec)


def test_keys_are_left_out_with_their_sections_and_nothing_else_is_changed() -> None:
    values = {"a": {"b": {"c": "x", "d": "y"}}, "e": {"f": "z"}, "g": 1}
    assert spec_paths.without(values, ["a.b.c", "e", "not.there", "g.h"]) == {"a": {"b": {"d": "y"}}, "g": 1}
    assert values["e"] == {"f": "z"}
