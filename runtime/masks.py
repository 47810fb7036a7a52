"""Secrets out of everything that a run leaves behind: logs, run.json, the cache, MLflow, the report.

A secret is the value of an environment variable that `--secret-env` names, or whose own name says so. It is found as it
is, URL-encoded, JSON-escaped and base64-encoded (also in the middle of a longer text, as in an `Authorization: Basic`
header), and when line breaks split it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping

HIDDEN = "***"
NAMES_VARIABLE = "NGCRUN_SECRET_ENV"  # the names that --secret-env gave, on their way into a step
_NAME = re.compile(r"(?i)(token|secret|passw|_pwd$|api_?key|access_?key|account_?key|private_?key|credential|_sas$|"
                   r"connection_?string|ngc_key|tao_key)")  # fmt: skip
_SHORTEST = 6  # a shorter value would black out half of every log
_BREAKS = re.compile(rb"[\r\n]+")


def _base64_forms(value: bytes) -> Iterator[bytes]:
    """The part of its base64 text that is the same wherever in a longer text the value begins (three ways)."""
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(b"\0" * offset + value)
            first = (0, 2, 3)[offset]  # characters that the bytes before it have a part in
            last = len(whole) - (0 if (offset + len(value)) % 3 == 0 else 4 - (offset + len(value)) % 3)
            yield whole[first : last - (0 if (offset + len(value)) % 3 == 0 else 1)]


def _forms(value: str) -> set[bytes]:
    raw = value.encode("utf-8", "surrogateescape")
    found = {
        raw,
        json.dumps(value)[1:-1].encode(),
        json.dumps(value, ensure_ascii=False)[1:-1].encode("utf-8", "replace"),
    }
    found |= {urllib.parse.quote(value, safe="", errors="surrogateescape").encode()}
    found |= {
        urllib.parse.quote_plus(value, errors="surrogateescape").encode(),
        repr(value)[1:-1].encode("utf-8", "replace"),
    }
    found |= set(_base64_forms(raw))
    lines = [line for line in raw.splitlines() if len(line) >= _SHORTEST]  # a PEM may be printed line by line
    return {_BREAKS.sub(b"", form) for form in (*found, *lines)}


class Masks:
    """The secrets of one environment. Without any, everything stays as it is, at no cost."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {f for value in values if len(value) >= _SHORTEST for f in _forms(value) if len(f) >= _SHORTEST}
        self._forms = sorted(forms, key=len, reverse=True)
        one = (b"[\r\n]*".join(re.escape(bytes([byte])) for byte in form) for form in self._forms)
        self._pattern = re.compile(b"|".join(one)) if forms else None
        self.longest = max((len(f) for f in forms), default=0)

    def __bool__(self) -> bool:
        return bool(self._forms)

    def hide(self, data: bytes) -> bytes:
        """`data` with every secret hidden."""
        if self._pattern is None:
            return data
        flat = _BREAKS.sub(b"", data)
        if not any(form in flat for form in self._forms):  # twenty times faster than the pattern, and nearly always so
            return data
        return self._pattern.sub(HIDDEN.encode(), data)

    def text(self, text: str) -> str:
        """`text` with every secret hidden."""
        if self._pattern is None:
            return text
        return self.hide(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def stream(self) -> Stream:
        """For text that comes in pieces."""
        return Stream(self)

    def held_back(self, data: bytes) -> int:
        """How many of the last bytes may be the beginning of a secret, and so wait for what follows."""
        start = max(0, len(data) - 2 * self.longest)
        for place in range(start, len(data)):
            flat = _BREAKS.sub(b"", data[place:])
            if flat and any(form.startswith(flat) for form in self._forms):
                return len(data) - place
        return 0


class Stream:
    """Masks what comes in pieces, wherever a piece ends."""

    def __init__(self, masks: Masks) -> None:
        self._masks, self._rest = masks, b""

    def feed(self, piece: bytes) -> bytes:
        """What can be written now."""
        data = self._masks.hide(self._rest + piece)
        back = self._masks.held_back(data)
        self._rest = data[len(data) - back :] if back else b""
        return data[: len(data) - back]

    def end(self) -> bytes:
        """What was held back."""
        rest, self._rest = self._rest, b""
        return self._masks.hide(rest)


def of(environ: Mapping[str, str], names: Iterable[str] = ()) -> Masks:
    """The secrets of an environment: `names`, those that `NGCRUN_SECRET_ENV` lists, and those whose name says so."""
    listed = {*names, *environ.get(NAMES_VARIABLE, "").split(",")}
    return Masks(value for name, value in environ.items() if name in listed or _is_secret(name, value))


def _is_secret(name: str, value: str) -> bool:
    """Whether a variable's name says so; where a secret is kept, as GOOGLE_APPLICATION_CREDENTIALS says it, is none."""
    return name != NAMES_VARIABLE and bool(_NAME.search(name)) and not (value.startswith("/") and os.path.exists(value))  # noqa: PTH110 - any text
