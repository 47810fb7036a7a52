"""What a container registry says of a tag: its digest, asked over HTTP as docker asks it, without pulling anything.

Source: OCI distribution-spec 1.1 (HEAD of a manifest, Docker-Content-Digest); docs.docker.com/reference/api/registry/
auth (401, WWW-Authenticate, a token from the realm, the question again).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from runtime import __version__
from runtime.data import web
from runtime.errors import BadInput, ToolFailed
from runtime.images import DIGEST

MANIFESTS = ", ".join((
    "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
))  # fmt: skip
NGC = "nvcr.io"
NGC_KEY = "NGC_API_KEY"
HUB = {"docker.io": "registry-1.docker.io"}  # where Docker Hub answers; its login is kept under index.docker.io
_LOGINS = {"docker.io": "https://index.docker.io/v1/"}
_LOOPBACK = ("127.0.0.1", "localhost")
TRIES = 4
_SECOND = 1.0


@dataclass(frozen=True)
class Answer:
    """One answer of a registry, whatever its status."""

    status: int
    headers: Message
    body: bytes = b""


def digest_of(image: str, tag: str, *, timeout_s: float = 30.0) -> str:
    """The digest that a tag stands for now, `sha256:...`.

    Raises:
        BadInput: the registry has no such tag, or wants a login that is not there.
        ToolFailed: it does not answer, or answers what no registry should.
    """
    host, _, repository = image.partition("/")
    where = f"{_base(host)}/v2/{repository}/manifests/{tag}"
    shown = f"{image}:{tag}"
    secret = ""
    for method in ("HEAD", "GET"):  # a registry need not tell the digest; it is that of the manifest's bytes
        answer = _ask(where, method, secret, timeout_s)
        if answer.status == 401 and not secret:
            secret = _token(host, repository, answer, timeout_s)
            answer = _ask(where, method, secret, timeout_s)
        if answer.status != 200:
            raise _refused(shown, host, answer.status)
        digest = answer.headers.get("Docker-Content-Digest", "")
        if method == "GET" and not digest:
            digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if digest:
            break
    if not DIGEST.fullmatch(digest):
        raise ToolFailed(f"{host}: gives {digest!r} as the digest of {shown}, which is none")
    return digest


def _base(host: str) -> str:
    """Plain HTTP is for this machine alone, as with docker."""
    scheme = "http" if host.partition(":")[0] in _LOOPBACK else "https"
    return f"{scheme}://{HUB.get(host, host)}"


def _ask(url: str, method: str, secret: str, timeout_s: float) -> Answer:
    """One question; what passes (429, 503, a lost connection) is asked again after the time that the answer names."""
    for attempt in range(1, TRIES + 1):
        try:
            return _once(url, method, secret, timeout_s)
        except web.Again as error:
            if attempt == TRIES or (error.wait_s or 0) > web.LONGEST_WAIT_S:
                raise ToolFailed(f"{urlsplit(url).netloc}: {error}, {attempt} times; try later") from None
            time.sleep(error.wait_s if error.wait_s is not None else _SECOND * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _once(url: str, method: str, secret: str, timeout_s: float) -> Answer:
    request = urllib.request.Request(url, method=method)  # noqa: S310 - the opener knows http and https only
    request.add_header("Accept", MANIFESTS)
    request.add_header("User-Agent", f"ngcrun/{__version__}")
    if secret:
        request.add_unredirected_header("Authorization", secret)
    with web.sorted_failures(url):
        try:
            with web.opener().open(request, timeout=timeout_s) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            if error.code in web.AGAIN:
                raise
            with error:
                return Answer(error.code, error.headers)


def _token(host: str, repository: str, answer: Answer, timeout_s: float) -> str:
    """What to send as Authorization, from the challenge of a 401."""
    scheme, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
    asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    login = _login(host)
    if scheme.lower() == "basic":
        if not login:
            raise _refused(f"{host}/{repository}", host, 401)
        return f"Basic {login}"
    realm = asked.get("realm", "")
    if scheme.lower() != "bearer" or urlsplit(realm).scheme not in ("http", "https"):
        raise ToolFailed(f"{host}: asks for a login in a way that is not known here ({scheme or 'none'})")
    if urlsplit(realm).scheme == "http" and urlsplit(realm).hostname not in _LOOPBACK:
        raise ToolFailed(f"{host}: wants its login sent to {urlsplit(realm).netloc} without TLS; nothing was sent")
    query = {"service": asked.get("service", ""), "scope": asked.get("scope") or f"repository:{repository}:pull"}
    given = _ask(f"{realm}?{urlencode(query)}", "GET", f"Basic {login}" if login else "", timeout_s)
    if given.status != 200:
        raise _refused(f"{host}/{repository}", host, given.status)
    try:
        held = json.loads(given.body)
        return f"Bearer {held.get('token') or held['access_token']}"
    except (ValueError, KeyError, AttributeError):
        raise ToolFailed(f"{host}: its token service answers without a token") from None


def _login(host: str) -> str:
    """User and password as HTTP Basic has them: what `docker login` keeps, else the NGC key of the environment."""
    folder = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"))
    try:
        auths = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auths", {})
    except (OSError, ValueError, AttributeError):
        auths = {}
    kept = auths.get(_LOGINS.get(host, host)) or auths.get(f"https://{host}") or {}
    if kept.get("auth"):
        return str(kept["auth"])
    key = os.environ.get(NGC_KEY, "") if host == NGC else ""
    return base64.b64encode(f"$oauthtoken:{key}".encode()).decode() if key else ""


def _refused(shown: str, host: str, status: int) -> BadInput | ToolFailed:
    if status == 404:
        return BadInput.of("image", shown, "is not in the registry", "correct image or tag in containers/images.yaml")
    if status in (401, 403):
        todo = f"docker login {host}"
        todo += f" (user $oauthtoken, password: an NGC API key), or set {NGC_KEY}" if host == NGC else ""
        return BadInput.of("image", shown, f"asks for a login ({status})", todo)
    return ToolFailed(f"{host}: answers {status} for {shown}")
