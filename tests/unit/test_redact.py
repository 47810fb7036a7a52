from __future__ import annotations

import pytest

from runtime.errors import Problem
from runtime.redact import holds_secret, redacted

CASES = {
    "https://a.blob.core.windows.net/c/f?sv=2024&se=2027&sr=b&sig=ab%2Bc%3D": "https://a.blob.core.windows.net/c/f?sv=2024&se=2027&sr=b&sig=...",
    "https://h/f?X-Amz-Credential=AK%2F1&X-Amz-Date=2026&X-Amz-Signature=ff&X-Amz-Security-Token=t": "https://h/f?X-Amz-Credential=...&X-Amz-Date=2026&X-Amz-Signature=...&X-Amz-Security-Token=...",
    "https://h/f?X-Goog-Signature=ff#part": "https://h/f?X-Goog-Signature=...#part",
    "https://h/f?AWSAccessKeyId=a&Signature=b&Expires=1": "https://h/f?AWSAccessKeyId=...&Signature=...&Expires=1",
    "https://h/f?path=a/b.onnx&token=t": "https://h/f?path=a/b.onnx&token=...",
    "https://me:pw@h/f": "https://...@h/f",
    "two: http://u@h/f?access_token=a and http://h/g?api_key=b": "two: http://...@h/f?access_token=... and http://h/g?api_key=...",
}


@pytest.mark.parametrize("text", CASES)
def test_secrets_of_addresses_are_hidden_and_the_rest_stays(text: str) -> None:
    assert redacted(text) == CASES[text]
    assert redacted(CASES[text]) == CASES[text]
    assert holds_secret(text)
    assert not holds_secret(CASES[text])


@pytest.mark.parametrize("text", ["https://h/f?path=x&redirect=true", "a@b.c", "key=value", "C:/x?", "", "tokens=3"])
def test_what_holds_no_secret_is_left_alone(text: str) -> None:
    assert redacted(text) == text
    assert not holds_secret(text)


def test_an_error_shows_no_secret_of_an_address() -> None:
    assert (
        Problem("url", "https://h/f?sig=abc", "is bad", "fix it").line("x")
        == "x: url='https://h/f?sig=...': is bad; fix it"
    )
