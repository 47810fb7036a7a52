"""XGBoost without scikit-learn, whose import takes longer than its own and which no step of ours asks it for."""

from __future__ import annotations

import sys
from typing import Any


def xgboost() -> Any:
    """The module, in a process of our own without its estimators, which is sooner.

    XGBoost's compat.py (3.4.1) imports scikit-learn, and with it SciPy's statistics, for the base classes of
    XGBRegressor and its like; without it those classes are the only thing that does not work. A notebook or a test that
    imports ours may want them, so there it is imported as it is.
    """
    if _is_a_step() and "xgboost" not in sys.modules and "sklearn" not in sys.modules:
        sys.modules["sklearn"] = None  # type: ignore[assignment] # how Python itself marks what is not to be imported
        try:
            import xgboost
        finally:
            del sys.modules["sklearn"]
        return xgboost
    import xgboost

    return xgboost


def _is_a_step() -> bool:
    """Whether this process is `python -m runtime.<area>.<verb>`."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name.startswith("runtime.")
