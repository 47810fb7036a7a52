"""Asking a registry for digests: the handshake, the logins, and what each answer means. The registry is a stand-in."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import registry
from runtime.errors import BadInput, ToolFailed
from tests.fakes.registry import TOKEN, Registry, serving

KEY = "nvapi-not-a-key"
BASIC = base64.b64encode(b"$oauthtoken:nvapi-not-a-key").decode()


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as state:
        state.manifests["nvidia/tao:1"] = b'{"schemaVersion": 2}'
        yield state


def test_the_handshake_is_that_of_docker(there: Registry) -> None:
    assert registry.digest_of(f"{there.host}/nvidia/tao", "1") == there.digest("nvidia/tao:1")
    assert there.seen == [
        ("HEAD", "/v2/nvidia/tao/manifests/1", ""),
        ("GET", "/token?service=stand-in&scope=repository%3Anvidia%2Ftao%3Apull", ""),
        ("HEAD", "/v2/nvidia/tao/manifests/1", f"Bearer {TOKEN}"),
    ]


def test_a_registry_without_logins_is_asked_once(there: Registry) -> None:
    there.anonymous = True
    registry.digest_of(f"{there.host}/nvidia/tao", "1")
    assert [method for method, _, _ in there.seen] == ["HEAD"]


def test_a_login_that_docker_keeps_goes_to_the_token_service_only(there: Registry, tmp_path: Path) -> None:
    there.login = BASIC
    (tmp_path / "config.json").write_text(json.dumps({"auths": {there.host: {"auth": BASIC}}}))
    registry.digest_of(f"{there.host}/nvidia/tao", "1")
    assert [path.partition("?")[0] for _, path, sent in there.seen if BASIC in sent] == ["/token"]


def test_without_the_login_it_says_how_to_get_it(there: Registry) -> None:
    there.login = BASIC
    with pytest.raises(BadInput) as caught:
        registry.digest_of(f"{there.host}/nvidia/tao", "1")
    assert str(caught.value).endswith(f"asks for a login (401); docker login {there.host}")


def test_ngc_takes_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("NGC_API_KEY", KEY)
    assert registry._login("nvcr.io") == BASIC
    assert registry._login("docker.io") == ""


def test_a_digest_that_is_not_told_is_that_of_the_manifest(there: Registry) -> None:
    there.tells = False
    assert registry.digest_of(f"{there.host}/nvidia/tao", "1") == there.digest("nvidia/tao:1")
    assert there.seen[-1][0] == "GET"


def test_what_passes_is_asked_again(there: Registry) -> None:
    there.anonymous = True
    there.faults = [(429, "0"), (503, "0")]
    assert registry.digest_of(f"{there.host}/nvidia/tao", "1") == there.digest("nvidia/tao:1")
    assert len(there.seen) == 3


def test_what_does_not_pass_is_told(there: Registry) -> None:
    there.anonymous = True
    there.faults = [(429, "0")] * registry.TRIES
    with pytest.raises(ToolFailed, match=r"HTTP 429 Too Many Requests, 4 times; try later"):
        registry.digest_of(f"{there.host}/nvidia/tao", "1")


def test_a_tag_that_is_not_there(there: Registry) -> None:
    with pytest.raises(BadInput, match=r"image='127.*tao:2': is not in the registry; correct image or tag"):
        registry.digest_of(f"{there.host}/nvidia/tao", "2")


ODD = [
    ('Bearer realm="http://example.com/token",service="stand-in"', "without TLS; nothing was sent"),
    ('Digest realm="x"', r"in a way that is not known here \(Digest\)"),
    ('Bearer realm="file:///etc/passwd"', r"in a way that is not known here"),
]


@pytest.mark.parametrize(("challenge", "said"), ODD, ids=[said for _, said in ODD])
def test_an_odd_challenge_gets_no_secret(there: Registry, challenge: str, said: str) -> None:
    there.challenge = challenge
    with pytest.raises(ToolFailed, match=said):
        registry.digest_of(f"{there.host}/nvidia/tao", "1")
    assert len(there.seen) == 1


def test_an_answer_that_is_no_digest_is_not_believed(there: Registry) -> None:
    there.answers = "sha256:short"
    with pytest.raises(ToolFailed, match=r"gives 'sha256:short' as the digest"):
        registry.digest_of(f"{there.host}/nvidia/tao", "1")


def test_the_addresses_are_those_of_docker() -> None:
    assert registry._base("nvcr.io") == "https://nvcr.io"
    assert registry._base("docker.io") == "https://registry-1.docker.io"
    assert registry._base("localhost:5000") == "http://localhost:5000"
