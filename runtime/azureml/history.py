"""What a job is doing: its steps, their logs and figures, over the REST interface that the SDK itself uses.

The SDK has no call for the log of a step that still runs. Source of the addresses: azure-ai-ml 1.35.2 (run history) and
azureml-mlflow 1.62 (MLflow's own REST below the workspace).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ENDED = ("Completed", "Failed", "Canceled", "NotResponding")


@dataclass
class Run:
    """A job or one of its steps, as Azure tells it at one moment."""

    id: str
    name: str
    status: str
    error: str = ""
    logs: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status in ENDED


class History:
    """One workspace's run history; every call is one request, retried by azure-core."""

    def __init__(self, ml_client: Any, signed: Any) -> None:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, HttpLoggingPolicy, RetryPolicy

        workspace = ml_client.workspaces.get(ml_client.workspace_name)
        discovery = str(workspace.discovery_url)
        plain = PipelineClient(discovery, policies=[RetryPolicy()])
        self.base = str(_json(plain, discovery)["api"]).rstrip("/")
        self.scope = (
            f"/subscriptions/{ml_client.subscription_id}/resourceGroups/{ml_client.resource_group_name}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{ml_client.workspace_name}"
        )
        bearer = BearerTokenCredentialPolicy(signed, "https://management.azure.com/.default")
        self.client = PipelineClient(self.base, policies=[RetryPolicy(), bearer, HttpLoggingPolicy()])
        self.plain = plain

    def details(self, name: str) -> Run:
        """One job with the addresses of its logs (they hold a signature: never shown)."""
        return _run(_json(self.client, f"{self.base}/history/v1.0{self.scope}/runs/{name}/details"))

    def steps(self, name: str) -> list[Run]:
        """The steps of a pipeline job; empty for a command job."""
        body = _json(self.client, f"{self.base}/history/v1.0{self.scope}/runs/{name}/children")
        return [_run(row) for row in body.get("value") or []]

    def figures(self, name: str) -> dict[str, float]:
        """The last value of each metric of a run."""
        address = f"{self.base}/mlflow/v1.0{self.scope}/api/2.0/mlflow/runs/get"
        body = _json(self.client, address, {"run_id": name})
        rows = ((body.get("run") or {}).get("data") or {}).get("metrics") or []
        return {str(row["key"]): float(row["value"]) for row in rows}

    def log(self, address: str, start: int) -> bytes:
        """What was added to a log after the first `start` bytes; empty when nothing was."""
        from azure.core.rest import HttpRequest

        response = self.plain.send_request(HttpRequest("GET", address, headers={"x-ms-range": f"bytes={start}-"}))
        if response.status_code in (404, 416):
            return b""
        response.raise_for_status()
        body = bytes(response.read())
        return body[start:] if response.status_code == 200 else body


def _json(client: Any, address: str, query: Mapping[str, str] | None = None) -> Any:
    from azure.core.rest import HttpRequest

    response = client.send_request(HttpRequest("GET", address, params=dict(query or {})))
    response.raise_for_status()
    return response.json()


def _run(row: Mapping[str, Any]) -> Run:
    error = ((row.get("error") or {}).get("error") or {}).get("message") or ""
    name = str(row.get("displayName") or row.get("name") or row["runId"])
    return Run(
        str(row["runId"]),
        name,
        str(row["status"]),
        str(error).splitlines()[0] if error else "",
        row.get("logFiles") or {},
    )
