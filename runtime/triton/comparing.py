"""How far the answers of a server or a converted model are from those that are expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """How far answers are from the expected ones, and whether that is within the tolerance."""

    max_abs: float
    max_rel: float
    ok: bool


def compare(got: NDArray[Any], want: NDArray[Any], atol: float, rtol: float) -> Difference:
    """Values of the same shape; text and whole numbers must be equal, NaN matches NaN only."""
    import numpy as np

    if got.dtype.kind in "OSU" or want.dtype.kind in "OSU":
        same = [_text(a) == _text(b) for a, b in zip(got.ravel(), want.ravel(), strict=True)]
        return Difference(0.0 if all(same) else 1.0, 0.0 if all(same) else 1.0, all(same))
    a, b = got.astype(np.float64), want.astype(np.float64)
    gap = np.abs(np.where(np.isnan(a) & np.isnan(b), 0.0, a - b))
    gap = np.where(np.isnan(gap), np.inf, np.where(a == b, 0.0, gap))
    if want.dtype.kind in "iub":
        atol = rtol = 0.0
    relative = gap / np.maximum(np.abs(b), np.finfo(np.float32).tiny)
    ok = bool(np.all(gap <= atol + rtol * np.nan_to_num(np.abs(b), nan=0.0)))
    return Difference(float(gap.max(initial=0.0)), float(np.nan_to_num(relative).max(initial=0.0)), ok)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
