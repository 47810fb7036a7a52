"""Secrets are found however they are written, wherever a piece of a stream ends, and nothing else is touched."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import masks
from runtime.masks import Masks

SECRET = 'p4$$w0rd/+="ü'  # noqa: S105 - of this test only
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=0, max_size=30)
SECRETS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=6, max_size=40).filter(
    lambda t: t == t.strip()
)


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(f"user1:{SECRET}:x".encode()).decode(),
        f"{SECRET[:5]}\n{SECRET[5:]}",
        f"{SECRET[:2]}\r\n{SECRET[2:7]}\n{SECRET[7:]}",
    ],
)
def test_a_secret_is_hidden_however_it_is_written(written: str) -> None:
    hidden = Masks([SECRET]).text(f"before {written} after")
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")
    assert masks.HIDDEN in hidden
    assert SECRET[:5] not in hidden
    assert written not in hidden


@given(TEXT, SECRETS, TEXT, st.lists(st.integers(1, 7), min_size=1, max_size=20))
def test_a_secret_in_pieces_is_hidden(before: str, secret: str, after: str, sizes: list[int]) -> None:
    whole = f"{before}{secret}{after}".encode()
    stream = Masks([secret]).stream()
    out, place, turn = b"", 0, 0
    while place < len(whole):
        size = sizes[turn % len(sizes)]
        out += stream.feed(whole[place : place + size])
        place, turn = place + size, turn + 1
    out += stream.end()
    assert secret.encode() not in out
    if secret not in before + after:
        assert masks.HIDDEN.encode() in out


@given(st.binary(max_size=300), SECRETS)
def test_text_without_a_secret_passes_unchanged_and_nothing_is_kept_for_ever(data: bytes, secret: str) -> None:
    known = Masks([secret])
    if masks.HIDDEN.encode() in known.hide(data):
        return
    stream = known.stream()
    assert stream.feed(data) + stream.end() == data


def test_only_what_is_a_secret_is_one(tmp_path: object) -> None:
    environ = {
        "AZURE_CLIENT_SECRET": "abcdefgh-1",
        "NGC_API_KEY": "abcdefgh-2",
        "MY_TOKEN": "short",
        "PWD": "/work/folder",
        "OLDPWD": "/work/folder2",
        "GOOGLE_APPLICATION_CREDENTIALS": "/etc/passwd",
        "GREETING": "abcdefgh-3",
        "LISTED": "abcdefgh-4",
        masks.NAMES_VARIABLE: "LISTED,OTHER",
    }
    hidden = masks.of(environ).text(" ".join(environ.values()))
    assert hidden == "*** *** short /work/folder /work/folder2 /etc/passwd abcdefgh-3 *** LISTED,OTHER"
    assert "abcdefgh-3" not in masks.of(environ, ["GREETING"]).text("abcdefgh-3")
    assert not masks.of({})
