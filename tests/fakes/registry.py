"""A stand-in for a container registry: real HTTP on loopback, the handshake of docker's registries, and faults on demand.

It copies what the specifications say and registries do: 401 with WWW-Authenticate, a token from the realm for service and
scope, Docker-Content-Digest on HEAD, 404 for a tag that is not there, 429 with Retry-After.
Source: docs.docker.com/reference/api/registry/auth, OCI distribution-spec 1.1.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-the-stand-in"  # noqa: S105 - opens nothing


@dataclass
class Registry:
    """A running stand-in; `seen` has each request as (method, path with query, Authorization).

    `faults`: taken from the front, one a request for a manifest: (status, Retry-After). `login`: the Basic credentials
    that the token service wants. `challenge`: what a 401 says, if not the usual. `tells`: whether it tells the digest.
    """

    host: str = ""
    manifests: dict[str, bytes] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)
    login: str = ""
    anonymous: bool = False
    challenge: str = ""
    tells: bool = True
    answers: str = ""
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def digest(self, name: str) -> str:
        """The digest of `repository:tag`, as the registry has it."""
        return f"sha256:{hashlib.sha256(self.manifests[name]).hexdigest()}"


@contextlib.contextmanager
def serving() -> Iterator[Registry]:
    """Serve on a free port of loopback until the block is left."""
    state = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            sent = self.headers.get("Authorization", "")
            state.seen.append((self.command, self.path, sent))
            if self.path.startswith("/token?"):
                return self.token(sent)
            if state.faults:
                status, wait = state.faults.pop(0)
                return self.say(status, {"Retry-After": wait} if wait else {})
            if not state.anonymous and sent != f"Bearer {TOKEN}":
                repository = self.path.removeprefix("/v2/").partition("/manifests/")[0]
                usual = (
                    f'Bearer realm="http://{state.host}/token",service="stand-in",scope="repository:{repository}:pull"'
                )
                return self.say(401, {"WWW-Authenticate": state.challenge or usual})
            repository, _, tag = self.path.removeprefix("/v2/").partition("/manifests/")
            body = state.manifests.get(f"{repository}:{tag}")
            if body is None:
                return self.say(404, {})
            digest = state.answers or state.digest(f"{repository}:{tag}")
            return self.say(200, {"Docker-Content-Digest": digest} if state.tells else {}, body)

        def token(self, sent: str) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            if state.login and sent != f"Basic {state.login}":
                return self.say(401, {})
            assert asked["service"] == ["stand-in"] and asked["scope"][0].startswith("repository:")
            return self.say(200, {}, f'{{"token": "{TOKEN}", "expires_in": 300}}'.encode())

        def say(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Say nothing on the screen of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
