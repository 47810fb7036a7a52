"""Autoscale of a deployment: `autoscale.yaml` beside it, as a setting of Azure Monitor.

Source of the request: Azure Monitor's REST reference, autoscaleSettings 2022-10-01; of the metrics:
learn.microsoft.com, how-to-autoscale-endpoints. Not met by Azure yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem, nearest
from runtime.local.document import Document, load

FIELDS = ("minimum", "maximum", "metric", "above", "below", "window_minutes", "cooldown_minutes")
METRICS = ("CpuUtilizationPercentage", "CpuMemoryUtilizationPercentage", "GpuUtilizationPercentage",
           "GpuMemoryUtilizationPercentage", "DiskUtilization", "RequestsPerMinute")  # fmt: skip
API = "2022-10-01"


def read(file: Path) -> dict[str, Any] | None:
    """The settings beside a deployment file; None where there are none, `BadInput` with all that is wrong."""
    path = file.parent / "autoscale.yaml"
    if not path.is_file():
        return None
    doc = load(path)
    problems = [
        doc.problem((k,), v, "is not a field", nearest(k, FIELDS)) for k, v in doc.data.items() if k not in FIELDS
    ]
    values = {"minimum": 1, "window_minutes": 5, "cooldown_minutes": 5, "metric": METRICS[0], **doc.data}
    problems += _numbers(doc, values)
    if values["metric"] not in METRICS:
        problems.append(
            doc.problem(
                ("metric",), values["metric"], "is no metric of a deployment", nearest(str(values["metric"]), METRICS)
            )
        )
    if problems:
        raise BadInput(problems)
    return values


def _numbers(doc: Document, values: dict[str, Any]) -> list[Problem]:
    names = ("minimum", "maximum", "above", "below", "window_minutes", "cooldown_minutes")
    wrong = [n for n in names if isinstance(values.get(n), bool) or not isinstance(values.get(n), int | float)]
    if wrong:
        return [doc.problem((n,), values.get(n), "is not a number", f"write `{n}: NUMBER`") for n in wrong]
    found = []
    low, high = values["minimum"], values["maximum"]
    if not 0 < low <= high:
        found.append(doc.problem(("maximum",), high, f"is below minimum ({low})", "give more"))
    if values["below"] >= values["above"]:
        todo = "leave room between them, or it goes up and down for ever"
        found.append(doc.problem(("below",), values["below"], f"is not below `above` ({values['above']})", todo))
    return found


def body(values: dict[str, Any], target: str, location: str) -> dict[str, Any]:
    """What Azure Monitor gets for the deployment with the ARM id `target`; a pure function."""

    def rule(direction: str, operator: str, threshold: float) -> dict[str, Any]:
        window = f"PT{values['window_minutes']}M"
        trigger = {"metricName": values["metric"], "metricResourceUri": target, "operator": operator,
                   "threshold": threshold,
                   "timeGrain": "PT1M", "timeWindow": window, "statistic": "Average",
                   "timeAggregation": "Average"}  # fmt: skip
        pause = f"PT{values['cooldown_minutes']}M"
        action = {"direction": direction, "type": "ChangeCount", "value": "1", "cooldown": pause}
        return {"metricTrigger": trigger, "scaleAction": action}

    low, high = str(values["minimum"]), str(values["maximum"])
    rules = [rule("Increase", "GreaterThan", values["above"]), rule("Decrease", "LessThan", values["below"])]
    profile = {"name": "load", "capacity": {"minimum": low, "maximum": high, "default": low}, "rules": rules}
    return {"location": location, "properties": {"enabled": True, "targetResourceUri": target, "profiles": [profile]}}


def apply(ml_client: Any, signed: Any, endpoint: str, deployment: str, values: dict[str, Any]) -> None:
    """Create or replace the setting `<endpoint>-<deployment>`; raises azure-core's errors."""
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
    from azure.core.rest import HttpRequest

    made = ml_client.online_deployments.get(deployment, endpoint)
    location = ml_client.workspaces.get(ml_client.workspace_name).location
    group = f"/subscriptions/{ml_client.subscription_id}/resourceGroups/{ml_client.resource_group_name}"
    base = "https://management.azure.com"
    bearer = BearerTokenCredentialPolicy(signed, f"{base}/.default")
    address = f"{base}{group}/providers/Microsoft.Insights/autoscalesettings/{endpoint}-{deployment}"
    request = HttpRequest("PUT", address, params={"api-version": API}, json=body(values, str(made.id), location))
    PipelineClient(base, policies=[RetryPolicy(), bearer]).send_request(request).raise_for_status()
