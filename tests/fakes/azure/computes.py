"""Compute clusters: a size that exists, a quota that is kept, creation that takes a while."""

from __future__ import annotations

import uuid
from typing import Any

from tests.fakes.azure.state import REGION, ROOT, Operation, State, error
from tests.fakes.azure.wire import Request, Response

# Cores of the sizes that the stand-in's region has. Source: learn.microsoft.com, GPU sizes.
SIZES = {
    "Standard_NC4as_T4_v3": 4, "Standard_NC16as_T4_v3": 16, "Standard_NC64as_T4_v3": 64, "Standard_NV36ads_A10_v5": 36,
    "Standard_NC24ads_A100_v4": 24, "Standard_NC48ads_A100_v4": 48, "Standard_NC96ads_A100_v4": 96,
    "Standard_ND96amsr_A100_v4": 96, "Standard_NC40ads_H100_v5": 40, "Standard_NC80adis_H100_v5": 80,
    "Standard_ND96isr_H100_v5": 96, "Standard_ND96isr_H200_v5": 96, "Standard_D4s_v5": 4, "Standard_E16s_v5": 16,
}  # fmt: skip
_FIELDS = {"computeType", "computeLocation", "description", "disableLocalAuth", "properties", "resourceId"}
_INNER = {
    "vmSize", "vmPriority", "scaleSettings", "subnet", "userAccountCredentials", "remoteLoginPortPublicAccess", "osType",
    "enableNodePublicIp", "isolatedNetwork", "virtualMachineImage", "propertyBag",
}  # fmt: skip


def put(state: State, request: Request, workspace: str, name: str) -> Response:
    properties = (request.json or {}).get("properties") or {}
    inner = properties.get("properties") or {}
    unknown = sorted({*(set(properties) - _FIELDS), *(set(inner) - _INNER)})
    if unknown:
        return error(400, "BadRequest", f"The request is invalid: unknown field {unknown[0]} in compute {name}.")
    size = str(inner.get("vmSize", ""))
    known = {s.lower(): (s, cores) for s, cores in SIZES.items()}
    if size.lower() not in known:
        return error(400, "InvalidVmSize", f"STANDARD size {size} is not supported in region {REGION}.")
    nodes = int((inner.get("scaleSettings") or {}).get("maxNodeCount", 0))
    cores = known[size.lower()][1] * nodes
    if cores > state.options.quota_cores:
        text = f"Requested {cores} cores exceed the quota of {state.options.quota_cores} for the family of {size}."
        return error(400, "ClusterCoreQuotaReached", text)
    there = state.computes.get(name)
    if there is None:
        state.created.append((f"workspaces/{workspace}", "computes", name, ""))
    state.computes[name] = properties | {"provisioningState": "Succeeded", "computeLocation": REGION}
    number = str(uuid.uuid4())
    state.operations[number] = Operation(state.options.polls, state.options.failure(name), "compute")
    where = f"https://management.azure.com{ROOT}/locations/{REGION}/computeOperationsStatus/{number}"
    return Response(
        201 if there is None else 200, body_of(workspace, name, state.computes[name]), {"Azure-AsyncOperation": where}
    )


def status(state: State, _: Request, number: str) -> Response:
    found = state.operations.get(number)
    if found is None:
        return error(404, "NotFound", "no such operation")
    if found.polls > 0:
        found.polls -= 1
        return Response(200, {"status": "InProgress"}, {"Retry-After": "1"})
    if found.error:
        return Response(200, {"status": "Failed", "error": found.error})
    return Response(200, {"status": "Succeeded"})


def get(state: State, _: Request, workspace: str, name: str) -> Response:
    if name not in state.computes:
        return error(404, "ComputeNotFound", f"Compute {name} was not found in workspace {workspace}.")
    return Response(200, body_of(workspace, name, state.computes[name]))


def listed(state: State, _: Request, workspace: str) -> Response:
    return Response(200, {"value": [body_of(workspace, n, c) for n, c in state.computes.items()]})


def delete(state: State, _: Request, workspace: str, name: str) -> Response:
    if state.computes.pop(name, None) is None:
        return error(404, "ComputeNotFound", f"Compute {name} was not found in workspace {workspace}.")
    return Response(200, None)


def sizes(_: State, __: Request) -> Response:
    rows = [{"name": name, "vCPUs": cores, "supportedComputeTypes": ["AmlCompute"]} for name, cores in SIZES.items()]
    return Response(200, {"value": rows})


def body_of(workspace: str, name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"{ROOT}/workspaces/{workspace}/computes/{name}", "name": name, "location": REGION, "tags": {},
            "type": "Microsoft.MachineLearningServices/workspaces/computes", "properties": properties}  # fmt: skip


_WORKSPACE = "/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.MachineLearningServices/workspaces/(?P<workspace>[^/]+)"
_PROVIDER = "/subscriptions/[^/]+(?:/resourceGroups/[^/]+)?/providers/Microsoft.MachineLearningServices"
ROUTES = [
    ("PUT", f"{_WORKSPACE}/computes/(?P<name>[^/]+)", put),
    ("GET", f"{_WORKSPACE}/computes/(?P<name>[^/]+)", get),
    ("GET", f"{_WORKSPACE}/computes", listed),
    ("DELETE", f"{_WORKSPACE}/computes/(?P<name>[^/]+)", delete),
    ("GET", f"{_PROVIDER}/locations/[^/]+/(?:computeOperationsStatus|mfeOperationsStatus)/(?P<number>[^/]+)", status),
    ("GET", f"{_PROVIDER}/locations/[^/]+/vmSizes", sizes),
]
