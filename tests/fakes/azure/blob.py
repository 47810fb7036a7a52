"""Blob storage: what azure-storage-blob asks of it for uploads, listings and downloads."""

from __future__ import annotations

import base64
from email.utils import formatdate
from xml.sax.saxutils import escape

from tests.fakes.azure.state import Blob, State
from tests.fakes.azure.wire import Request, Response


def answer(state: State, request: Request) -> Response:
    """One request to `<account>.blob.core.windows.net/<container>[/<blob>]`."""
    if "sig" not in request.query and "authorization" not in request.headers:
        return _error(403, "AuthenticationFailed", "Server failed to authenticate the request.")
    container, _, name = request.path.lstrip("/").partition("/")
    if not name:
        return _listing(state, request, container) if request.query.get("comp") == "list" else Response(200, b"")
    if request.method == "PUT":
        return _put(state, request, (container, name))
    blob = state.blobs.get((container, name))
    if blob is None:
        return _error(404, "BlobNotFound", "The specified blob does not exist.")
    return _get(request, blob)


def _put(state: State, request: Request, key: tuple[str, str]) -> Response:
    what, there = request.query.get("comp"), state.blobs.get(key)
    if what == "metadata":
        if there is None:
            return _error(404, "BlobNotFound", "The specified blob does not exist.")
        there.metadata = _metadata(request)
        return Response(200, b"", _headers(there))
    if what == "block":
        state.blobs[(key[0], f"{key[1]}#{request.query['blockid']}")] = Blob(request.body)
        return Response(201, b"")
    if request.headers.get("if-none-match") == "*" and there is not None:
        return _error(409, "BlobAlreadyExists", "The specified blob already exists.")
    data = request.body
    if what == "blocklist":
        wanted = request.body.decode().split("<Latest>")[1:]
        names = [f"{key[1]}#{part.split('</Latest>')[0]}" for part in wanted]
        data = b"".join(state.blobs.pop((key[0], name)).data for name in names)
    state.blobs[key] = Blob(data, _metadata(request))
    return Response(201, b"", _headers(state.blobs[key]))


def _metadata(request: Request) -> dict[str, str]:
    return {k.removeprefix("x-ms-meta-"): v for k, v in request.headers.items() if k.startswith("x-ms-meta-")}


def _headers(blob: Blob) -> dict[str, str]:
    return {"ETag": blob.etag, "Last-Modified": formatdate(usegmt=True), "x-ms-version": "2024-11-04",
            "x-ms-request-server-encrypted": "true"}  # fmt: skip


def _get(request: Request, blob: Blob) -> Response:
    headers = {**_headers(blob), "x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream",
               "Accept-Ranges": "bytes", **{f"x-ms-meta-{k}": v for k, v in blob.metadata.items()}}  # fmt: skip
    if request.method == "HEAD":
        return Response(200, b"", {**headers, "Content-Length": str(len(blob.data))})
    asked = request.headers.get("x-ms-range") or request.headers.get("range")
    if not asked or not blob.data:
        if asked:
            return _error(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
        return Response(200, blob.data, headers)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(blob.data)), len(blob.data) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(blob.data)}"
    return Response(206, blob.data[start : end + 1], headers)


def _listing(state: State, request: Request, container: str) -> Response:
    prefix = request.query.get("prefix", "")
    rows = []
    for (box, name), blob in sorted(state.blobs.items()):
        if box == container and name.startswith(prefix) and "#" not in name:
            rows.append(f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>{len(blob.data)}</Content-Length>"
                        f"<Etag>{escape(blob.etag)}</Etag><BlobType>BlockBlob</BlobType></Properties><Metadata /></Blob>")  # fmt: skip
    text = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{container}"><Blobs>{"".join(rows)}</Blobs><NextMarker /></EnumerationResults>'
    return Response(200, text.encode(), {"Content-Type": "application/xml"})


def _error(status: int, code: str, message: str) -> Response:
    text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(status, text.encode(), {"Content-Type": "application/xml", "x-ms-error-code": code})


def encode(text: str) -> str:
    """A block id as the service wants it."""
    return base64.b64encode(text.encode()).decode()
