"""Managed online endpoints and their deployments: created, given traffic, asked for keys and logs, deleted."""

from __future__ import annotations

import re
import uuid
from typing import Any

from tests.fakes.azure import rules
from tests.fakes.azure.computes import SIZES
from tests.fakes.azure.state import PROVIDER, REGION, ROOT, WORKSPACE, Operation, State, error, system_data, user_error
from tests.fakes.azure.wire import Request, Response

NAME = re.compile(r"[a-z][a-z0-9-]{1,30}[a-z0-9]")
SCOPE = f"workspaces/{WORKSPACE}"
KEY = "a-made-up-endpoint-key"
_ENDPOINT = {
    "authMode",
    "description",
    "properties",
    "traffic",
    "mirrorTraffic",
    "publicNetworkAccess",
    "compute",
    "keys",
}
_DEPLOYMENT = {
    "endpointComputeType", "model", "environmentId", "codeConfiguration", "environmentVariables", "instanceType", "livenessProbe",
    "readinessProbe", "startupProbe", "requestSettings", "modelMountPath", "scaleSettings", "appInsightsEnabled", "properties",
    "description", "egressPublicNetworkAccess", "dataCollector",
}  # fmt: skip


def put_endpoint(state: State, request: Request, workspace: str, name: str) -> Response:
    given = (request.json or {}).get("properties") or {}
    unknown = sorted(set(given) - _ENDPOINT - {"scoringUri", "swaggerUri", "provisioningState"})
    if unknown:
        return user_error(f"The request is invalid: unknown field {unknown[0]} in endpoint {name}.")
    if not NAME.fullmatch(name):
        return user_error(f"Endpoint name {name} is not valid: 3 to 32 of lower case letters, digits and -.")
    traffic = {k: int(v) for k, v in (given.get("traffic") or {}).items()}
    missing = [d for d in traffic if (name, d) not in state.deployments]
    if missing:
        return user_error(f"Traffic of endpoint {name} goes to {missing[0]}, which does not exist.")
    if sum(traffic.values()) not in (0, 100):
        return user_error(f"Traffic of endpoint {name} sums up to {sum(traffic.values())}; it has to be 0 or 100.")
    there = state.endpoints.get(name)
    if there is None:
        state.created.append((f"workspaces/{workspace}", "onlineEndpoints", name, ""))
    state.endpoints[name] = {**given, "traffic": traffic, "tags": (request.json or {}).get("tags") or {}}
    return _accepted(state, 201 if there is None else 200, name, endpoint_body(state, name, state.endpoints[name]))


def get_endpoint(state: State, _: Request, workspace: str, name: str) -> Response:
    if name not in state.endpoints:
        return error(404, "ResourceNotFound", f"Endpoint {name} was not found in workspace {workspace}.")
    return Response(200, endpoint_body(state, name, state.endpoints[name]))


def list_endpoints(state: State, _: Request, workspace: str) -> Response:
    return Response(200, {"value": [endpoint_body(state, n, e) for n, e in state.endpoints.items()]})


def delete_endpoint(state: State, _: Request, workspace: str, name: str) -> Response:
    if state.endpoints.pop(name, None) is None:
        return error(404, "ResourceNotFound", f"Endpoint {name} was not found.")
    for key in [k for k in state.deployments if k[0] == name]:
        del state.deployments[key]
    return _accepted(state, 202, name, None)


def put_deployment(state: State, request: Request, workspace: str, name: str, deployment: str) -> Response:
    """A deployment; the operation fails late where the stand-in is told that the container does not get ready."""
    given = (request.json or {}).get("properties") or {}
    refused = _refuse(state, name, deployment, request.json or {}, given)
    if refused is not None:
        return refused
    there = state.deployments.get((name, deployment))
    body = {
        **given,
        "provisioningState": "Succeeded",
        "tags": (request.json or {}).get("tags") or {},
        "sku": (request.json or {}).get("sku"),
    }
    state.deployments[(name, deployment)] = body
    if there is None:
        state.created.append((f"workspaces/{workspace}", "deployments", f"{name}/{deployment}", ""))
    if deployment in state.options.fail_late:
        body["provisioningState"] = "Failed"
    return _accepted(state, 201 if there is None else 200, deployment, deployment_body(name, deployment, body))


def _refuse(state: State, name: str, deployment: str, body: dict[str, Any], given: dict[str, Any]) -> Response | None:  # noqa: PLR0911 - one a rule
    unknown = sorted(set(given) - _DEPLOYMENT)
    if unknown:
        return user_error(f"The request is invalid: unknown field {unknown[0]} in deployment {deployment}.")
    if name not in state.endpoints:
        return error(404, "ResourceNotFound", f"Endpoint {name} was not found.")
    for field in ("model", "environmentId"):
        missing = rules.reference(state, SCOPE, str(given[field])) if given.get(field) else ""
        if missing:
            return user_error(f"Deployment {deployment}: {missing}")
    size = str(given.get("instanceType"))
    if size not in SIZES:
        return user_error(f"Instance type {size} is not supported in {REGION}.")
    count = int((body.get("sku") or {}).get("capacity") or 1)
    if SIZES[size] * count > state.options.quota_cores:
        return user_error(
            f"Not enough quota available for {size} in {REGION}: {SIZES[size] * count} cores are needed, {state.options.quota_cores} are left."
        )
    model = str(given.get("model") or "")
    match = re.search(r"/models/([^/]+)/versions/([^/]+)$", model)
    asset = state.find((SCOPE, "models", match[1], match[2])) if match else None
    if not given.get("environmentId") and (asset is None or asset.properties.get("modelType") != "triton_model"):
        return user_error(
            f"Deployment {deployment}: without an environment the model has to be an MLflow or a Triton model."
        )
    return None


def get_deployment(state: State, _: Request, workspace: str, name: str, deployment: str) -> Response:
    found = state.deployments.get((name, deployment))
    if found is None:
        return error(404, "ResourceNotFound", f"Deployment {deployment} was not found at endpoint {name}.")
    return Response(200, deployment_body(name, deployment, found))


def list_deployments(state: State, _: Request, workspace: str, name: str) -> Response:
    return Response(200, {"value": [deployment_body(n, d, b) for (n, d), b in state.deployments.items() if n == name]})


def delete_deployment(state: State, _: Request, workspace: str, name: str, deployment: str) -> Response:
    if int((state.endpoints.get(name) or {}).get("traffic", {}).get(deployment, 0)) > 0:
        return user_error(f"Deployment {deployment} has traffic; set it to 0 before it is deleted.")
    if state.deployments.pop((name, deployment), None) is None:
        return error(404, "ResourceNotFound", f"Deployment {deployment} was not found at endpoint {name}.")
    return _accepted(state, 202, deployment, None)


def keys(state: State, _: Request, workspace: str, name: str) -> Response:
    return Response(200, {"primaryKey": KEY, "secondaryKey": f"{KEY}-2"})


def logs(state: State, request: Request, workspace: str, name: str, deployment: str) -> Response:
    text = f"{deployment}: tritonserver says that it is ready\n"
    return Response(200, {"content": text})


def score(state: State, request: Request) -> Response:
    """`<scoring>/<endpoint>/...`: Triton's own protocol behind the endpoint's key."""
    _, name, request.path = ["", *request.path.lstrip("/").split("/", 1), ""][:3]
    request.path = f"/{request.path}"
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return Response(401, {"error": {"message": "key_auth_access_denied"}})
    endpoint = state.endpoints.get(name)
    if endpoint is None:
        return Response(404, {"error": {"message": "no such endpoint"}})
    wanted = request.headers.get("azureml-model-deployment")
    chosen = wanted or max((endpoint.get("traffic") or {"": 0}).items(), key=lambda item: item[1])[0]
    if (name, chosen) not in state.deployments:
        return Response(404, {"error": {"message": "no deployment has traffic"}})
    answer = state.options.answers.get(chosen)
    if answer is None:
        return Response(503, {"error": {"message": "the model is not ready"}}, {"azureml-model-deployment": chosen})
    response = answer(request)
    response.headers["azureml-model-deployment"] = chosen
    return response


def _accepted(state: State, status: int, name: str, body: Any) -> Response:
    number = str(uuid.uuid4())
    state.operations[number] = Operation(state.options.polls, state.options.failure(name), "endpoint")
    where = f"https://management.azure.com{ROOT}/locations/{REGION}/mfeOperationsStatus/{number}"
    return Response(status, body, {"Azure-AsyncOperation": where, "Location": where})


def endpoint_body(state: State, name: str, properties: dict[str, Any]) -> dict[str, Any]:
    uri = f"{state.scoring}/{name}"
    shown = {k: v for k, v in properties.items() if k != "tags"}
    return {"id": f"{ROOT}/{SCOPE}/onlineEndpoints/{name}", "name": name, "location": REGION, "tags": properties.get("tags") or {}, "kind": None,
            "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints", "identity": {"type": "SystemAssigned"},
            "properties": {**shown, "scoringUri": f"{uri}/score", "swaggerUri": f"{uri}/swagger.json", "provisioningState": "Succeeded"},
            "systemData": system_data()}  # fmt: skip


def deployment_body(name: str, deployment: str, properties: dict[str, Any]) -> dict[str, Any]:
    shown = {k: v for k, v in properties.items() if k not in ("tags", "sku")}
    shown.setdefault("scaleSettings", {"scaleType": "Default"})
    return {"id": f"{ROOT}/{SCOPE}/onlineEndpoints/{name}/deployments/{deployment}", "name": deployment, "location": REGION,
            "tags": properties.get("tags") or {}, "kind": "Managed", "sku": properties.get("sku") or {"name": "Default", "capacity": 1},
            "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments", "properties": shown,
            "systemData": system_data()}  # fmt: skip


def autoscale(state: State, request: Request, name: str) -> Response:
    """Azure Monitor's setting: its target has to be there, and its capacity has to make sense."""
    properties = request.json["properties"]
    match = re.search(r"/onlineEndpoints/([^/]+)/deployments/([^/]+)$", properties["targetResourceUri"])
    if not match or (match[1], match[2]) not in state.deployments:
        return error(404, "ResourceNotFound", f"The target {properties['targetResourceUri']} was not found.")
    capacity = properties["profiles"][0]["capacity"]
    if not int(capacity["minimum"]) <= int(capacity["default"]) <= int(capacity["maximum"]):
        return error(400, "InvalidCapacity", "default has to lie between minimum and maximum")
    state.autoscale[name] = properties
    return Response(201, request.json)


_WORKSPACE = f"/subscriptions/[^/]+/resourceGroups/[^/]+/{PROVIDER}/workspaces/(?P<workspace>[^/]+)"
_ONE = f"{_WORKSPACE}/onlineEndpoints/(?P<name>[^/]+)"
_DEPLOYED = f"{_ONE}/deployments/(?P<deployment>[^/]+)"
ROUTES = [
    ("PUT", _ONE, put_endpoint),
    ("GET", _ONE, get_endpoint),
    ("DELETE", _ONE, delete_endpoint),
    ("GET", f"{_WORKSPACE}/onlineEndpoints", list_endpoints),
    ("POST", f"{_ONE}/listKeys", keys),
    ("PUT", _DEPLOYED, put_deployment),
    ("GET", _DEPLOYED, get_deployment),
    ("DELETE", _DEPLOYED, delete_deployment),
    ("GET", f"{_ONE}/deployments", list_deployments),
    ("POST", f"{_DEPLOYED}/getLogs", logs),
    (
        "PUT",
        "/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Insights/autoscalesettings/(?P<name>[^/]+)",
        autoscale,
    ),
]
