"""`ngcrun azureml endpoint show|logs|traffic|rollback|delete NAME`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.azureml import client, deploy
from runtime.azureml.client import say
from runtime.azureml.config import Settings
from runtime.errors import BadInput

VERBS = ("list", "show", "logs", "traffic", "rollback", "delete")


def run(verb: str, names: Sequence[str], settings: Settings, *, lines: int) -> int:
    """One verb on an endpoint; after its name `logs` and `delete` take a deployment, `traffic` shares (blue=100)."""
    if verb != "list" and not names:
        raise BadInput.of("endpoint", None, f"{verb} needs a name", f"say ngcrun azureml endpoint {verb} NAME")
    _, _, workspace = settings.need("subscription", "resource_group", "workspace")
    target = f"workspace:{workspace}"
    with client.hushed(), client.translated(f"endpoint {' '.join(names)}".strip()):
        ml_client = client.connect(settings, target, client.credential(settings))
        {"list": _list, "show": _show, "traffic": _traffic, "rollback": _rollback, "delete": _delete}.get(
            verb, lambda c, n: _logs(c, n, lines)
        )(ml_client, list(names))
    return 0


def _list(ml_client: Any, _names: list[str]) -> None:
    for endpoint in ml_client.online_endpoints.list():
        say(f"{endpoint.name}  {_shares(endpoint)}  {endpoint.scoring_uri}")


def _shares(endpoint: Any) -> str:
    return " ".join(f"{k}={v}" for k, v in sorted((endpoint.traffic or {}).items())) or "no traffic"


def _show(ml_client: Any, names: list[str]) -> None:
    endpoint = ml_client.online_endpoints.get(names[0])
    say(f"{endpoint.name}: {_shares(endpoint)}")
    say(f"  address  {str(endpoint.scoring_uri).removesuffix('/score')}")
    for made in ml_client.online_deployments.list(names[0]):
        state = getattr(made, "provisioning_state", "") or ""
        say(f"  {made.name}  {made.instance_count} x {made.instance_type}  {state}  {_model(made)}")


def _model(made: Any) -> str:
    return "/".join(str(made.model or "").split("/")[-3::2])


def _logs(ml_client: Any, names: list[str], lines: int) -> None:
    endpoint = ml_client.online_endpoints.get(names[0])
    busiest = max((endpoint.traffic or {"": 0}).items(), key=lambda item: item[1])[0]
    name = names[1] if len(names) > 1 else busiest
    if not name:
        raise BadInput.of(
            "endpoint", names[0], "has no deployment with traffic", "name one: endpoint logs NAME DEPLOYMENT"
        )
    say(str(ml_client.online_deployments.get_logs(name, names[0], lines=lines)).rstrip())


def _traffic(ml_client: Any, names: list[str]) -> None:
    shares = {}
    for word in names[1:]:
        name, _, share = word.partition("=")
        if not share.isdigit():
            raise BadInput.of("traffic", word, "is no share", "write blue=90 green=10")
        shares[name] = int(share)
    if sum(shares.values()) != 100:
        raise BadInput.of(
            "traffic", " ".join(names[1:]), f"sums up to {sum(shares.values())}", "give shares of 100 in all"
        )
    known = [d.name for d in ml_client.online_deployments.list(names[0])]
    missing = [name for name in shares if name not in known]
    if missing:
        raise BadInput.of(
            "traffic", missing[0], f"is no deployment of {names[0]}", f"it has {', '.join(known) or 'none'}"
        )
    deploy.traffic(ml_client, names[0], shares)
    say(f"{names[0]}: {' '.join(f'{k}={v}' for k, v in sorted(shares.items()))}")


def _rollback(ml_client: Any, names: list[str]) -> None:
    """All traffic to the other deployment: the one that has none now, or the one that is named."""
    endpoint = ml_client.online_endpoints.get(names[0])
    known = [d.name for d in ml_client.online_deployments.list(names[0])]
    idle = [n for n in known if not (endpoint.traffic or {}).get(n)]
    wanted = names[1:] or idle
    if len(wanted) != 1 or wanted[0] not in known:
        todo = f"name one: endpoint rollback {names[0]} DEPLOYMENT; it has {', '.join(known) or 'none'}"
        raise BadInput.of("endpoint", names[0], "has not exactly one deployment without traffic", todo)
    deploy.traffic(ml_client, names[0], {wanted[0]: 100})
    say(f"{names[0]}: {wanted[0]}=100")


def _delete(ml_client: Any, names: list[str]) -> None:
    if len(names) > 1:
        ml_client.online_deployments.begin_delete(names[1], names[0]).result()
        say(f"deployment {names[1]} of {names[0]} is gone")
        return
    ml_client.online_endpoints.begin_delete(names[0]).result()
    say(f"endpoint {names[0]} is gone, with its deployments")
