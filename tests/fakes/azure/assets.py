"""Assets: codes, environments, components, models and data, in registries and workspaces; all but tags is immutable."""

from __future__ import annotations

import time
import uuid
from typing import Any

from tests.fakes.azure import rules
from tests.fakes.azure.state import (
    ACCOUNT,
    CONTAINER,
    REGION,
    ROOT,
    Asset,
    Operation,
    State,
    asset_id,
    error,
    system_data,
)
from tests.fakes.azure.wire import Request, Response

KINDS = "codes|environments|components|models|data"
MUTABLE = ("tags", "description", "isArchived", "stage")
DATA_PLANE = f"https://{REGION}.api.azureml.ms"
SAS = "?sv=2024-11-04&se=2036-01-01&sr=c&sp=rwl&sig=a-made-up-signature"


def get(state: State, _: Request, scope: str, kind: str, name: str, version: str) -> Response:
    asset = state.find((scope, kind, name, version))
    if asset is None:
        text = f"Could not find asset with ID: {asset_id(scope, kind, name, version)}"
        return error(404, "UserError", text)
    return Response(200, body_of(scope, kind, name, version, asset))


def versions(state: State, _: Request, scope: str, kind: str, name: str) -> Response:
    found = [(k, a) for k, a in state.assets.items() if k[:3] == (scope, kind, name)]
    return Response(200, {"value": [body_of(*k, a) for k, a in reversed(found)]})


def container(state: State, _: Request, scope: str, kind: str, name: str) -> Response:
    known = state.versions(scope, kind, name)
    if not known:
        return error(404, "UserError", f"Could not find asset container {name} in {scope}.")
    properties = {"latestVersion": known[-1], "nextVersion": "1", "tags": {}, "properties": {}, "isArchived": False}
    return Response(200, {"id": f"{ROOT}/{scope}/{kind}/{name}", "name": name, "properties": properties})


def put(state: State, request: Request, scope: str, kind: str, name: str, version: str) -> Response:
    """Create, or change what may change. In a registry the answer is 202 and an operation to ask for."""
    given = (request.json or {}).get("properties") or {}
    key = (scope, kind, name, version)
    refusal = rules.check(state, scope, kind, name, version, request.json)
    if refusal is not None:
        return refusal
    with state.lock:
        there = state.assets.get(key)
        if there is not None and _fixed(there.properties) != _fixed(given):
            text = f"{kind.rstrip('s').capitalize()} with name {name} and version {version} already exists and cannot be changed."
            return error(409, "Conflict", text)
        if there is None:
            delay = state.options.consistency_s
            state.assets[key] = Asset({**given, "provisioningState": "Succeeded"}, time.monotonic() + delay)
            state.created.append(key)
        else:
            there.properties.update({k: given[k] for k in MUTABLE if k in given})
        asset = state.assets[key]
    if scope.startswith("registries/"):
        return _accepted(state, key)
    return Response(200 if there else 201, body_of(*key, asset))


def _fixed(properties: dict[str, Any]) -> dict[str, Any]:
    """What of an asset can never change. SAS queries differ from one upload to the next."""
    dropped = {*MUTABLE, "provisioningState", "properties"}
    return {k: v.split("?")[0] if isinstance(v, str) else v for k, v in properties.items() if k not in dropped}


def _accepted(state: State, key: tuple[str, str, str, str]) -> Response:
    """202, an empty body and a Location, as recorded; `fail_late` makes the operation fail after all."""
    number = str(uuid.uuid4())
    failure = state.options.failure(key[2])
    if failure:
        del state.assets[key]
        state.created.remove(key)
    state.operations[number] = Operation(state.options.polls, failure)
    where = f"{DATA_PLANE}/assetstore/v1.0/operations/{number}"
    headers = {"Location": where}
    if state.options.retry_after_s is not None:
        headers["Retry-After"] = str(state.options.retry_after_s)
    return Response(202, None, headers)


def operation(state: State, _: Request, number: str) -> Response:
    found = state.operations.get(number)
    if found is None:
        return error(404, "UserError", f"no operation {number}")
    where = f"{DATA_PLANE}/assetstore/v1.0/operations/{number}"
    if found.polls > 0:
        found.polls -= 1
        headers = {"Location": where}
        if state.options.retry_after_s is not None:
            headers["Retry-After"] = str(state.options.retry_after_s)
        return Response(202, None, headers)
    if found.error:
        return error(400, found.error["code"], found.error["message"])
    return Response(200, found.result)


def temporary_reference(state: State, request: Request, scope: str, name: str, version: str) -> Response:
    """Where the files of a registry asset are to be put; 409 for a version that exists."""
    kind = request.json["assetId"].split("/")[4]
    if state.find((scope, kind, name, version)) is not None:
        return error(409, "UserError", f"Asset {name}:{version} already exists in registry.")
    box = f"{scope.partition('/')[2]}-{uuid.uuid4().hex}"
    url = f"https://{ACCOUNT}.blob.core.windows.net/{box}"
    reference = {
        "blobUri": url,
        "storageAccountArmId": f"{ROOT}/storage",
        "credential": {"credentialType": "SAS", "sasUri": url + SAS},
    }
    return Response(200, {"blobReferenceForConsumption": reference, "assetId": request.json["assetId"]})


def pending_upload(state: State, _: Request, scope: str, kind: str, name: str, version: str) -> Response:
    """Where the files of a workspace asset are to be put: the workspace's own container."""
    url = f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}-{uuid.uuid5(uuid.NAMESPACE_URL, name)}"
    reference = {
        "blobUri": url,
        "storageAccountArmId": f"{ROOT}/storage",
        "credential": {"credentialType": "SAS", "sasUri": url + SAS},
    }
    return Response(200, {"blobReferenceForConsumption": reference, "pendingUploadId": str(uuid.uuid4()),
                          "pendingUploadType": "TemporaryBlobReference"})  # fmt: skip


def body_of(scope: str, kind: str, name: str, version: str, asset: Asset) -> dict[str, Any]:
    properties = {"description": None, "tags": {}, "properties": {}, "isArchived": False, **asset.properties}
    if kind == "models":
        properties.setdefault("flavors", {})
    if kind == "environments":
        properties |= {"environmentType": "UserCreated", "osType": properties.get("osType", "Linux")}
    return {"id": asset_id(scope, kind, name, version), "name": version, "type": f"Microsoft.MachineLearningServices/{kind}",
            "properties": properties, "systemData": system_data()}  # fmt: skip


SCOPE = "/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.MachineLearningServices/(?P<scope>(?:registries|workspaces)/[^/]+)"
VERSION = f"{SCOPE}/(?P<kind>{KINDS})/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
ROUTES = [
    ("GET", VERSION, get),
    ("PUT", VERSION, put),
    ("GET", f"{SCOPE}/(?P<kind>{KINDS})/(?P<name>[^/]+)/versions", versions),
    ("GET", f"{SCOPE}/(?P<kind>{KINDS})/(?P<name>[^/]+)", container),
    ("PUT", f"{SCOPE}/tempdatarefs/(?P<name>[^/]+)/versions/(?P<version>[^/]+)", temporary_reference),
    ("POST", f"{VERSION}/startPendingUpload", pending_upload),
    ("GET", "/assetstore/v1.0/operations/(?P<number>[^/]+)", operation),
]
