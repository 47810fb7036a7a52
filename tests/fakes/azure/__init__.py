"""A stand-in for Azure: Entra ID, ARM, the registry data plane, run history and blob storage, over real TLS.

It is written from the requests and answers of azure-ai-ml 1.35.2 and of the recordings in azure-sdk-for-python, and is
strict where the service is. What it is not: Azure. Whatever depends on its word alone is marked so in the README.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from tests.fakes.azure import assets, blob, certificates, computes, endpoints, faults, jobs, login, workspace
from tests.fakes.azure.state import GROUP, REGISTRIES, SUBSCRIPTION, WORKSPACE, State, error
from tests.fakes.azure.wire import Direct, Proxy, Request, Response, wait

__all__ = ["GROUP", "REGISTRIES", "SUBSCRIPTION", "WORKSPACE", "Azure"]


class Azure:
    """One Azure on a free port of 127.0.0.1; use it as a context."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.mkdtemp(prefix="azure-"))
        self.trusted, served = certificates.make(self._folder)
        self.state = State()
        self.faults = faults.Faults()
        self.requests: list[Request] = []
        self.proxy = Proxy(served, self._answer)
        self.scoring = Direct(served, lambda request: endpoints.score(self.state, request))
        self.state.scoring = self.scoring.url
        self._routes = [
            (m, re.compile(p), f)
            for m, p, f in [*assets.ROUTES, *workspace.ROUTES, *computes.ROUTES, *jobs.ROUTES, *endpoints.ROUTES]
        ]

    def __enter__(self) -> Azure:
        self.proxy.start()
        self.scoring.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.scoring.stop()
        self.proxy.stop()

    @property
    def options(self) -> Any:
        return self.state.options

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a client that takes this for Azure; nothing else is reachable from it."""
        base = {
            k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith(("AZURE", "MLFLOW"))
        }
        return {**base, "HTTPS_PROXY": self.proxy.url, "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "",
                "REQUESTS_CA_BUNDLE": str(self.trusted), "SSL_CERT_FILE": str(self.trusted), "AZURE_TENANT_ID": login.TENANT,
                "AZURE_CLIENT_ID": login.CLIENT, "AZURE_CLIENT_SECRET": login.SECRET, "HOME": str(self._folder),
                "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION, "AZURE_RESOURCE_GROUP": GROUP, "AZURE_ML_WORKSPACE": WORKSPACE,
                **more}  # fmt: skip

    def _answer(self, request: Request) -> Response:
        self.requests.append(request)
        wait(self.options.latency_s)
        fault = self.faults.due(request)
        instead = faults.before(fault)
        response = instead if instead is not None else self._route(request)
        faults.after(fault)
        return response

    def _route(self, request: Request) -> Response:
        if request.host == login.HOST:
            return login.answer(request, self.options.token_lifetime_s)
        if request.host.endswith(".blob.core.windows.net"):
            return blob.answer(self.state, request)
        refused = workspace.unauthorized(request)
        if refused is not None:
            return refused
        path = re.sub(
            r"^/(mferp/managementfrontend|history/v1\.0|mlflow/v1\.0|data/v1\.0|modelregistry/v1\.0)(?=/subscriptions)",
            "",
            request.path,
        )
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(path)
            if method == request.method and match:
                with self.state.lock:
                    return handler(self.state, request, **match.groupdict())
        return error(404, "ResourceNotFound", f"The stand-in knows no {request}")
