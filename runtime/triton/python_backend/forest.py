"""Answers for FIL on a server that lacks it: the `checkpoint.tl` beside this file, by Treelite's own reference.

Copied as it is to `<version>/function.py` of a twin, which model.py (function.py in our package) imports.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import treelite

FOREST = treelite.Model.deserialize(str(Path(__file__).with_name("checkpoint.tl")))


def predict(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """(rows, features) float32, NaN for missing, to (rows, targets) float32."""
    rows = np.ascontiguousarray(inputs["input__0"], dtype=FOREST.input_type)
    return {"output__0": treelite.gtil.predict(FOREST, rows).astype(np.float32).reshape(len(rows), -1)}
