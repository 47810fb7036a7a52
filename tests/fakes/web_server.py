"""A stand-in for a file server: real HTTP on loopback, and it misbehaves as it is told to.

It copies what real servers do: Range, If-Range and 416 as RFC 9110 has them; a connection that is reset or ends too
soon; 429 and 503 with Retry-After; a signed address behind a redirect to another host.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 64 * 1024


@dataclass
class Resource:
    """One address.

    Attributes:
        faults: taken from the front, one a request, until there are none: `truncate N`, `reset N` (after N bytes of
            the body), `status CODE [RETRY_AFTER]`, `hang S`.
        ranges: whether Range is understood; without it the whole body comes, with 200.
        length: whether Content-Length is told; without it the end of the connection is the end.
        chunked: send in chunks, each with its length, as servers do that do not know the whole.
        token: the bearer token without which the answer is 401.
        pause_s: between chunks of 64 KiB.
    """

    body: bytes = b""
    etag: str | None = '"first"'
    modified: str | None = None
    ranges: bool = True
    length: bool = True
    chunked: bool = False
    redirect: str = ""
    token: str = ""
    pause_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        """The right checksum."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass
class Server:
    """A running stand-in; `seen` has each request as (path with query, headers)."""

    url: str
    resources: dict[str, Resource]
    seen: list[tuple[str, Message]]
    answer: Callable[[str, Message], Resource | None] | None = None

    def add(self, path: str, body: bytes = b"", **fields: object) -> Resource:
        """Serve `body` at `path`."""
        self.resources[path] = Resource(body, **fields)  # type: ignore[arg-type]
        return self.resources[path]

    def headers(self, name: str) -> list[str | None]:
        """The values of one header in each request."""
        return [headers.get(name) for _, headers in self.seen]


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of 127.0.0.1 while the block runs."""
    server = Server("", {}, [])

    class Handler(_Handler):
        stand_in = server

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def _pieces(body: bytes) -> list[bytes]:
    return [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)]


class _Handler(BaseHTTPRequestHandler):
    stand_in: Server

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.stand_in.seen.append((self.path, self.headers))
        resource = self.stand_in.resources.get(path)
        if resource is None and self.stand_in.answer is not None:
            resource = self.stand_in.answer(self.path, self.headers)
        if resource is None:
            return self.send_error(404)
        fault = resource.faults.pop(0).split() if resource.faults else []
        if resource.token and self.headers.get("Authorization") != f"Bearer {resource.token}":
            return self.send_error(401)
        if fault and fault[0] == "hang":
            time.sleep(float(fault[1]))
        if fault and fault[0] == "status":
            return self._status(int(fault[1]), fault[2] if len(fault) > 2 else "")
        if resource.redirect:
            self.send_response(302)
            self.send_header("Location", resource.redirect)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        with contextlib.suppress(ConnectionError):
            self._send(resource, fault)
        return None

    def do_HEAD(self) -> None:
        self.do_GET()

    def _status(self, code: int, retry_after: str) -> None:
        self.send_response(code)
        if retry_after:
            self.send_header("Retry-After", retry_after.replace("_", " "))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, resource: Resource, fault: list[str]) -> None:
        start, total = self._start(resource), len(resource.body)
        if start is not None and start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(200 if start is None else 206)
        for name, value in (("ETag", resource.etag), ("Last-Modified", resource.modified)):
            if value:
                self.send_header(name, value)
        if start is not None:
            end = min(total, self._end(total))
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{total}")
        body = resource.body[start or 0 : total if start is None else end]
        if resource.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in _pieces(body)) + b"0\r\n\r\n"
        elif resource.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if fault and fault[0] in ("truncate", "reset"):
            body = body[: int(fault[1])]
        for piece in _pieces(body):
            self.wfile.write(piece)
            if resource.pause_s:
                time.sleep(resource.pause_s)
        self.close_connection = True
        if fault and fault[0] == "reset":
            self.wfile.flush()
            time.sleep(0.05)  # or the reset overtakes the bytes
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return None

    def _end(self, total: int) -> int:
        """Where the answer to a range ends."""
        last = self.headers.get("Range", "").rpartition("-")[2]
        return int(last) + 1 if last else total

    def _start(self, resource: Resource) -> int | None:
        """Where the answer starts: None for the whole, which is also what an outdated If-Range gets."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if match is None or not resource.ranges or (condition and condition not in (resource.etag, resource.modified)):
            return None
        return int(match[1])
