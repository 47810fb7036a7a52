"""Checks of a dataset against the layout that a TAO network wants, before anything starts.

A network's file names its layout and the spec keys of the layout's parts (`layout_paths`); the layout's module says
everything that is wrong at once, equal mistakes as one line. A layout is one module here: `check(parts) -> findings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runtime.errors import Problem
from runtime.tao.datasets import coco, icdar, image_files, image_folders, kitti, masks, ocr, odvg, pairs, voc
from runtime.tao.datasets.parts import Parts
from runtime.tao.finding import Finding
from runtime.tao.network import Network

LAYOUTS: Mapping[str, Callable[[Parts], list[Finding]]] = {
    module.__name__.rpartition(".")[2]: module.check
    for module in (coco, icdar, image_files, image_folders, kitti, masks, ocr, odvg, pairs, voc)
}


def check(network: Network, action: str, spec: Mapping[str, Any], limit: int = 20) -> list[Finding]:
    """Everything that is wrong with the dataset that an action reads: errors first, one line for those beyond `limit`.

    Args:
        network: its `layout` and `layout_paths` say what to look at; a network without a layout has no findings.
        action: decides which splits are read: `train` reads train and val, `evaluate` test, `export` none.
        spec: the final spec, TAO's defaults merged in, as plain dictionaries and lists.
        limit: how many findings at most.

    Raises:
        TypeError: the network names a layout that is not here (our bug).
    """
    if not network.layout:
        return []
    if network.layout not in LAYOUTS:
        raise TypeError(f"{network.name}: layout {network.layout!r} is none of {sorted(LAYOUTS)}")
    found = LAYOUTS[network.layout](Parts(network, action, spec))
    found = sorted(dict.fromkeys(found), key=lambda finding: finding.warning)
    rest = found[limit:]
    if not rest:
        return found
    wrong = f"has {len(rest)} more findings"
    more = Problem("dataset", network.layout, wrong, "correct those above, then check again")
    return [*found[:limit], Finding(more, warning=all(finding.warning for finding in rest))]
