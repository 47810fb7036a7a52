"""Signing in, the SDK's client, and Azure's complaints in our words. azure.* is imported here, inside functions."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.azureml.config import Settings
from runtime.errors import BadInput, NgcrunError, ToolFailed

POLL_S = 1
SCOPE = "https://management.azure.com/.default"
INSTALL = "pip install 'ngcrun[azureml]'"


def chosen_credential(settings: Settings, environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Which of azure-identity's ways is taken, and why; `auto` decides by what is there and probes no network."""
    wanted = settings.config.credential
    if wanted != "auto":
        return wanted, settings.sources.get("credential", "default")
    if environ.get("AZURE_CLIENT_ID") and (
        environ.get("AZURE_CLIENT_SECRET") or environ.get("AZURE_CLIENT_CERTIFICATE_PATH")
    ):
        return "service_principal", "AZURE_CLIENT_ID and its secret or certificate are set"
    for variable in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT"):
        if environ.get(variable):
            return "managed_identity", f"{variable} is set"
    if shutil.which("az", path=environ.get("PATH")):
        return "cli", "az is on PATH"
    todo = (
        "install the Azure CLI and `az login`, set AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or credential=device_code"
    )
    raise BadInput.of("credential", "auto", "finds no way to sign in to Azure", todo)


def credential(settings: Settings, environ: Mapping[str, str] = os.environ) -> Any:
    """The azure-identity credential of `chosen_credential`, which threads may share; nothing is asked of Azure yet."""
    require()
    from azure import identity

    kind, _ = chosen_credential(settings, environ)
    tenant = {"tenant_id": settings.config.tenant} if settings.config.tenant else {}
    if kind == "service_principal":
        return identity.EnvironmentCredential()
    if kind == "managed_identity":
        client = environ.get("AZURE_CLIENT_ID")
        return identity.ManagedIdentityCredential(**({"client_id": client} if client else {}))
    if kind == "device_code":
        return identity.DeviceCodeCredential(**tenant)
    return identity.AzureCliCredential(**tenant)


def require() -> None:
    """Raise `BadInput` where the SDK is not installed, instead of a traceback."""
    from importlib.util import find_spec

    for name in ("azure.ai.ml", "azure.identity"):
        try:
            there = find_spec(name) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            raise BadInput.of("azureml", name, "is not installed", INSTALL)


def connect(settings: Settings, target: str, signed: Any) -> Any:
    """An `MLClient` for `registry:NAME` or `workspace:NAME`, signed in with the credential `signed`.

    Raises `BadInput` where the place is not there or not ours to see.
    """
    kind, _, name = target.partition(":")
    if kind not in ("registry", "workspace") or not name:
        raise BadInput.of("--to", target, "is no target", "write registry:NAME or workspace:NAME")
    quiet_sdk()
    from azure.ai.ml import MLClient
    from azure.ai.ml.constants import _common

    # A registry's component is asked for every 5 s, whatever `polling_interval` says. Source: azure-ai-ml 1.35.2.
    _common.LROConfigurations.POLL_INTERVAL = POLL_S

    with translated(target):
        if kind == "registry":
            return MLClient(signed, registry_name=name, enable_telemetry=False, polling_interval=POLL_S)
        subscription, group = settings.need("subscription", "resource_group")
        client = MLClient(signed, subscription, group, name, enable_telemetry=False, polling_interval=POLL_S)
        client.workspaces.get(name)
        return client


def quiet_sdk() -> None:
    """The SDK warns of experimental classes and prints its own progress: a user of ours sees ours."""
    warnings.simplefilter("ignore")
    for name in ("azure", "msrest", "azureml", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """While the block runs, what libraries print goes nowhere; ours goes to `sys.__stdout__`."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise our own errors for Azure's: one line, with what to do."""
    try:
        yield
    except NgcrunError:
        raise
    except Exception as error:
        ours = explain(what, error)
        if ours is None:
            raise
        raise ours from error


def explain(what: str, error: BaseException) -> NgcrunError | None:
    """Our error for one of the SDK's; None for what is no error of Azure's, so a bug."""
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import AzureError, ClientAuthenticationError

    text, status = first_sentence(error), getattr(error, "status_code", None)
    if status in _REFUSALS and isinstance(error, AzureError):
        wrong, todo = _REFUSALS[status]
        return BadInput.of("azure", what, f"{wrong} ({text})", todo)
    if isinstance(error, ClientAuthenticationError) or (status == 401 and isinstance(error, AzureError)):
        return BadInput.of("credential", what, f"Azure does not accept it ({text})", "sign in again: az login")
    if isinstance(error, MlException) or type(error).__module__.startswith("marshmallow"):
        return BadInput.of("azure", what, text, "mend what it names")
    if isinstance(error, AzureError):
        answer = f"Azure answered {status}" if status else "no answer from Azure"
        return ToolFailed(f"{what}: {answer} ({text}); run the same command again, it goes on")
    return None


_REFUSED = ("was refused by the service", "mend what it names, and try again")
_REFUSALS = {
    403: ("you may not do this", "ask for the role AzureML Data Scientist (or AzureML Registry User) there"),
    404: ("does not exist", "look at the name; `ngcrun azureml whoami` shows where"),
    **dict.fromkeys((400, 409, 412, 422), _REFUSED),
}


def first_sentence(error: BaseException) -> str:
    """The first line of an SDK error, without colours and its code's repetition, shortened."""
    import re

    text = re.sub(r"\x1b\[[0-9;]*m", "", str(getattr(error, "message", None) or error)).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    return lines[0][:300].rstrip(". ")


def say(text: str = "", *, error: bool = False) -> None:
    """A line of ours, also while the libraries are hushed."""
    stream = sys.__stderr__ if error else sys.__stdout__
    assert stream is not None  # noqa: S101 - a program with a screen; narrows for mypy
    stream.write(f"{text}\n")  # in one piece: several threads speak
    stream.flush()
