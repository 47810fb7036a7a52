"""What OCRNet's pruning does to a narrow network, which TAO calls a success: a layer without a channel is left.

Sources: nvidia-tao-pytorch 7.3.0, pruning/torch_pruning_v0/prune/strategy.py and cv/ocrnet/scripts/prune.py, run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runtime.tao import finding
from runtime.tao.finding import Finding

_WIDTHS = (16, 8, 4, 2, 1)  # `model.feature_channel` divided by each is how many channels a layer of the ResNet has


def check(schema: str, values: Mapping[str, Any]) -> Iterator[Finding]:
    """Errors in `prune.prune_setting` of OCRNet with a ResNet; nothing for another network."""
    setting = (values.get("prune") or {}).get("prune_setting")
    model = values.get("model") or {}
    if schema != "ocrnet" or not isinstance(setting, Mapping) or not str(model.get("backbone")).startswith("ResNet"):
        return
    if setting.get("mode") == "threshold":
        wrong = "is in TAO's schema, and TAO's prune refuses it with a ResNet"
        yield finding.error(
            "prune.prune_setting.mode", "threshold", wrong, "take amount, and set prune.prune_setting.amount"
        )
    amount, granularity, wide = setting.get("amount"), setting.get("granularity"), model.get("feature_channel")
    if not (isinstance(amount, float) and 0 < amount < 1 and isinstance(granularity, int) and isinstance(wide, int)):
        return
    widths = [wide // part for part in _WIDTHS if wide >= part]
    lost = [width for width in widths if not kept(width, amount, granularity)]
    if setting.get("mode") == "amount" and lost:
        fine = next(g for g in range(granularity, 0, -1) if all(kept(width, amount, g) for width in widths))
        wrong = f"leaves a layer of {lost[0]} channels with none (model.feature_channel is {wide})"
        yield finding.error("prune.prune_setting.granularity", granularity, wrong, f"give {fine} or a wider network")


def kept(width: int, amount: float, granularity: int) -> int:
    """How many of a layer's channels TAO's `amount` mode keeps, rounded as it rounds."""
    gone = int(amount * width)
    if granularity <= 1:
        return width - gone
    over = (width - gone) % granularity
    down = (over < granularity // 2 and width - gone > granularity) or granularity > gone
    return width - gone - over if down else width - gone - over + granularity
