"""`ngcrun azureml whoami`: the config with its sources, how one signs in, and as whom."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from runtime.azureml import client
from runtime.azureml.config import FIELDS, Settings


def show(settings: Settings, *, offline: bool) -> int:
    """Print the table; unless `offline`, get a token and say whose it is (nothing of the token itself is shown)."""
    rows = [(name, getattr(settings.config, name), settings.sources[name]) for name in FIELDS]
    rows = [
        (n, v, s) for n, v, s in rows if v not in ({}, None) or n in ("subscription", "resource_group", "workspace")
    ]
    if settings.profile:
        rows.insert(0, ("profile", settings.profile, "chosen"))
    try:
        kind, why = client.chosen_credential(settings)
        rows.append(("signs in by", kind, why))
        rows += [] if offline else _identity(settings)
    finally:  # what is known is of use above all where signing in fails
        _print(rows)
    return 0


def _print(rows: list[tuple[str, Any, str]]) -> None:
    width, middle = max(len(n) for n, *_ in rows), max(len(_shown(v)) for _, v, _ in rows)
    for name, value, source in rows:
        print(f"{name:<{width}}  {_shown(value):<{middle}}  {source if value is not None else ''}".rstrip(), flush=True)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{k}={v}" for k, v in value.items())
    return "not known" if value is None else str(value)


def _identity(settings: Settings) -> list[tuple[str, Any, str]]:
    with client.translated("sign in"):
        token = client.credential(settings).get_token(client.SCOPE)
    claims = claims_of(token.token)
    who = claims.get("upn") or claims.get("unique_name") or claims.get("appid") or claims.get("oid") or "someone"
    minutes = max(0, int((token.expires_on - time.time()) / 60))
    return [("signed in as", who, f"token for {minutes} more minutes, tenant {claims.get('tid', 'unknown')}")]


def claims_of(token: str) -> dict[str, Any]:
    """What a JWT says of its bearer, unverified: it came from the issuer a moment ago. Empty for an opaque token."""
    try:
        payload = token.split(".")[1]
        return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
    except (IndexError, ValueError):
        return {}
