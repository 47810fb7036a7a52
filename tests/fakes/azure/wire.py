"""The wire of the stand-in: a CONNECT proxy that ends TLS itself, so that a client keeps Azure's real host names.

Only what a handler is given and gives back is here (`Request`, `Response`); what Azure would say is in the modules
beside this one.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass
class Request:
    """One request as it came over TLS; header names are lower case, the path is unquoted."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    def __str__(self) -> str:
        return f"{self.method} {self.host}{self.path}"


@dataclass
class Response:
    """What goes back: a dict or list as JSON, bytes as they are."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def payload(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        self.headers.setdefault("Content-Type", "application/json; charset=utf-8")
        return json.dumps(self.body).encode()


class Hangup(Exception):
    """Raised by a handler: the connection is reset without an answer."""


Handler = Callable[[Request], Response]


class Proxy:
    """Listens on a free port of 127.0.0.1; every TLS request behind it goes to `handler`."""

    def __init__(self, server_pem: Path, handler: Handler) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server_pem)
        inner = type("Inner", (_Inner,), {"handler": staticmethod(handler)})
        outer = type("Outer", (_Outer,), {"context": context, "inner": inner})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), outer)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


class Direct:
    """A TLS server without a proxy before it: Triton's client asks no proxy. It has no name but 127.0.0.1."""

    def __init__(self, server_pem: Path, handler: Handler) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server_pem)
        inner = type("Inner", (_Nameless,), {"handler": staticmethod(handler)})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), inner)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.server_address[1]}"

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


class _Outer(BaseHTTPRequestHandler):
    """CONNECT host:443, then TLS on the same connection."""

    protocol_version = "HTTP/1.1"
    context: ssl.SSLContext
    inner: type[_Inner]

    def do_CONNECT(self) -> None:
        self.send_response(200, "Connection established")
        self.end_headers()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            secure = self.context.wrap_socket(self.connection, server_side=True)
        except (ssl.SSLError, OSError):  # a client that does not trust us, or has gone
            return
        try:
            self.inner(secure, self.client_address, self.server, self.path.rpartition(":")[0])
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass
        finally:
            self.close_connection = True
            secure.close()

    def log_message(self, *_: object) -> None:
        """Say nothing: pytest reads our standard error."""


class _Inner(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    handler: Handler

    def __init__(self, connection: socket.socket, address: Any, server: Any, host: str) -> None:
        self.host = host
        super().__init__(connection, address, server)

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            host=self.host,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={k.lower(): v for k, v in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        try:
            response = self.handler(request)
        except Hangup:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            return
        payload = response.payload()
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in response.headers:
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _answer

    def log_message(self, *_: object) -> None:
        """Say nothing: pytest reads our standard error."""


class _Nameless(_Inner):
    def __init__(self, connection: socket.socket, address: Any, server: Any) -> None:
        super().__init__(connection, address, server, "")


def wait(seconds: float) -> None:
    """The one place that sleeps: a slow answer."""
    if seconds > 0:
        time.sleep(seconds)
