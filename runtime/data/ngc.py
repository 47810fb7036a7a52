"""NVIDIA's NGC registry over its REST API: who may read a model, which versions it has, and the files of one.

Sources, all read, none tried against the real service (no network here):

- Hosts, `GET /token?service=ngc&scope=group/ngc:ORG&scope=group/ngc:ORG/TEAM` with Basic `$oauthtoken:KEY`, its
  answer `{token, expires_in}`, and `nvapi-` keys being bearer tokens themselves: ngcsdk 4.37.0 (PyPI),
  ngcbase/constants.py, ngcbase/api/authentication.py; nvidia-tao-core 7.3.0 (PyPI), api_utils/ngc_utils.py.
- `/v2/org/ORG[/team/TEAM]/models/NAME` with a key, `/v2/models/ORG[/TEAM]/NAME` without; `/versions`,
  `/versions/V/files`; `page-number` from 0 and `paginationInfo.totalPages`; `latestVersionIdStr`; `UPLOAD_COMPLETE`;
  412 for terms that nobody accepted: ngcsdk 4.37.0, registry/api/models.py, ngcbase/api/pagination.py.
- `modelFiles` with `path`, `sizeInBytes`, `sha256_base64`: ngcsdk 4.37.0, registry/data/model/ModelFile.py.
- One file at `/versions/V/files/PATH` in both forms: github.com/NVIDIA/physicsnemo, pull request 216.
- 400 instead of a listing for keys of another org: github.com/ai-dynamo/modelexpress, issue 222.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from runtime.data import address, web
from runtime.data.transfer import Policy
from runtime.data.web import Access, Again, Status
from runtime.errors import BadInput, ToolFailed, nearest

API, AUTH = "https://api.ngc.nvidia.com", "https://authn.nvidia.com"
KEYS = ("NGC_API_KEY", "NGC_CLI_API_KEY")  # Source: ngcsdk 4.37.0, ngcbase/environ.py
SETUP = "https://org.ngc.nvidia.com/setup"
BEARER_PREFIX = "nvapi-"
PAGE = 1000
LARGEST_ANSWER = 64 << 20  # bytes; a listing of 1000 files has 0.2 MiB
RENEW_BEFORE_S = 60.0
_PART = r"[A-Za-z0-9][\w.-]*"
_MODEL = re.compile(rf"({_PART})(?:/({_PART}))?/({_PART})", re.ASCII)


@dataclass(frozen=True)
class Model:
    """A model's place: org, team (none for many), name."""

    org: str
    team: str | None
    name: str

    @classmethod
    def of(cls, text: str) -> Model:
        """Read `org/name` or `org/team/name`; raises `BadInput`."""
        match = _MODEL.fullmatch(text)
        if match is None:
            extra = "; a version goes into version=" if ":" in text else ""
            raise BadInput.of(
                "model", text, "is not a model's name", f"write org/team/name, such as nvidia/tao/trafficcamnet{extra}"
            )
        return cls(match[1], None if match[2] in (None, "no-team") else match[2], match[3])

    @property
    def scopes(self) -> list[tuple[str, str]]:
        """What a token has to be good for."""
        groups = [self.org] + ([f"{self.org}/{self.team}"] if self.team else [])
        return [("service", "ngc"), *(("scope", f"group/ngc:{group}") for group in groups)]

    def path(self, *, guest: bool) -> str:
        """Below the API's base."""
        if guest:
            return "/".join(["/v2/models", self.org, *([self.team] if self.team else []), self.name])
        return f"/v2/org/{self.org}" + (f"/team/{self.team}" if self.team else "") + f"/models/{self.name}"


@dataclass(frozen=True)
class File:
    """One file of a version; `sha256` is None where NGC does not say."""

    path: str
    size_bytes: int | None
    sha256: str | None


class _Bearer(Mapping[address.Origin, str]):
    """The Authorization header for the API, renewed before it expires; an empty mapping for a guest."""

    def __init__(self, key: str, api: str, auth: str, model: Model, policy: Policy) -> None:
        self._key, self._origin, self._policy = key, address.origin(api), policy
        self._url = f"{auth}/token?{urlencode(model.scopes, safe=':/')}"
        self._auth = address.origin(auth)
        self._token, self._until = (key, float("inf")) if key.startswith(BEARER_PREFIX) else ("", 0.0)
        self._lock = threading.Lock()

    def __getitem__(self, origin: address.Origin) -> str:
        if origin != self._origin or not self._key:
            raise KeyError(origin)
        with self._lock:
            if time.monotonic() > self._until - RENEW_BEFORE_S:
                self._token, life_s = self._fetch()
                self._until = time.monotonic() + max(life_s, 2 * RENEW_BEFORE_S)
            return f"Bearer {self._token}"

    def __iter__(self) -> Iterator[address.Origin]:
        return iter([self._origin] if self._key else [])

    def __len__(self) -> int:
        return int(bool(self._key))

    def _fetch(self) -> tuple[str, float]:
        basic = base64.b64encode(f"$oauthtoken:{self._key}".encode()).decode()
        access = Access(self._policy.access.timeout_s, {self._auth: f"Basic {basic}"})
        try:
            answer = get_json(self._url, Policy(access, self._policy.retries, self._policy.pause_s))
        except Status as status:
            raise _key_refused(status) from None
        if not isinstance(answer, dict) or not isinstance(answer.get("token"), str):
            raise ToolFailed(f"{self._url}: gave no token; look at status.ngc.nvidia.com")
        return answer["token"], float(answer.get("expires_in") or 0)


def _key_refused(status: Status) -> BadInput:
    if status.status in (401, 403):
        return BadInput.of(KEYS[0], "...", f"is refused by NGC ({status.status})", f"make a new key at {SETUP}")
    return BadInput.of(KEYS[0], "...", f"cannot be used: NGC answers {status}", f"see {SETUP}")


def get_json(url: str, policy: Policy) -> Any:
    """The JSON at an address, tried again while that helps; raises `Status` for a no."""
    tries = 0
    while True:
        try:
            with contextlib.closing(web.get(url, policy.access, {"Accept": "application/json"})) as answer:
                with web.sorted_failures(url):
                    data = answer.read(LARGEST_ANSWER)
                return json.loads(data)
        except Again as failure:
            tries += 1
            if tries > policy.retries:
                raise ToolFailed(f"{url}: {failure}; tried {tries} times, try again later") from None
            time.sleep(policy.pause(tries, failure, url))
        except ValueError:
            raise ToolFailed(f"{url}: is no JSON; a proxy may have answered in NGC's place") from None


class Registry:
    """One model in the registry, read as the key allows."""

    def __init__(self, model: Model, policy: Policy, environ: Mapping[str, str] = os.environ) -> None:
        self.model = model
        self.api = environ.get("NGCRUN_NGC_API", API).rstrip("/")
        auth = environ.get("NGCRUN_NGC_AUTH", AUTH).rstrip("/")
        key = next((environ[name] for name in KEYS if environ.get(name)), "")
        _check_key(key, self.api, auth)
        self.guest = not key
        secrets = _Bearer(key, self.api, auth, model, policy)
        self.policy = Policy(Access(policy.access.timeout_s, secrets), policy.retries, policy.pause_s, KEYS[0])
        self.base = f"{self.api}{model.path(guest=self.guest)}"
        self.shown = "/".join(filter(None, (model.org, model.team, model.name)))

    def version(self, wanted: str) -> str:
        """The version to take: `latest` is resolved; one that is not there, or not whole, is refused."""
        if wanted == "latest":
            return self._latest()
        try:
            answer = get_json(f"{self.base}/versions/{quote(wanted, safe='')}", self.policy)
        except Status as status:
            if status.status != 404:
                raise self._refused(status) from None
            known = self._versions()
            todo = nearest(wanted, known) if known else "correct its name"
            raise BadInput.of("version", wanted, f"is no version of {self.shown}", todo) from None
        state = (answer.get("modelVersion") or {}).get("status", "UPLOAD_COMPLETE")
        if state != "UPLOAD_COMPLETE":
            raise BadInput.of("version", wanted, f"is not whole yet ({state})", "take another, or wait")
        return wanted

    def _latest(self) -> str:
        try:
            model = get_json(self.base, self.policy).get("model") or {}
        except Status as status:
            raise self._refused(status) from None
        latest = model.get("latestVersionIdStr")
        if not latest:
            raise BadInput.of("model", self.shown, "has no version", "take another model")
        return str(latest)

    def _versions(self) -> list[str]:
        try:
            pages = list(self._pages(f"{self.base}/versions"))
        except Status as status:
            raise self._refused(status) from None
        return [str(v["versionId"]) for page in pages for v in page.get("modelVersions") or [] if v.get("versionId")]

    def files(self, version: str) -> list[File]:
        """The files of a version, sorted by path."""
        try:
            pages = list(self._pages(f"{self.base}/versions/{quote(version, safe='')}/files"))
        except Status as status:
            raise self._refused(status) from None
        found = [_file(f) for page in pages for f in page.get("modelFiles") or [] if f.get("path")]
        return sorted(found, key=lambda file: file.path)

    def _pages(self, url: str) -> Iterator[dict[str, Any]]:
        number, count = 0, 1
        while number < count:
            page = get_json(f"{url}?page-size={PAGE}&page-number={number}", self.policy)
            yield page
            count = int((page.get("paginationInfo") or {}).get("totalPages") or 1)
            number += 1

    def address_of(self, version: str, path: str) -> str:
        """Where a file is fetched from."""
        return f"{self.base}/versions/{quote(version, safe='')}/files/{quote(path)}"

    def _refused(self, status: Status) -> BadInput:
        """What to do about a no, which depends on whether there is a key."""
        code = status.status
        if code in (401, 403) and self.guest:
            todo = f"make a key at {SETUP} and put it into {KEYS[0]}"
            return BadInput.of("model", self.shown, f"needs a key ({code})", todo)
        if code in (401, 403):
            todo = f"ask for access to {self.model.org}, or use the key of a member ({KEYS[0]})"
            return BadInput.of("model", self.shown, f"is not open to this key ({code})", todo)
        if code == 404:
            more = f"; a private one needs {KEYS[0]}" if self.guest else ""
            return BadInput.of("model", self.shown, "is no model on NGC", f"look it up at catalog.ngc.nvidia.com{more}")
        if code == 412:
            return BadInput.of(
                "model", self.shown, "has terms to accept (412)", "accept them at catalog.ngc.nvidia.com"
            )
        return BadInput.of(
            "model", self.shown, f"cannot be read: NGC answers {status}", "use a personal key of its org"
        )


def _check_key(key: str, api: str, auth: str) -> None:
    if not key:
        return
    if not key.isascii() or any(ord(c) <= 32 or ord(c) == 127 for c in key):
        raise BadInput.of(
            KEYS[0], "...", "holds a blank, a line end or another character that no key has", "set it again"
        )
    for variable, url in (("NGCRUN_NGC_API", api), ("NGCRUN_NGC_AUTH", auth)):
        if not address.is_private(url):
            raise BadInput.of(variable, url, "would get the key in clear text", "give an https address")


def _file(record: Mapping[str, Any]) -> File:
    size = record.get("sizeInBytes")
    return File(str(record["path"]), size if isinstance(size, int) else None, _hex(record.get("sha256_base64")))


def _hex(text: Any) -> str | None:
    """A digest in hexadecimal, from base64; None for what is no SHA-256."""
    try:
        digest = base64.b64decode(str(text or ""), validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == 32 else None
