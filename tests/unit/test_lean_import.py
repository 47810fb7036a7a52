"""XGBoost is imported without scikit-learn in a step's own process, and whole everywhere else."""

import subprocess
import sys

STEP = """
import importlib.machinery, sys
sys.modules["__main__"].__spec__ = importlib.machinery.ModuleSpec("runtime.rapids.train", None)
"""
LOOK = """
import sys
from runtime import lean_import
module = lean_import.xgboost()
before = "sklearn" in sys.modules
import sklearn.ensemble
print(before, module.compat.SKLEARN_INSTALLED)
"""


def _said(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_a_step_does_without_and_may_import_scikit_learn_later():
    assert _said(STEP + LOOK) == "False False"


def test_a_notebook_gets_the_estimators():
    assert _said(LOOK) == "True True"


def test_scikit_learn_that_is_there_already_is_used():
    assert _said(STEP + "import sklearn\n" + LOOK) == "True True"
