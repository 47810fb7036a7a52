"""What bench/check.py compares with: azure-ai-ml's own loader and `_validate()`; prints JSON of what it refused.

Run by the Python of NGCRUN_AZURE_PYTHON: `python bench/check_sdk.py FILE...`.
"""

import json
import logging
import re
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

from azure.ai.ml import (  # noqa: E402 - after the warnings are off
    load_component,
    load_compute,
    load_data,
    load_environment,
    load_job,
    load_model,
    load_online_deployment,
    load_online_endpoint,
)

LOADERS = {
    "Component": load_component,
    "Job": load_job,
    "environment": load_environment,
    "amlCompute": load_compute,
    "OnlineEndpoint": load_online_endpoint,
    "OnlineDeployment": load_online_deployment,
    "data": load_data,
    "model": load_model,
}


def refused(path: str) -> str:
    """Why the SDK refuses a file; empty when it takes it."""
    schema = re.search(r"/(\w+)\.schema\.json", Path(path).read_text(encoding="utf-8"))
    loader = next((load for name, load in LOADERS.items() if schema and schema[1].endswith(name)), None)
    if loader is None:
        return ""
    try:
        loaded = loader(path)
        verdict = loaded._validate() if hasattr(loaded, "_validate") else None
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "" if verdict is None or verdict.passed else str(verdict.error_messages)[:300]


if __name__ == "__main__":
    print(json.dumps({path: refused(path) for path in sys.argv[1:]}))
