"""Data of an AzureML workspace, for a pipeline on this machine: where its bytes lie, as Azure says it.

Needs the extras `azureml` and `remote`, and a way to sign in. Source of the forms of addresses: azure-ai-ml 1.35.2.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from typing import Any

from runtime.errors import BadInput

NEEDS = ("azure.ai.ml", "azure.identity", "adlfs", "fsspec")
INSTALL = "pip install 'ngcrun[azureml,remote]'"
_LONG = re.compile(
    r"azureml://subscriptions/(?P<subscription>[^/]+)/resource[gG]roups/(?P<resource_group>[^/]+)"
    r"(?:/providers/Microsoft\.MachineLearningServices)?/workspaces/(?P<workspace>[^/]+)/(?P<rest>.+)"
)
_STORE = re.compile(r"datastores/(?P<store>[^/]+)/paths/(?P<path>.*)")
_ASSET = re.compile(r"(?:azureml:|data/)(?P<name>[^:@/]+)(?:(?::|/versions/)(?P<version>[^:@/]+)|@(?P<label>[^:@/]+))")


def is_of_workspace(uri: str) -> bool:
    """Whether it is a data asset or a path on a datastore of a workspace; a registry's data is neither."""
    return uri.startswith("azureml:") and _parts(uri) is not None


def installed() -> bool:
    """Whether what asks Azure, and what reads its storage, is here."""
    for name in NEEDS:
        with contextlib.suppress(ModuleNotFoundError):
            if importlib.util.find_spec(name) is not None:
                continue
        return False
    return True


def _parts(uri: str) -> tuple[dict[str, str], re.Match[str]] | None:
    """The workspace that an address names, if it does, and the datastore's path or the asset in it."""
    long = _LONG.fullmatch(uri)
    where = {k: v for k, v in long.groupdict().items() if k != "rest"} if long else {}
    rest = long["rest"] if long else uri.removeprefix("azureml://")
    found = _STORE.fullmatch(rest) or _ASSET.fullmatch(rest)
    return (where, found) if found else None


def address_of(uri: str) -> tuple[str, dict[str, Any]]:
    """The address for fsspec and its options; raises `BadInput` or `ToolFailed` in Azure's words and with a way out."""
    from runtime.azureml import client, config

    parts = _parts(uri)
    assert parts is not None  # noqa: S101 - `is_of_workspace` was asked; narrows for mypy
    where, found = parts
    try:
        settings = config.read([f"{name}={value}" for name, value in where.items()])
        signed = client.credential(settings)
        (workspace,) = settings.need("workspace")
        with client.hushed(), client.translated(uri):
            ml_client = client.connect(settings, f"workspace:{workspace}", signed)
            if "store" in found.groupdict():
                return _on_store(ml_client.datastores.get(found["store"]), found["path"])
            asset = ml_client.data.get(found["name"], version=found["version"], label=found["label"])
    except BadInput as error:
        lines = "; ".join(problem.line() for problem in error.problems)
        raise BadInput.of(
            "path", uri, f"is not found in Azure ({lines})", "mend that, or --map a local copy"
        ) from error
    path = str(asset.path)
    return address_of(path) if is_of_workspace(path) else (path, {})


def _on_store(store: Any, path: str) -> tuple[str, dict[str, Any]]:
    """A path on a blob or Data Lake datastore; raises `BadInput` for one of another kind."""
    box = getattr(store, "container_name", None) or getattr(store, "filesystem", None)
    if not box:
        kind = getattr(store, "type", type(store).__name__)
        raise BadInput.of("datastore", store.name, f"is of a kind that is not read here ({kind})", "--map a local copy")
    return f"abfs://{box}/{path}", {"account_name": store.account_name}
