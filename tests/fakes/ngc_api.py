"""A stand-in for NVIDIA's NGC registry: its token service, its model API, and the storage behind it, each on its own port.

The shape of the answers is that of ngcsdk 4.37.0 (see runtime/data/ngc.py); nothing here was recorded from the service.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.web_server import Resource, Server, serving

KEY = "b64-style-key-0123456789"
PAGE = 2  # files on a page, whatever is asked for: real pages hold more than a test does


@dataclass
class Version:
    """One version: its files, and how much of what NGC may tell about them it tells."""

    files: dict[str, bytes]
    status: str = "UPLOAD_COMPLETE"
    checksums: bool = True


@dataclass
class Ngc:
    """The running stand-in.

    Attributes:
        models: by `org/team/name` or `org/name`.
        guests: the models that are open without a key.
        life_s: how long a token is good, as its service says.
        fault: a status that the model API answers with instead, or 0.
    """

    api: Server
    auth: Server
    storage: Server
    models: dict[str, dict[str, Version]] = field(default_factory=dict)
    guests: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=lambda: {KEY})
    tokens: list[str] = field(default_factory=list)
    life_s: int = 600
    fault: int = 0

    @property
    def env(self) -> dict[str, str]:
        """What points a step here."""
        return {"NGCRUN_NGC_API": self.api.url, "NGCRUN_NGC_AUTH": self.auth.url}

    def add(self, name: str, version: str, files: dict[str, bytes], **fields: object) -> Version:
        """Add a version, open to guests unless its org is `private`."""
        self.models.setdefault(name, {})[version] = Version(files, **fields)  # type: ignore[arg-type]
        if not name.startswith("private/"):
            self.guests.add(name)
        return self.models[name][version]

    def token(self, path: str, headers: Message) -> Resource | None:
        """`/token`: a new token for a known key, for the scopes that are asked for."""
        query = parse_qsl(urlsplit(path).query)
        user, _, key = base64.b64decode(headers.get("Authorization", "Basic ").split()[1]).decode().partition(":")
        if user != "$oauthtoken" or key not in self.keys or ("service", "ngc") not in query:
            return Resource(faults=["status 401"])
        self.tokens.append(f"token-{len(self.tokens)}-" + "+".join(v for k, v in query if k == "scope"))
        return _json({"token": self.tokens[-1], "expires_in": self.life_s})

    def answer(self, path: str, headers: Message) -> Resource | None:
        """`/v2/models/...` for guests, `/v2/org/...` for those with a token."""
        if self.fault:
            return Resource(faults=[f"status {self.fault}"])
        parts = urlsplit(path)
        words = [unquote(word) for word in parts.path.strip("/").split("/")]
        given = headers.get("Authorization", "").removeprefix("Bearer ")
        if words[:2] == ["v2", "models"]:
            at = words.index("versions") if "versions" in words else len(words)
            name, rest, allowed = "/".join(words[2:at]), words[at:], given == ""
            if name in self.models and name not in self.guests:
                return Resource(faults=["status 401"])
        else:
            at = words.index("models")
            team = words[4:5] if "team" in words[:at] else []
            name, rest = "/".join([words[2], *team, words[at + 1]]), words[at + 2 :]
            allowed = given in self.tokens or given.startswith("nvapi-good")
        if not allowed:
            return Resource(faults=["status 401"])
        return self._model(name, rest, dict(parse_qsl(parts.query)))

    def _model(self, name: str, rest: list[str], query: dict[str, str]) -> Resource | None:
        versions = self.models.get(name)
        if versions is None:
            return None
        if not rest:
            return _json({"model": {"name": name, "latestVersionIdStr": list(versions)[-1]}})
        if rest == ["versions"]:
            return _page("modelVersions", [{"versionId": v} for v in versions], query)
        version = versions.get(rest[1])
        return None if version is None else self._version(version, rest[1:], query)

    def _version(self, version: Version, rest: list[str], query: dict[str, str]) -> Resource | None:
        if len(rest) == 1:
            return _json({"modelVersion": {"versionId": rest[0], "status": version.status}})
        if len(rest) == 2:
            return _page("modelFiles", [_record(p, d, version.checksums) for p, d in version.files.items()], query)
        data = version.files.get("/".join(rest[2:]))
        if data is None:
            return None
        stored = f"/{hashlib.sha256(data).hexdigest()}"
        if stored not in self.storage.resources:
            self.storage.add(stored, data)
        return Resource(redirect=f"{self.storage.url}{stored}?X-Amz-Signature=s3cr3t-signature")


def _json(content: object) -> Resource:
    return Resource(json.dumps(content).encode(), etag=None)


def _page(name: str, records: list[dict[str, object]], query: dict[str, str]) -> Resource:
    number = int(query.get("page-number", "0"))
    info = {"totalPages": -(-len(records) // PAGE), "totalResults": len(records), "size": PAGE, "index": number}
    return _json({name: records[number * PAGE : (number + 1) * PAGE], "paginationInfo": info})


def _record(path: str, data: bytes, checksums: bool) -> dict[str, object]:
    digest = {"sha256_base64": base64.b64encode(hashlib.sha256(data).digest()).decode()}
    return {"path": path, "sizeInBytes": len(data)} | (digest if checksums else {})


@contextlib.contextmanager
def running() -> Iterator[Ngc]:
    """The three servers while the block runs."""
    with serving() as api, serving() as auth, serving() as storage:
        ngc = Ngc(api, auth, storage)
        api.answer, auth.answer = ngc.answer, ngc.token
        yield ngc
