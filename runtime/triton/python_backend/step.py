"""The function of a ready-made step of an ensemble; function.py of `model.py` is a copy of this file.

The step's code is that of the package `runtime` beside this file, its settings are in step.json.
"""

import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # before any other `runtime` that the server's Python may have
document = json.loads((HERE / "step.json").read_text(encoding="utf-8"))
try:
    for needed in document["needs"]:  # the code itself imports them at the first request only
        importlib.import_module(needed)
except ImportError as error:
    raise RuntimeError(f"{error}; install in this server's Python: pip install numpy pillow polars") from error
predict = importlib.import_module(document["module"]).open_step(document["settings"])
