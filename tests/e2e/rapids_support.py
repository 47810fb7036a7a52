"""Running RAPIDS steps in this process, and small real inputs for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from runtime.component import Component
from runtime.execute import main
from runtime.rapids.predict import predict
from runtime.rapids.prepare import prepare
from runtime.rapids.score import score
from runtime.rapids.train import train
from runtime.rapids.transform import transform

DATA = Path(__file__).parents[1] / "data"
TAXI, CSV = DATA / "taxi", DATA / "taxi_csv"
FAST = {"xgboost": ["model.rounds=20"], "random_forest": ["model.trees=5"], "linear": [], "neighbours": []}


def run(component: Component, *words: str, **ports: object) -> int:
    """The exit status of a component with these ports and Hydra words."""
    return main(component, [*(f"--{name}={value}" for name, value in ports.items()), *words])


def chain(folder: Path, trips: Path, model: str = "xgboost") -> dict[str, Path]:
    """Run all five steps below `folder` and return where each output is."""
    at = {n: folder / n for n in ("prepared", "train", "test", "trained", "predictions", "report")}
    assert run(prepare, trips=trips, prepared=at["prepared"]) == 0
    assert run(transform, prepared=at["prepared"], train=at["train"], test=at["test"]) == 0
    given = {"train": at["train"], "test": at["test"], "trained": at["trained"]}
    assert run(train, f"model={model}", *FAST[model], **given) == 0
    assert run(predict, model=at["trained"], features=at["test"], predictions=at["predictions"]) == 0
    assert run(score, predictions=at["predictions"], truth=at["test"], report=at["report"]) == 0
    return at


def logged(path: Path, kind: str = "metric") -> dict[str, Any]:
    """The last value of each key in a JSON lines file of metrics."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return {record["key"]: record["value"] for record in records if record["kind"] == kind}


def table(folder: Path) -> pl.DataFrame:
    """All rows of a Parquet dataset, its parts in order."""
    return pl.read_parquet(sorted(folder.glob("*.parquet")))


def truncated(path: Path, source: Path) -> Path:
    data = source.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def assert_refused(capsys, out: list[Path], text: str, status: int) -> None:
    captured = capsys.readouterr()
    assert status == 2
    assert captured.err.count("\n") == 1, captured.err
    assert text in captured.err
    assert_nothing_written(out)


def assert_nothing_written(out: list[Path]) -> None:
    for path in out:
        assert not path.exists()
        assert not [p for p in path.parent.iterdir() if ".partial" in p.name]
