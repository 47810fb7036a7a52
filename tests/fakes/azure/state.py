"""What the stand-in remembers, and how it words an error: one object, guarded by one lock."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.azure.wire import Response

SUBSCRIPTION = "00000000-1111-2222-3333-444444444444"
GROUP = "ml-dev"
WORKSPACE = "ml-dev-ws"
REGISTRIES = ("ml-dev-registry", "ml-prod-registry")
REGION = "eastus"
ACCOUNT = "mldevstorage"
CONTAINER = "azureml-blobstore"
PROVIDER = "providers/Microsoft.MachineLearningServices"
ROOT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/{PROVIDER}"

Key = tuple[str, str, str, str]  # scope ("registries/R" or "workspaces/W"), kind ("components"), name, version


@dataclass
class Asset:
    """One version of a component, environment, model, data or code asset."""

    properties: dict[str, Any]
    visible_at: float = 0.0  # eventual consistency: not found before this moment


@dataclass
class Options:
    """How the service behaves in this test, where nothing is wrong with it.

    `polls`: how often an operation is pending; `retry_after_s`: what its answers ask for (None: nothing, as recorded);
    `consistency_s`: how long a new asset is not found; `fail_late`: operations that fail, by asset name, with their text.
    """

    polls: int = 1
    retry_after_s: int | None = None
    consistency_s: float = 0.0
    fail_late: dict[str, str] = field(default_factory=dict)
    latency_s: float = 0.0
    token_lifetime_s: int = 3600
    job_polls: int = 1
    failing_step: str | None = None
    quota_cores: int = 100
    answers: dict[str, Any] = field(default_factory=dict)  # what a deployment's model answers: Request -> Response

    def failure(self, name: str) -> dict[str, str] | None:
        """The error of an operation that is to fail late, once."""
        text = self.fail_late.pop(name, None)
        return {"code": "UserError", "message": text} if text else None


@dataclass
class State:
    """Everything that Azure would hold."""

    options: Options = field(default_factory=Options)

    assets: dict[Key, Asset] = field(default_factory=dict)
    blobs: dict[tuple[str, str], Blob] = field(default_factory=dict)  # (container, name)
    operations: dict[str, Operation] = field(default_factory=dict)
    computes: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployments: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    created: list[Key] = field(default_factory=list)  # every creation, so that a test sees what was made twice
    autoscale: dict[str, dict[str, Any]] = field(default_factory=dict)
    scoring: str = ""  # where endpoints answer; a real one is https://<name>.<region>.inference.ml.azure.com
    lock: threading.RLock = field(default_factory=threading.RLock)

    def find(self, key: Key) -> Asset | None:
        asset = self.assets.get(key)
        return asset if asset is not None and asset.visible_at <= time.monotonic() else None

    def versions(self, scope: str, kind: str, name: str) -> list[str]:
        return [k[3] for k in self.assets if k[:3] == (scope, kind, name)]


@dataclass
class Blob:
    data: bytes
    metadata: dict[str, str] = field(default_factory=dict)
    etag: str = field(default_factory=lambda: f'"0x{uuid.uuid4().hex[:15].upper()}"')


@dataclass
class Operation:
    """A long-running operation: pending until it was asked for `polls` times, then done or failed."""

    polls: int
    error: dict[str, Any] | None = None
    result: Any = None


def error(status: int, code: str, message: str, **headers: str) -> Response:
    """The body that ARM and the data plane send with an error. Source: recordings of azure-sdk-for-python."""
    body = {
        "error": {
            "code": code,
            "message": message,
            "target": None,
            "details": [],
            "additionalInfo": [{"type": "ComponentName", "info": {"value": "managementfrontend"}}],
        }
    }
    return Response(status, body, {"x-ms-request-id": uuid.uuid4().hex, **headers})


def user_error(message: str, status: int = 400) -> Response:
    return error(status, "UserError", message)


def asset_id(scope: str, kind: str, name: str, version: str) -> str:
    """`azureml://registries/R/...` in a registry, an ARM id in a workspace."""
    if scope.startswith("registries/"):
        return f"azureml://{scope}/{kind}/{name}/versions/{version}"
    return f"{ROOT}/{scope}/{kind}/{name}/versions/{version}"


def system_data() -> dict[str, str]:
    now = time.strftime("%Y-%m-%dT%H:%M:%S.0000000+00:00", time.gmtime())
    return {"createdAt": now, "createdBy": "a stand-in", "createdByType": "User", "lastModifiedAt": now}
