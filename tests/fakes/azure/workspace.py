"""A workspace: itself, its datastores, and who may ask."""

from __future__ import annotations

import time
from typing import Any

from tests.fakes.azure import login
from tests.fakes.azure.state import (
    ACCOUNT,
    CONTAINER,
    GROUP,
    PROVIDER,
    REGION,
    REGISTRIES,
    ROOT,
    SUBSCRIPTION,
    WORKSPACE,
    State,
    error,
)
from tests.fakes.azure.wire import Request, Response

ARM = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/{PROVIDER}/workspaces/(?P<workspace>[^/]+)"


def unauthorized(request: Request) -> Response | None:
    """401 without a token, or with one that has expired."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    if request.path == "/discovery":  # the one address that needs none
        return None
    if not bearer:
        return error(401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
    expires = login.claims_of(bearer)["exp"]
    if isinstance(expires, int) and expires < time.time():
        return error(
            401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time."
        )
    return None


def discovery(_: State, __: Request, registry: str) -> Response:
    if registry not in REGISTRIES:
        return error(404, "UserError", f"Registry {registry} does not exist.")
    return Response(200, {"registryName": registry, "primaryRegion": REGION, "regions": [REGION], "subscriptionId": SUBSCRIPTION,
                          "resourceGroup": GROUP, "primaryRegionResourceProviderUri": f"https://{REGION}.api.azureml.ms/"})  # fmt: skip


def get(_: State, __: Request, workspace: str) -> Response:
    if workspace != WORKSPACE:
        text = f"The Resource 'Microsoft.MachineLearningServices/workspaces/{workspace}' under resource group '{GROUP}' was not found."
        return error(404, "ResourceNotFound", text)
    properties = {"discoveryUrl": f"https://{REGION}.api.azureml.ms/discovery", "friendlyName": workspace, "workspaceId": "ws-1",
                  "mlFlowTrackingUri": f"azureml://{REGION}.api.azureml.ms/mlflow/v1.0{ROOT}/workspaces/{workspace}",
                  "storageAccount": f"{ROOT}/storage", "provisioningState": "Succeeded", "hbiWorkspace": False}  # fmt: skip
    return Response(200, {"id": f"{ROOT}/workspaces/{workspace}", "name": workspace, "location": REGION, "kind": "Default",
                          "type": "Microsoft.MachineLearningServices/workspaces", "tags": {}, "properties": properties,
                          "identity": {"type": "SystemAssigned"}, "sku": {"name": "Basic", "tier": "Basic"}})  # fmt: skip


def datastore(_: State, __: Request, workspace: str, store: str) -> Response:
    properties: dict[str, Any] = {
        "accountName": ACCOUNT, "containerName": "azureml" if store == "workspaceartifactstore" else CONTAINER, "datastoreType": "AzureBlob", "endpoint": "core.windows.net",
        "protocol": "https", "isDefault": True, "credentials": {"credentialsType": "Sas"}, "tags": {}, "properties": {},
    }  # fmt: skip
    return Response(
        200, {"id": f"{ROOT}/workspaces/{workspace}/datastores/{store}", "name": store, "properties": properties}
    )


def datastores(state: State, request: Request, workspace: str) -> Response:
    return Response(200, {"value": [datastore(state, request, workspace, "workspaceblobstore").body]})


def secrets(_: State, __: Request, workspace: str, store: str) -> Response:
    return Response(
        200, {"secretsType": "Sas", "sasToken": "sv=2024-11-04&se=2036-01-01&sr=c&sp=rwl&sig=a-made-up-signature"}
    )


def addresses(_: State, __: Request) -> Response:
    """Where the services of the region are: all of them are one stand-in."""
    base = f"https://{REGION}.api.azureml.ms"
    return Response(200, dict.fromkeys(("api", "history", "experimentation", "artifact", "catalog", "notebooks"), base))


ROUTES = [
    ("GET", "/discovery", addresses),
    ("GET", "/registrymanagement/v1.0/registries/(?P<registry>[^/]+)/discovery", discovery),
    ("GET", ARM, get),
    ("GET", f"{ARM}/datastores/(?P<store>[^/]+)", datastore),
    ("GET", f"{ARM}/datastores", datastores),
    ("POST", f"{ARM}/datastores/(?P<store>[^/]+)/listSecrets", secrets),
]
