"""Jobs: checked when they are sent, then queued, run and ended, a step further each time that they are asked for."""

from __future__ import annotations

import re
import time
from typing import Any

from tests.fakes.azure import rules
from tests.fakes.azure.state import (
    ACCOUNT,
    CONTAINER,
    PROVIDER,
    REGION,
    ROOT,
    WORKSPACE,
    Blob,
    State,
    error,
    system_data,
    user_error,
)
from tests.fakes.azure.wire import Request, Response

LIFE = ("NotStarted", "Preparing", "Queued", "Running")
ENDED = ("Completed", "Failed", "Canceled")
SCOPE = f"workspaces/{WORKSPACE}"
_FIELDS = {
    "displayName", "tags", "description", "properties", "experimentName", "jobs", "isArchived", "inputs", "outputs", "settings",
    "jobType", "computeId", "identity", "services", "componentId", "sourceJobId", "notificationSetting", "command", "environmentId",
    "codeId", "resources", "distribution", "environmentVariables", "limits", "queueSettings", "parameters",
}  # fmt: skip
SAS = "sv=2024-11-04&sr=b&sp=r&sig=a-made-up-signature"


def put(state: State, request: Request, workspace: str, name: str) -> Response:
    """A new job, or the same once more (a client that lost the answer sends it again)."""
    properties = (request.json or {}).get("properties") or {}
    unknown = sorted(set(properties) - _FIELDS)
    if unknown:
        return user_error(f"The request is invalid: unknown field {unknown[0]} in job {name}.")
    there = state.jobs.get(name)
    if there is not None:
        if there["sent"] != properties:
            return error(409, "Conflict", f"A job with the name {name} already exists with other content.")
        return Response(200, body_of(name, there))
    refused = _check(state, properties, name)
    if refused is not None:
        return refused
    state.created.append((f"workspaces/{workspace}", "jobs", name, ""))
    state.jobs[name] = {"sent": properties, "asked": 0, "status": LIFE[0], "began": time.time(), "parent": None}
    for step, job in (properties.get("jobs") or {}).items():
        child = {
            "sent": {"displayName": step, **job},
            "asked": 0,
            "status": LIFE[0],
            "began": time.time(),
            "parent": name,
        }
        state.jobs[f"{name}-{step}"] = child
    return Response(201, body_of(name, state.jobs[name]))


def _check(state: State, properties: dict[str, Any], name: str) -> Response | None:
    computes = [(properties.get("settings") or {}).get("default_compute"), properties.get("computeId")]
    computes += [job.get("computeId") for job in (properties.get("jobs") or {}).values()]
    for text in computes:
        target = str(text or "").rpartition("/computes/")[2]
        if text and target not in state.computes:
            return user_error(f"Compute target {target} was not found in workspace {WORKSPACE}.")
    for step, job in (properties.get("jobs") or {}).items():
        missing = rules.reference(state, SCOPE, rules.component_id(job))
        if missing:
            return user_error(f"Job {name}, step {step}: {missing}")
    for port, given in (properties.get("inputs") or {}).items():
        uri = str(given.get("uri") or "")
        prefix = uri.partition("/paths/")[2].rstrip("/")
        if uri.startswith("azureml://datastores") and not any(
            b.startswith(prefix) for c, b in state.blobs if c == CONTAINER
        ):
            return user_error(f"Job {name}, input {port}: nothing is at {uri}.")
    return rules.bindings(state, name, properties.get("inputs") or {}, properties.get("jobs") or {})


def get(state: State, _: Request, workspace: str, name: str) -> Response:
    job = state.jobs.get(name)
    if job is None:
        return error(404, "UserError", f"Job {name} was not found in workspace {workspace}.")
    _go_on(state, name)
    return Response(200, body_of(name, job))


def _go_on(state: State, name: str) -> None:
    """One step further in the life of a root job; its steps end one after the other while it runs."""
    job = state.jobs[name]
    if job["parent"] or job["status"] in ENDED:
        return
    job["asked"] += 1
    if job["asked"] % max(1, state.options.job_polls):
        return
    if job["status"] != LIFE[-1]:
        job["status"] = LIFE[LIFE.index(job["status"]) + 1]
        return
    children = [n for n, j in state.jobs.items() if j["parent"] == name]
    for child in children:
        if state.jobs[child]["status"] not in ENDED:
            _run_step(state, child)
            if state.jobs[child]["status"] == "Failed":
                break
            return
    failed = any(state.jobs[c]["status"] == "Failed" for c in children)
    job["status"] = "Failed" if failed else "Completed"


def _run_step(state: State, child: str) -> None:
    job = state.jobs[child]
    step = job["sent"]["displayName"]
    if job["status"] != "Running":
        job["status"] = "Running"
        _log(state, child, f"{step}: begins\n")
        return
    failed = step == state.options.failing_step
    _log(state, child, f"{step}: {'CUDA out of memory' if failed else 'done'}\n")
    job["status"] = "Failed" if failed else "Completed"
    job["metrics"] = {"loss": 0.25, "accuracy": 0.875}
    for port in () if failed else _outputs(state, child):
        state.blobs[(CONTAINER, f"azureml/{child}/{port}/data.txt")] = Blob(f"{step} wrote {port}\n".encode())


def _outputs(state: State, name: str) -> dict[str, str]:
    """The outputs of a step, or of a pipeline, and the folder that each lies in."""
    job = state.jobs[name]
    if job["parent"]:
        spec = rules.spec_of(state, rules.component_id(job["sent"])) or {}
        return {port: f"azureml/{name}/{port}" for port in spec.get("outputs") or {}}
    found = {}
    for step, sent in (job["sent"].get("jobs") or {}).items():
        for port, bound in (sent.get("outputs") or {}).items():
            match = re.fullmatch(r"\$\{\{parent\.outputs\.(\w+)\}\}", str(bound.get("value")))
            if match:
                found[match[1]] = f"azureml/{name}-{step}/{port}"
    return found


def run_data(state: State, request: Request, workspace: str) -> Response:
    """What a run wrote, by asset id; the addresses behind the ids are asked for with `resolved`."""
    name = request.json["runId"]
    if name not in state.jobs:
        return error(404, "UserError", f"Run {name} was not found.")
    outputs = {p: {"assetId": f"azureml://locations/{REGION}/workspaces/ws-1/data/{place}", "type": "uri_folder"}
               for p, place in _outputs(state, name).items() if any(b.startswith(place) for _, b in state.blobs)}  # fmt: skip
    return Response(200, {"runMetadata": {**_run(name, state.jobs[name]), "outputs": outputs}})


def resolved(_: State, request: Request, workspace: str) -> Response:
    ids = request.json["values"]
    group = ROOT.partition("/providers/")[0]
    store = f"azureml:/{group}/workspaces/{workspace}/datastores/workspaceblobstore/paths/"
    places = {i: {"uri": store + i.partition("/data/")[2] + "/", "type": "uri_folder"} for i in ids}
    return Response(200, {"values": places})


def mlflow_run(state: State, request: Request, workspace: str) -> Response:
    """MLflow's `runs/get` of a job: its figures."""
    job = state.jobs.get(request.query.get("run_id", ""))
    if job is None:
        return Response(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"})
    metrics = [{"key": k, "value": v, "timestamp": 0, "step": 1} for k, v in (job.get("metrics") or {}).items()]
    return Response(200, {"run": {"info": {"run_id": request.query["run_id"]}, "data": {"metrics": metrics}}})


def _log(state: State, name: str, text: str) -> None:
    key = ("azureml", f"ExperimentRun/dcid.{name}/user_logs/std_log.txt")
    blob = state.blobs.setdefault(key, Blob(b""))
    blob.data += text.encode()


def listed(state: State, _: Request, workspace: str) -> Response:
    return Response(200, {"value": [body_of(n, j) for n, j in state.jobs.items() if not j["parent"]]})


def cancel(state: State, _: Request, workspace: str, name: str) -> Response:
    if name not in state.jobs:
        return error(404, "UserError", f"Job {name} was not found in workspace {workspace}.")
    for other, job in state.jobs.items():
        if name in (other, job["parent"]) and job["status"] not in ENDED:
            job["status"] = "Canceled"
    return Response(200, None)


def _as_command(step: dict[str, Any]) -> dict[str, Any]:
    """A step of a pipeline as the job that it is by itself."""
    return {"jobType": "Command", "displayName": step["displayName"], "experimentName": "e", "command": "true", "tags": {},
            "properties": {}, "environmentId": f"{ROOT}/{SCOPE}/environments/e/versions/1", "componentId": rules.component_id(step),
            "inputs": {}, "outputs": {}}  # fmt: skip


def body_of(name: str, job: dict[str, Any]) -> dict[str, Any]:
    studio = f"https://ml.azure.com/runs/{name}?wsid={ROOT}/workspaces/{WORKSPACE}&tid=t"
    services = {"Studio": {"jobServiceType": "Studio", "endpoint": studio, "status": None},
                "Tracking": {"jobServiceType": "Tracking", "endpoint": f"azureml://{REGION}.api.azureml.ms/mlflow/v1.0{ROOT}"}}  # fmt: skip
    sent = _as_command(job["sent"]) if job["parent"] else job["sent"]
    properties = {**sent, "status": job["status"], "services": services}
    return {"id": f"{ROOT}/workspaces/{WORKSPACE}/jobs/{name}", "name": name, "properties": properties,
            "type": "Microsoft.MachineLearningServices/workspaces/jobs", "systemData": system_data()}  # fmt: skip


def children(state: State, _: Request, workspace: str, name: str) -> Response:
    rows = [_run(n, j) for n, j in state.jobs.items() if j["parent"] == name]
    return Response(200, {"value": rows})


def details(state: State, _: Request, workspace: str, name: str) -> Response:
    if name not in state.jobs:
        return error(404, "UserError", f"Run {name} was not found.")
    _go_on(state, name)
    logs = {b.partition(f"dcid.{name}/")[2]: f"https://{ACCOUNT}.blob.core.windows.net/azureml/{b}?{SAS}"
            for c, b in state.blobs if c == "azureml" and f"/dcid.{name}/" in b}  # fmt: skip
    return Response(200, _run(name, state.jobs[name]) | {"logFiles": logs})


def _run(name: str, job: dict[str, Any]) -> dict[str, Any]:
    ended = job["status"] in ENDED
    message = (
        {"error": {"code": "UserError", "message": "Execution failed. CUDA out of memory"}}
        if job["status"] == "Failed"
        else None
    )
    return {"runId": name, "rootRunId": job["parent"] or name, "parentRunId": job["parent"], "status": job["status"],
            "displayName": job["sent"].get("displayName"), "name": job["sent"].get("displayName"), "experimentId": "e-1",
            "runType": "azureml.StepRun" if job["parent"] else "azureml.PipelineRun", "properties": {}, "tags": {},
            "startTimeUtc": "2026-11-26T20:00:00Z", "endTimeUtc": "2026-11-26T20:01:00Z" if ended else None, "error": message,
            "target": "gpu-cluster", "dataContainerId": f"dcid.{name}"}  # fmt: skip


_WORKSPACE = f"/subscriptions/[^/]+/resourceGroups/[^/]+/{PROVIDER}/workspaces/(?P<workspace>[^/]+)"
_EXPERIMENT = "(?:/experiments/[^/]+|/experimentids/[^/]+)?"
ROUTES = [
    ("PUT", f"{_WORKSPACE}/jobs/(?P<name>[^/]+)", put),
    ("GET", f"{_WORKSPACE}/jobs/(?P<name>[^/]+)", get),
    ("GET", f"{_WORKSPACE}/jobs", listed),
    ("POST", f"{_WORKSPACE}/jobs/(?P<name>[^/]+)/cancel", cancel),
    ("GET", f"{_WORKSPACE}{_EXPERIMENT}/runs/(?P<name>[^/]+)/children", children),
    ("GET", f"{_WORKSPACE}{_EXPERIMENT}/runs/(?P<name>[^/]+)/details", details),
    ("POST", f"{_WORKSPACE}/rundata", run_data),
    ("POST", f"{_WORKSPACE}/dataversion/batchGetResolvedUris", resolved),
    ("GET", f"{_WORKSPACE}/api/2.0/mlflow/runs/get", mlflow_run),
]
