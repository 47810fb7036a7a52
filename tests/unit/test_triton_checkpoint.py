"""A Treelite checkpoint is looked into in a process that can be ended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import treelite
from sklearn.ensemble import RandomForestRegressor

from runtime.triton import checkpoint


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).random((50, 3))
    forest = RandomForestRegressor(n_estimators=3, random_state=0).fit(rows, rows[:, 0])
    path = tmp_path / "checkpoint.tl"
    treelite.sklearn.import_model(forest).serialize(str(path))
    return path


def test_a_whole_one_says_how_many_features_it_takes(whole: Path) -> None:
    assert checkpoint.features_of(whole) == 3


def test_one_that_ends_too_early_is_told_in_treelites_words(whole: Path) -> None:
    whole.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"\S"):
        checkpoint.features_of(whole)


def test_one_that_is_read_for_ever_is_ended(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_READ", "while True: pass")
    monkeypatch.setattr(checkpoint, "_START_S", 1.0)
    with pytest.raises(ValueError, match="it is damaged: treelite was still reading it after 1 s"):
        checkpoint.features_of(whole)
