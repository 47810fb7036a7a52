"""Microsoft Entra ID as far as azure-identity asks it: discovery and a token for a client secret."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import parse_qs

from tests.fakes.azure.wire import Request, Response

TENANT = "11111111-1111-1111-1111-111111111111"
CLIENT = "22222222-2222-2222-2222-222222222222"
SECRET = "a-made-up-secret"  # noqa: S105 - the stand-in's own
HOST = "login.microsoftonline.com"


def token(audience: str, lifetime_s: int, *, issued: float | None = None) -> str:
    """An unsigned JWT with the claims that the SDK reads."""
    now = int(issued if issued is not None else time.time())
    claims = {"aud": audience, "iss": f"https://sts.windows.net/{TENANT}/", "tid": TENANT, "oid": CLIENT, "appid": CLIENT,
              "iat": now, "nbf": now, "exp": now + lifetime_s, "upn": "founder@example.com"}  # fmt: skip
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    words = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return ".".join([*words, "c2lnbmF0dXJl"])


def claims_of(bearer: str) -> dict[str, object]:
    payload = bearer.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


def answer(request: Request, lifetime_s: int) -> Response:
    """The tenant's discovery document, the cloud's instances, or a token."""
    base = f"https://{HOST}/{TENANT}"
    if request.path.endswith("/.well-known/openid-configuration"):
        return Response(200, {"issuer": f"{base}/v2.0", "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                              "token_endpoint": f"{base}/oauth2/v2.0/token", "tenant_region_scope": "NA"})  # fmt: skip
    if request.path.endswith("/discovery/instance"):
        cloud = {"preferred_network": HOST, "preferred_cache": HOST, "aliases": [HOST]}
        return Response(200, {"tenant_discovery_endpoint": f"{base}/v2.0/.well-known/openid-configuration",
                              "api-version": "1.1", "metadata": [cloud]})  # fmt: skip
    form = {k: v[0] for k, v in parse_qs(request.body.decode()).items()}
    if form.get("client_secret") != SECRET or form.get("client_id") != CLIENT:
        wrong = "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the secret value."
        return Response(401, {"error": "invalid_client", "error_description": wrong, "error_codes": [7000215]})
    audience = form["scope"].split("/.default")[0]
    made = token(audience, lifetime_s)
    return Response(200, {"token_type": "Bearer", "expires_in": lifetime_s, "ext_expires_in": lifetime_s,
                          "access_token": made})  # fmt: skip
