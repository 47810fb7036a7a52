"""A stand-in for what is between a client and a server: an AzureML endpoint's TLS and key, a server that is slow or gone.

It hands on the bytes of a real server, and keeps what the client sent, in the clear.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fakes.certificates import Certificates


@dataclass
class Gateway:
    """Where it listens, what came in, and whether it still hands on; `cut` ends it and every connection."""

    address: str
    server: str
    seen: bytearray = field(default_factory=bytearray)
    connections: int = 0
    open: bool = True
    sockets: list[socket.socket] = field(default_factory=list)

    def cut(self) -> None:
        """No connection gets through from now on."""
        self.open = False
        self._break()

    def move(self, server: str) -> None:
        """Breaks every connection; new ones lead to another server, as after a restart."""
        self.server = server
        self._break()

    def _break(self) -> None:
        for one in self.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def gateway(
    server: str, certificates: Certificates | None = None, protocols: tuple[str, ...] = ()
) -> Iterator[Gateway]:
    """Listens on localhost for a server at `host:port`; with certificates it speaks TLS (ALPN: `protocols`)."""
    context = None
    if certificates:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate, certificates.key)
        context.set_alpn_protocols(list(protocols))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Gateway(f"localhost:{listener.getsockname()[1]}", server)
        accepting = threading.Thread(target=_accept, args=(listener, context, found), daemon=True)
        accepting.start()
        yield found
        found.cut()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    accepting.join(5)


def _accept(listener: socket.socket, context: ssl.SSLContext | None, found: Gateway) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        found.connections += 1
        threading.Thread(target=_serve, args=(client, context, found), daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext | None, found: Gateway) -> None:
    host, port = found.server.rsplit(":", 1)
    with client, contextlib.suppress(OSError):
        if not found.open:
            return
        inside = context.wrap_socket(client, server_side=True) if context else client
        with inside, socket.create_connection((host, int(port))) as behind:
            found.sockets += [inside, behind]
            back = threading.Thread(target=_hand_on, args=(behind, inside, None), daemon=True)
            back.start()
            _hand_on(inside, behind, found.seen)
            back.join(5)


def _hand_on(source: socket.socket, target: socket.socket, seen: bytearray | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if seen is not None:
                seen += data
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
