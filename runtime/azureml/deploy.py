"""`ngcrun azureml deploy FILE`: a new deployment beside the old one, asked golden questions, then given the traffic.

The old deployment keeps the traffic until the new one has answered; whatever fails leaves the endpoint as it was.
Source of the procedure: learn.microsoft.com, how-to-safely-rollout-online-endpoints.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from runtime.azureml import autoscale, client, compute, models
from runtime.azureml.client import say
from runtime.azureml.config import Settings
from runtime.errors import BadInput, NgcrunError, ToolFailed
from runtime.local.document import load

COLOURS = ("blue", "green")
LOG_LINES = 50


@dataclass(frozen=True)
class Asked:
    """The flags of `deploy`. `model`: see models.py; `traffic`: percent that the new deployment ends with."""

    file: Path
    model: str | None = None
    name: str | None = None
    traffic: int = 100
    repository: Path | None = None
    golden: Path | None = None
    keep_failed: bool = False
    delete_old: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Plan:
    """What a deploy will do, decided before anything is changed."""

    endpoint: str
    deployment: str
    instance_type: str
    instance_count: int
    model: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    makes_endpoint: bool


def plan(asked: Asked, spec: Mapping[str, Any], model: str, there: Mapping[str, int] | None, known: list[str]) -> Plan:
    """The plan; a pure function of the file, the flags and what the endpoint has.

    Args:
        asked: the flags.
        spec: the deployment YAML.
        model: the model that will be served, as the SDK takes it.
        there: the endpoint's traffic, None where there is no endpoint yet.
        known: the deployments that it has.
    """
    before = {k: v for k, v in (there or {}).items() if v}
    name = asked.name or next((c for c in COLOURS if c not in before), COLOURS[0])
    if before.get(name):
        todo = "leave out --name, or name another one"
        raise BadInput.of("--name", name, f"serves {before[name]} percent of the traffic now", todo)
    share = asked.traffic if before else 100
    rest = {k: v * (100 - share) // max(1, sum(before.values())) for k, v in before.items()}
    after = {name: 100 - sum(rest.values()), **rest} if asked.traffic else dict(before)
    return Plan(str(spec["endpoint_name"]), name, str(spec["instance_type"]), int(spec.get("instance_count", 1)), model,
                before, {k: v for k, v in after.items() if v}, there is None)  # fmt: skip


def text(made: Plan) -> str:
    """The plan for the screen."""
    verb = "make endpoint" if made.makes_endpoint else "endpoint"
    lines = [f"{verb} {made.endpoint}: deployment {made.deployment}, {made.instance_count} x {made.instance_type}"]
    lines.append(f"  model    {made.model}")
    lines.append(f"  traffic  {_shares(made.before)} -> {_shares(made.after)}")
    return "\n".join(lines)


def _shares(traffic: Mapping[str, int]) -> str:
    return " ".join(f"{name}={share}" for name, share in sorted(traffic.items())) or "none"


def command(asked: Asked, settings: Settings) -> int:
    """Plan, create, ask, shift; returns 0, or raises with the endpoint as it was."""
    spec, scale = _read(asked), autoscale.read(asked.file)
    _, _, workspace = settings.need("subscription", "resource_group", "workspace")
    target = f"workspace:{workspace}"
    with client.hushed(), client.translated(target):
        signed = client.credential(settings)
        ml_client = client.connect(settings, target, signed)
        there = _endpoint(ml_client, str(spec["endpoint_name"]))
        known = [d.name for d in ml_client.online_deployments.list(spec["endpoint_name"])] if there else []
        model = asked.model or str(spec.get("model") or "")
        traffic = dict(there.traffic or {}) if there else None
        made = plan(asked, spec, models.shown(model), traffic, known)
    say(text(made))
    _engines_fit(model, asked, made)
    if asked.dry_run:
        return 0
    with client.hushed(), client.translated(f"endpoint {made.endpoint}"):
        served = models.register(ml_client, model, asked.file.parent)
        if there is None:
            _make_endpoint(ml_client, made.endpoint, asked.file.parent)
        _create(ml_client, made, asked, served)
        _check(ml_client, made, asked)
        if scale is not None:
            autoscale.apply(ml_client, signed, made.endpoint, made.deployment, scale)
            say(f"autoscale: {scale['minimum']} to {scale['maximum']} instances by {scale['metric']}")
        _shift(ml_client, made, asked)
        if asked.delete_old:
            for name in made.before:
                if not made.after.get(name):
                    ml_client.online_deployments.begin_delete(name, made.endpoint).result()
                    say(f"deployment {name} is gone")
    say(f"endpoint {made.endpoint}: {_shares(made.after)}")
    return 0


def _engines_fit(model: str, asked: Asked, made: Plan) -> None:
    """Refuse a TensorRT engine for another GPU than the instances have, where the repository is here to be read."""
    from runtime.triton import engine_card

    folders = [Path(model), asked.file.parent / model] if model else []
    folder = asked.repository or next((path for path in folders if path.is_dir()), None)
    if folder is None:
        return
    problems = engine_card.repository_problems(folder, engine_card.capability(made.instance_type), "--model")
    if problems:
        raise BadInput(problems)


def _read(asked: Asked) -> Mapping[str, Any]:
    """The deployment YAML, with what can be known to be wrong with it."""
    doc = load(asked.file)
    for field in ("endpoint_name", "instance_type"):
        if not doc.data.get(field):
            raise BadInput([doc.problem((field,), doc.data.get(field), "is missing", f"add `{field}:`")])
    compute.check_size(str(doc.data["instance_type"]), f"{asked.file.name}: instance_type")
    if not asked.model and not doc.data.get("model"):
        raise BadInput([doc.problem(("model",), None, "is missing", "add `model:`, or say --model")])
    if not 0 <= asked.traffic <= 100:
        raise BadInput.of("--traffic", asked.traffic, "is no percentage", "give 0 to 100")
    if (asked.golden is None) != (asked.repository is None):
        raise BadInput.of(
            "--golden", asked.golden, "needs --repository beside it", "give both outputs of triton_package"
        )
    if asked.golden is not None and find_spec("tritonclient") is None:
        raise BadInput.of("--golden", asked.golden, "needs Triton's client", "pip install 'ngcrun[azureml,triton]'")
    return doc.data  # type: ignore[no-any-return]


def _endpoint(ml_client: Any, name: str) -> Any:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return ml_client.online_endpoints.get(name)
    except ResourceNotFoundError:
        return None


def _make_endpoint(ml_client: Any, name: str, folder: Path) -> None:
    from azure.ai.ml import load_online_endpoint
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    file = folder / "endpoint.yaml"
    endpoint = load_online_endpoint(str(file)) if file.is_file() else ManagedOnlineEndpoint(name=name, auth_mode="key")
    ml_client.online_endpoints.begin_create_or_update(endpoint).result()
    say(f"endpoint {name} is there")


def _create(ml_client: Any, made: Plan, asked: Asked, served: str) -> None:
    """Create the deployment without traffic; one that does not get ready is removed, with its last words shown."""
    from azure.ai.ml import load_online_deployment

    changes = [{"name": made.deployment}, {"model": served}]
    deployment = load_online_deployment(str(asked.file), params_override=changes)
    try:
        ml_client.online_deployments.begin_create_or_update(deployment).result()
    except Exception as error:
        reason = client.explain(f"deployment {made.deployment}", error)
        if reason is None:
            raise
        raise _given_up(ml_client, made, asked, reason) from error
    say(f"deployment {made.deployment} is ready")


def _given_up(ml_client: Any, made: Plan, asked: Asked, reason: NgcrunError) -> ToolFailed:
    """Remove the deployment that failed; the error to raise, with its log's last lines."""
    last = ""
    with contextlib.suppress(Exception):  # its log is an extra: the reason is what counts
        last = str(ml_client.online_deployments.get_logs(made.deployment, made.endpoint, lines=LOG_LINES))
    removed = "it was kept"
    if not asked.keep_failed:
        removed = "it could not be removed"
        with contextlib.suppress(Exception):  # said so; the next deploy takes its place
            ml_client.online_deployments.begin_delete(made.deployment, made.endpoint).result()
            removed = "it was removed"
    traffic = f"the traffic is as before ({_shares(made.before)})"
    what = reason.lines()[0]
    return ToolFailed(
        f"endpoint {made.endpoint}: deployment {made.deployment} failed, {removed}, {traffic}: {what}", tail=last
    )


def _check(ml_client: Any, made: Plan, asked: Asked) -> None:
    """Ask the new deployment the golden questions, past the traffic split; raises after removing it if it fails."""
    wrong = _golden(ml_client, made.endpoint, asked, made.deployment)
    if wrong:
        raise _given_up(ml_client, made, asked, ToolFailed(f"the golden requests failed: {wrong}"))
    if asked.golden is not None:
        say(f"deployment {made.deployment} answers the golden requests as the model does")


def _golden(ml_client: Any, endpoint: str, asked: Asked, deployment: str) -> str:
    """What `triton_verify` says of the endpoint, empty where all is well; no deployment: through the front door."""
    if asked.golden is None or asked.repository is None:
        return ""
    with tempfile.TemporaryDirectory(prefix="ngcrun-") as folder:
        words = {"repository": asked.repository, "golden": asked.golden, "url": _address(ml_client, endpoint),
                 "report": Path(folder) / "report"}  # fmt: skip
        key = ml_client.online_endpoints.get_keys(endpoint).primary_key
        env = {**os.environ, "TRITON_TOKEN": key, "TRITON_DEPLOYMENT": deployment}
        argv = [sys.executable, "-m", "runtime.triton.verify", *(f"--{n}={v}" for n, v in words.items())]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("  | ")] or ["no word"]
    return "" if done.returncode == 0 else lines[-1]


def _address(ml_client: Any, endpoint: str) -> str:
    """Where Triton's own protocol is: the scoring address without its `/score`."""
    return str(ml_client.online_endpoints.get(endpoint).scoring_uri).removesuffix("/score").rstrip("/")


def _shift(ml_client: Any, made: Plan, asked: Asked) -> None:
    """Give the traffic over; asked again through the front door, and given back where that fails."""
    if dict(made.after) == dict(made.before):
        return
    traffic(ml_client, made.endpoint, made.after)
    say(f"traffic: {_shares(made.before)} -> {_shares(made.after)}")
    wrong = _golden(ml_client, made.endpoint, asked, "") if made.after == {made.deployment: 100} else ""
    if wrong:
        traffic(ml_client, made.endpoint, made.before)
        raise _given_up(
            ml_client, made, asked, ToolFailed(f"the golden requests failed with the traffic on it: {wrong}")
        )


def traffic(ml_client: Any, name: str, shares: Mapping[str, int]) -> None:
    """Set the traffic of an endpoint."""
    endpoint = ml_client.online_endpoints.get(name)
    endpoint.traffic = dict(shares)
    ml_client.online_endpoints.begin_create_or_update(endpoint).result()
