"""One HTTP request: redirects that betray no secret, and every failure sorted by what can be done about it."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import urlsplit

from runtime import __version__
from runtime.data import address
from runtime.errors import BadInput, ToolFailed
from runtime.redact import redacted

AGAIN = (408, 425, 429, 500, 502, 503, 504)  # passing, as RFC 9110 and RFC 6585 describe them
LONGEST_WAIT_S = 600.0  # a server that wants more has to be asked another day


class Again(Exception):
    """A failure that may pass; `wait_s` is what the server asked for."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class Status(Exception):
    """An answer that is no success and will not change."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"HTTP {status} {reason}".strip())
        self.status = status


@dataclass(frozen=True)
class Access:
    """How to ask: `secrets` are values of the Authorization header, each for one origin and no other."""

    timeout_s: float = 60.0
    secrets: Mapping[address.Origin, str] = field(default_factory=dict)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect unless it leaves TLS; the Authorization header goes on only to the same origin."""

    def redirect_request(  # noqa: PLR0913, PLR0917 - urllib's signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if address.origin(req.full_url)[0] == "https" and address.origin(newurl)[0] != "https":
            raise ToolFailed(
                f"{redacted(req.full_url)}: redirects from https to {redacted(newurl)}; find another source"
            )
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        secret = req.unredirected_hdrs.get("Authorization")
        if new is not None and secret and address.origin(newurl) == address.origin(req.full_url):
            new.add_unredirected_header("Authorization", secret)
        return new


def opener() -> urllib.request.OpenerDirector:
    """Only http and https, so that no redirect reaches a file; proxies as the environment says."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def get(url: str, access: Access, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
    """The answer to a GET, its body still to be read.

    Raises:
        Again: nothing, or nothing yet, came back, and it may the next time.
        Status: the server says no.
        ToolFailed: TLS cannot be trusted, or a redirect leads astray.
    """
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - the opener knows no other scheme
    request.add_header("User-Agent", f"ngcrun/{__version__}")
    request.add_header("Accept-Encoding", "identity")
    secret = access.secrets.get(address.origin(url))
    if secret:
        request.add_unredirected_header("Authorization", secret)
    with sorted_failures(url):
        answer: http.client.HTTPResponse = opener().open(request, timeout=access.timeout_s)
        return answer


@contextlib.contextmanager
def sorted_failures(url: str) -> Iterator[None]:
    """Turns what http.client and urllib raise, when a request is sent or its answer read, into the errors above."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _status(error) from None
    except urllib.error.URLError as error:
        raise _unreachable(url, error.reason) from None
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, error) from None
    except UnicodeError as error:  # of a host name that cannot be one
        raise ToolFailed(f"{redacted(url)}: its host is no name ({error}); correct the address") from None


def _status(error: urllib.error.HTTPError) -> Exception:
    if error.code in AGAIN:
        wait_s = retry_after_s(error.headers.get("Retry-After"), time.time())
        return Again(f"HTTP {error.code} {error.reason}", wait_s)
    # A redirect that urllib gives up on (a circle, another scheme) keeps its status and explains itself in many lines.
    reason = error.reason.splitlines()[0].strip() if error.reason else ""
    return Status(error.code, redacted(reason))


def _unreachable(url: str, error: object) -> Exception:
    if isinstance(error, ssl.SSLCertVerificationError):
        host = urlsplit(url).hostname
        return ToolFailed(f"{host}: its certificate cannot be trusted ({error.verify_message}); check the address")
    if isinstance(error, TimeoutError):
        return Again("no answer in time")
    if isinstance(error, http.client.IncompleteRead):
        return Again("the connection ended too soon")
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Again(redacted(str(said).splitlines()[0][:200]).lower())


def retry_after_s(text: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None without one that can be read."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError):
        return None


def refused(port: str, url: str, answer: Status, secret: str) -> BadInput:
    """What to tell about a `Status`; `secret` names the variable that holds a token for this place."""
    todo = {
        401: f"put a valid token into {secret}",
        403: f"ask its owner for access, or put a token that has it into {secret}",
        404: "correct the address",
        410: "correct the address",
    }.get(answer.status, "open it in a browser, or ask its owner")
    wrong = {401: "refuses the request (401)", 403: "refuses the request (403)", 404: "is not there (404)"}
    return BadInput.of(port, redacted(url), wrong.get(answer.status, f"answers {answer}"), todo)
