"""Misbehaviour on demand: what Azure's front doors do on a bad day, at the request that a test names."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field

from tests.fakes.azure.state import error
from tests.fakes.azure.wire import Hangup, Request, Response, wait


@dataclass
class Fault:
    """`kind` at the requests that match `method` and `path` (a pattern), beginning after `skip`, for `times` of them.

    Kinds: an HTTP status ("429", "500", "502", "503", "409", "412", "401"); "reset" (no answer); "reset-after" (carried
    out, then no answer); "slow" (`seconds` before the answer).
    """

    kind: str
    method: str = ".*"
    path: str = ".*"
    times: int = 1
    skip: int = 0
    retry_after_s: int | None = None
    seconds: float = 0.0
    hits: int = 0
    seen: int = 0


@dataclass
class Faults:
    """The faults of one test; asked before and after each request."""

    planned: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, method: str = ".*", path: str = ".*", **more: float) -> Fault:
        fault = Fault(kind, method, path, **more)  # type: ignore[arg-type]
        self.planned.append(fault)
        return fault

    def due(self, request: Request) -> Fault | None:
        with self.lock:
            for fault in self.planned:
                if not re.fullmatch(fault.method, request.method) or not re.search(fault.path, str(request)):
                    continue
                fault.seen += 1
                if fault.seen > fault.skip and fault.hits < fault.times:
                    fault.hits += 1
                    return fault
        return None


MESSAGES = {
    401: ("InvalidAuthenticationToken", "The access token has expired."),
    409: ("Conflict", "The resource is being updated by another request."),
    412: ("PreconditionFailed", "The condition specified using HTTP conditional header(s) is not met."),
    429: ("TooManyRequests", "The request is being throttled as the limit has been reached."),
    500: ("InternalServerError", "An internal server error occurred. Please try again."),
    502: ("BadGateway", "The specified CGI application encountered an error and the server terminated the process."),
    503: ("ServiceUnavailable", "The service is unavailable."),
}


def before(fault: Fault | None) -> Response | None:
    """What is answered instead of carrying the request out; None where it is to be carried out."""
    if fault is None or fault.kind == "reset-after":
        return None
    if fault.kind == "slow":
        wait(fault.seconds)
        return None
    if fault.kind == "reset":
        raise Hangup
    code, message = MESSAGES[int(fault.kind)]
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    return error(int(fault.kind), code, message, **headers)


def after(fault: Fault | None) -> None:
    """The request was carried out; raises where its answer is lost."""
    if fault is not None and fault.kind == "reset-after":
        raise Hangup
