"""OCRNet's pruning: what is left of a layer, and the settings that leave nothing or are refused."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.tao import check_prune

# nvidia-tao-pytorch 7.3.0, LNStrategy("amount") on random weights, run: (channels, amount, granularity): kept
KEPT = {
    (4, 0.1, 8): 0, (4, 0.5, 8): 0, (8, 0.1, 8): 8, (8, 0.2, 8): 0, (8, 0.9, 8): 0, (12, 0.1, 8): 8, (12, 0.5, 8): 0,
    (12, 0.9, 8): 8, (16, 0.1, 8): 8, (16, 0.2, 8): 8, (16, 0.5, 8): 16, (16, 0.9, 8): 8, (32, 0.1, 8): 24,
    (32, 0.5, 8): 16, (32, 0.9, 8): 8, (4, 0.5, 2): 4,
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_a_layer_keeps_as_many_channels_as_tao_leaves_it(case: tuple[int, float, int]) -> None:
    assert check_prune.kept(*case) == KEPT[case]


def lines(wide: int, backbone: str = "ResNet", schema: str = "ocrnet", **setting: object) -> list[str]:
    defaults: dict[str, Any] = {"mode": "amount", "amount": 0.4, "threshold": None, "granularity": 8}
    values = {
        "prune": {"prune_setting": defaults | setting},
        "model": {"backbone": backbone, "feature_channel": wide},
    }
    return [f.problem.line() for f in check_prune.check(schema, values)]


def test_a_narrow_network_that_would_lose_a_whole_layer_is_an_error() -> None:
    told = "prune.prune_setting.granularity=8: leaves a layer of 4 channels with none (model.feature_channel is 64); give 2 or a wider network"
    assert lines(64, amount=0.5) == [told]
    assert lines(64, amount=0.5, granularity=2) == []
    assert lines(512) == lines(512, amount=0.9) == []


def test_the_mode_that_tao_refuses_is_an_error() -> None:
    told = "prune.prune_setting.mode='threshold': is in TAO's schema, and TAO's prune refuses it with a ResNet; take amount, and set prune.prune_setting.amount"
    assert lines(512, mode="threshold") == lines(64, mode="threshold") == [told]


def test_other_modes_and_networks_are_left_alone() -> None:
    assert lines(64, mode="experimental_hybrid") == lines(64, "FAN_tiny_2X") == lines(64, schema="ocdnet") == []
