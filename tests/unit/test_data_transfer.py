"""One download against a stand-in that misbehaves: resumed, tried again, given up, verified."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.data.part import Part, State
from runtime.data.transfer import Fetched, Policy, Stopped, Wanted, fetch
from runtime.data.web import Access, retry_after_s
from runtime.errors import BadInput, ToolFailed
from tests.fakes.web_server import Resource, Server, serving

BODY = os.urandom(3_000_001)
TOKEN = "t0ken"  # noqa: S105 - of the test
QUICK = Policy(Access(timeout_s=2.0), retries=2, pause_s=0.01)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as running:
        yield running


def get(server: Server, folder: Path, resource: Resource, policy: Policy = QUICK, **fields: object) -> Fetched:
    given = {"sha256": resource.sha256} | fields
    wanted = Wanted(url=f"{server.url}/f.bin", place="f.bin", **given)  # type: ignore[arg-type]
    return fetch(wanted, folder, policy, threading.Event(), lambda _count: None)


def half_there(server: Server, folder: Path, resource: Resource, **fields: object) -> None:
    """Leave a download behind that broke off after a million bytes."""
    resource.faults = ["truncate 1000000"] * 9
    with pytest.raises(ToolFailed, match="the connection ended after"):
        get(server, folder, resource, Policy(QUICK.access, retries=0), **fields)
    resource.faults = []
    server.seen.clear()


def content(fetched: Fetched) -> bytes:
    return fetched.part.path.read_bytes()


@pytest.mark.parametrize("fault", ["truncate 1000000", "reset 1000000", "status 503", "status 429 0", "status 500"])
def test_a_failure_that_passes_is_tried_again_from_where_it_broke_off(server, tmp_path, fault):
    resource = server.add("/f.bin", BODY, faults=[fault])
    assert content(get(server, tmp_path, resource)) == BODY
    ranges = server.headers("Range")
    assert len(ranges) == 2
    assert (ranges[1] is not None) == fault.startswith(("truncate", "reset"))


def test_the_next_start_goes_on_where_the_last_one_broke_off(server, tmp_path):
    resource = server.add("/f.bin", BODY)
    half_there(server, tmp_path, resource)
    fetched = get(server, tmp_path, resource)
    assert (content(fetched) == BODY, fetched.resumed_from) == (True, 1_000_000)
    assert (server.headers("Range"), server.headers("If-Range")) == (["bytes=1000000-"], ['"first"'])


def test_a_file_that_is_there_whole_is_not_asked_for_again(server, tmp_path):
    resource = server.add("/f.bin", BODY)
    get(server, tmp_path, resource)
    server.seen.clear()
    assert get(server, tmp_path, resource).resumed_from == len(BODY)
    assert server.seen == []


@pytest.mark.parametrize(
    "change", [{"ranges": False}, {"etag": '"second"'}, {"etag": None}], ids=["no_ranges", "changed", "no_etag"]
)
def test_a_server_that_cannot_or_must_not_go_on_sends_all_of_it(server, tmp_path, change):
    resource = server.add("/f.bin", BODY)
    half_there(server, tmp_path, resource)
    vars(resource).update(change)
    fetched = get(server, tmp_path, resource)
    assert (content(fetched) == BODY, fetched.resumed_from) == (True, 0)


def test_the_date_of_the_last_change_will_do_where_there_is_no_strong_etag(server, tmp_path):
    date = "Thu, 26 Nov 2026 10:00:00 GMT"
    resource = server.add("/f.bin", BODY, etag='W/"weak"', modified=date)
    half_there(server, tmp_path, resource)
    assert get(server, tmp_path, resource).resumed_from == 1_000_000
    assert server.headers("If-Range") == [date]


def test_without_a_validator_only_a_checksum_allows_to_go_on(server, tmp_path):
    resource = server.add("/f.bin", BODY, etag=None)
    half_there(server, tmp_path, resource)
    assert get(server, tmp_path, resource).resumed_from == 1_000_000
    other = tmp_path / "other"
    other.mkdir()
    half_there(server, other, resource, sha256=None)
    assert get(server, other, resource, sha256=None).resumed_from == 0


def test_pieces_of_two_files_are_noticed_and_fetched_again_in_one(server, tmp_path):
    resource = server.add("/f.bin", b"x" * len(BODY), etag=None)
    wanted = hashlib.sha256(BODY).hexdigest()
    half_there(server, tmp_path, resource, sha256=wanted)
    resource.body = BODY
    fetched = get(server, tmp_path, resource)
    assert (content(fetched) == BODY, fetched.resumed_from, len(server.seen)) == (True, 0, 2)


def test_more_on_the_disk_than_on_the_server_starts_over(server, tmp_path):
    resource = server.add("/f.bin", BODY)
    half_there(server, tmp_path, resource, sha256=None)
    resource.body = BODY[:500_000]
    fetched = get(server, tmp_path, resource, sha256=None)
    assert (content(fetched) == resource.body, server.headers("Range")) == (True, ["bytes=1000000-", None])


def test_a_wrong_checksum_removes_the_file_and_says_what_came(server, tmp_path):
    resource = server.add("/f.bin", BODY)
    with pytest.raises(ToolFailed) as failed:
        get(server, tmp_path, resource, sha256="0" * 64)
    assert failed.value.lines("data_download") == [
        f"data_download: {server.url}/f.bin: wrong checksum: expected sha256 {'0' * 64}, got {resource.sha256} "
        "(3,000,001 bytes); it was removed: check the source, or correct the checksum"
    ]
    assert list(tmp_path.iterdir()) == []
    assert len(server.seen) == 1


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("size", [10, 3_000_000, 3_000_002])
def test_another_size_than_expected_is_told(server, tmp_path, length, size):
    resource = server.add("/f.bin", BODY, length=length)
    with pytest.raises(ToolFailed, match=f"expected {size:,}; check the source, or correct the size"):
        get(server, tmp_path, resource, size_bytes=size)


def test_a_body_of_unknown_length_is_taken_to_its_end(server, tmp_path):
    assert content(get(server, tmp_path, server.add("/f.bin", BODY, length=False))) == BODY
    assert content(get(server, tmp_path, server.add("/f.bin", b""))) == b""


def test_a_chunked_body_that_breaks_off_is_noticed_though_it_has_no_length(server, tmp_path):
    resource = server.add("/f.bin", BODY, chunked=True, faults=["truncate 1000000"])
    assert content(get(server, tmp_path, resource)) == BODY
    assert [value is not None for value in server.headers("Range")] == [False, True]


def test_a_host_that_is_no_name_is_told(tmp_path):
    wanted = Wanted(url=f"http://{'a' * 70}.example/f.bin", place="f.bin")
    with pytest.raises(ToolFailed, match=r"its host is no name \(.*\); correct the address"):
        fetch(wanted, tmp_path, QUICK, threading.Event(), lambda _count: None)


def test_failures_that_stay_are_given_up_with_what_is_there(server, tmp_path):
    resource = server.add("/f.bin", BODY, faults=["status 503"] * 9)
    with pytest.raises(ToolFailed, match=r"/f.bin: HTTP 503 Service Unavailable; tried 3 times, try again later$"):
        get(server, tmp_path, resource)
    resource.faults = ["truncate 1000000", *["status 503"] * 9]
    with pytest.raises(
        ToolFailed, match=r"tried 3 times, start it again and it goes on after the 1,000,000 bytes that"
    ):
        get(server, tmp_path, resource)


def test_progress_gives_the_tries_back(server, tmp_path):
    big = os.urandom(7_000_000)
    resource = server.add("/f.bin", big, faults=["truncate 1100000"] * 6)
    assert content(get(server, tmp_path, resource)) == big
    assert len(server.seen) == 7


def test_a_server_that_hangs_counts_as_a_failure_after_timeout_s(server, tmp_path):
    resource = server.add("/f.bin", BODY, faults=["hang 1"])
    assert content(get(server, tmp_path, resource, Policy(Access(timeout_s=0.2), 2, 0.01))) == BODY


def test_retry_after_is_kept_unless_it_is_another_day(server, tmp_path):
    resource = server.add("/f.bin", BODY, faults=["status 429 1"])
    began = time.monotonic()
    get(server, tmp_path, resource)
    assert time.monotonic() - began >= 1
    resource = server.add("/f.bin", BODY + b"x", faults=["status 503 7200"])
    with pytest.raises(ToolFailed, match="HTTP 503 Service Unavailable, to be asked again in 7200 s; do so"):
        get(server, tmp_path, resource)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(text, seconds):
    assert retry_after_s(text, now=40.0) == seconds


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (401, "refuses the request (401); put a valid token into NGCRUN_DOWNLOAD_TOKEN"),
        (
            403,
            "refuses the request (403); ask its owner for access, or put a token that has it into NGCRUN_DOWNLOAD_TOKEN",
        ),
        (404, "is not there (404); correct the address"),
        (410, "answers HTTP 410 Gone; correct the address"),
        (418, "answers HTTP 418 I'm a Teapot; open it in a browser, or ask its owner"),
    ],
)
def test_a_no_is_told_at_once(server, tmp_path, code, told):
    resource = server.add("/f.bin", BODY, faults=[f"status {code}"])
    with pytest.raises(BadInput) as failed:
        get(server, tmp_path, resource)
    assert failed.value.lines("data_download") == [f"data_download: urls='{server.url}/f.bin': {told}"]
    assert len(server.seen) == 1


def test_the_token_goes_to_its_own_origin_and_not_past_a_redirect(server, tmp_path):
    with serving() as storage:
        storage.add("/signed", BODY)
        resource = server.add("/f.bin", BODY, token=TOKEN, redirect="/again")
        server.add("/again", token=TOKEN, redirect=f"{storage.url}/signed?sig=s3cret")
        origin = ("http", "127.0.0.1", int(server.url.rpartition(":")[2]))
        policy = Policy(Access(2.0, {origin: f"Bearer {TOKEN}"}), 0, 0.01)
        assert content(get(server, tmp_path, resource, policy)) == BODY
        assert server.headers("Authorization") == [f"Bearer {TOKEN}", f"Bearer {TOKEN}"]
        assert storage.headers("Authorization") == [None]


def test_a_part_of_the_file_is_asked_for_behind_a_redirect_too(server, tmp_path):
    with serving() as storage:
        target = storage.add("/signed", BODY, faults=["truncate 1000000"])
        resource = server.add("/f.bin", redirect=f"{storage.url}/signed?sig=a")
        assert content(get(server, tmp_path, resource, sha256=target.sha256)) == BODY
        assert storage.headers("Range") == [None, "bytes=1000000-"]


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/x", "file:///etc/passwd", "/f.bin"])
def test_a_redirect_astray_is_told(server, tmp_path, to):
    resource = server.add("/f.bin", redirect=to)
    with pytest.raises(BadInput, match=r"f\.bin': answers HTTP 302 "):
        get(server, tmp_path, resource)


def test_nobody_listening_is_told(server, tmp_path):
    wanted = Wanted(url="http://127.0.0.1:9/f.bin", place="f.bin")
    with pytest.raises(
        ToolFailed, match=r"^http://127.0.0.1:9/f.bin: connection refused; tried 3 times, try again later$"
    ):
        fetch(wanted, tmp_path, QUICK, threading.Event(), lambda _count: None)


def test_being_stopped_keeps_what_is_there(server, tmp_path):
    resource = server.add("/f.bin", BODY, pause_s=0.02)
    stop, came = threading.Event(), []

    def tick(count: int) -> None:
        came.append(count)
        if sum(came) > 500_000:
            stop.set()

    wanted = Wanted(url=f"{server.url}/f.bin", place="f.bin", sha256=resource.sha256)
    with pytest.raises(Stopped):
        fetch(wanted, tmp_path, QUICK, stop, tick)
    assert get(server, tmp_path, resource).resumed_from == sum(came) > 500_000


def test_a_damaged_memory_of_a_part_is_as_good_as_none(tmp_path):
    part = Part(tmp_path, "key")
    part.remember(State('"first"', 7))
    assert Part(tmp_path, "key").state.validator == '"first"'
    (tmp_path / f"{part.path.stem}.json").write_text("{")
    assert Part(tmp_path, "key").state.validator == ""
