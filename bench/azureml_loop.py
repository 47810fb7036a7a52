"""The peer of bench/azureml.py: a loop of create_or_update over all specs, which is what publish scripts amount to.

One process with one client, which is kind to it: scripts around `az ml` start a process for each file. As those do, it
prints what fails and goes on: an environment that is in a registry already cannot be sent again.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from azure.ai.ml import MLClient, load_component, load_environment
from azure.core.exceptions import HttpResponseError
from azure.identity import EnvironmentCredential


def tell(work: Callable[[], object]) -> None:
    try:
        work()
    except HttpResponseError as error:
        print(str(error).splitlines()[0], file=sys.stderr)


def main() -> None:
    registry, root = sys.argv[1], Path(sys.argv[2])
    client = MLClient(EnvironmentCredential(), registry_name=registry, enable_telemetry=False)
    for path in sorted((root / "containers").glob("*/environment.yaml")):
        tell(lambda path=path: client.environments.create_or_update(load_environment(str(path))))
    for area in ("data", "rapids", "tao", "triton"):
        for path in sorted((root / "component_specs" / area).glob("*.yaml")):
            name, version = re.search(r"^environment: azureml:([\w.-]+):([\w.-]+)$", path.read_text(), re.M).groups()
            there = f"azureml://registries/{registry}/environments/{name}/versions/{version}"
            loaded = load_component(str(path), params_override=[{"environment": there}])
            tell(lambda loaded=loaded: client.components.create_or_update(loaded))


if __name__ == "__main__":
    main()
