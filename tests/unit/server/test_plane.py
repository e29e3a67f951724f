"""The data plane under a real server: what clients written for S3 see."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import logging
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from score.protocol.parts import MIB, Span
from score.server.plane import Answer, data_plane, parse_range
from score.storage.base import PlannedPart, StoredPart, UploadId, stored_part
from score.storage.local import LocalStore
from score.testing.serving import Serving

T = TypeVar("T")
KEY = "data/00000000-0000-4000-8000-000000000001"
HOUR = timedelta(hours=1)
NO_UPLOAD = UploadId("0123456789abcdef0123456789abcdef")


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Site:
    """A local store and its server. ``call`` makes one request on a connection of its own."""

    def __init__(self, root: Path, **options: float) -> None:
        self.root = root
        self.serving = Serving()
        self.store = LocalStore(root, "object", base=lambda: self.serving.url)
        self.serving.app = Starlette(routes=data_plane(self.store, **options))

    def __enter__(self) -> Self:
        self.serving.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.serving.__exit__(*raised)
        asyncio.run(self.store.close())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    def put_object(self, data: bytes, key: str = KEY) -> None:
        path = self.root / "object" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get_url(self, span: Span | None = None, ttl: timedelta = HOUR, key: str = KEY) -> str:
        (url,) = self.store.sign_gets(key, [span], ttl)
        return url

    def part_url(self, upload: UploadId, number: int, span: Span, ttl: timedelta = HOUR) -> str:
        (url,) = self.store.sign_parts(KEY, upload, [PlannedPart(number, span)], ttl)
        return url

    def send(self, upload: UploadId, number: int, offset: int, data: bytes) -> StoredPart:
        answer = call("PUT", self.part_url(upload, number, Span(offset, len(data))), data)
        assert answer.status == 200, answer.body
        return StoredPart(number, len(data), answer.headers["etag"].strip('"'))


class Answered:
    """An answer, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def code(self) -> str | None:
        """The code of an error document."""
        return ElementTree.fromstring(self.body).findtext("Code")

    @property
    def message(self) -> str | None:
        return ElementTree.fromstring(self.body).findtext("Message")


@contextmanager
def connected(url: str) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    """A connection to the host of ``url``, and the rest of it."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        yield connection, f"{parts.path}?{parts.query}"
    finally:
        connection.close()


def call(method: str, url: str, body: bytes | None = None, **headers: str) -> Answered:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with connected(url) as (connection, target):
        connection.request(method, target, body, named)
        return Answered(connection.getresponse())


def start_put(connection: http.client.HTTPConnection, target: str, size: int, begun: bytes) -> None:
    """Send the head of a PUT and, when the server has opened the part, the first bytes of its body."""
    connection.putrequest("PUT", target)
    connection.putheader("Content-Length", str(size))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    leave = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert connection.sock.recv(len(leave), socket.MSG_WAITALL) == leave
    connection.send(begun)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path / "root") as site:
        yield site


# Reading


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 17])
def test_a_whole_object(site: Site, size: int) -> None:
    data = noise(size)
    site.put_object(data)
    answer = call("GET", site.get_url())
    assert (answer.status, answer.body == data) == (200, True)
    head = call("HEAD", site.get_url())
    assert (head.status, head.body) == (200, b"")
    for name in ("content-length", "etag", "last-modified", "accept-ranges", "content-type"):
        assert head.headers[name] == answer.headers[name]
    assert answer.headers["content-length"] == str(size)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')
    assert answer.headers["last-modified"].endswith(" GMT")


@pytest.mark.parametrize(
    ("asked", "status", "first", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=5-9", 206, 5, 10),
        ("bytes=9-", 206, 9, 3 * MIB),
        ("bytes=-7", 206, 3 * MIB - 7, 3 * MIB),
        ("bytes=-99999999", 206, 0, 3 * MIB),
        ("bytes=1-99999999", 206, 1, 3 * MIB),
        ("bytes=5-4", 200, 0, 3 * MIB),
        ("bytes=0-1,4-5", 200, 0, 3 * MIB),
        ("lines=0-1", 200, 0, 3 * MIB),
        ("bytes=-", 200, 0, 3 * MIB),
    ],
)
def test_ranges(site: Site, asked: str, status: int, first: int, end: int) -> None:
    data = noise(3 * MIB)
    site.put_object(data)
    answer = call("GET", site.get_url(), Range=asked)
    assert (answer.status, answer.body == data[first:end]) == (status, True)
    assert answer.headers["content-length"] == str(end - first)
    wanted = f"bytes {first}-{end - 1}/{len(data)}" if status == 206 else None
    assert answer.headers.get("content-range") == wanted
    head = call("HEAD", site.get_url(), Range=asked)
    assert (head.status, head.headers.get("content-range"), head.body) == (status, wanted, b"")


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-11", "bytes=-0"])
def test_ranges_outside(site: Site, asked: str) -> None:
    site.put_object(b"0123456789")
    answer = call("GET", site.get_url(), Range=asked)
    assert (answer.status, answer.code) == (416, "InvalidRange")
    assert answer.headers["content-range"] == "bytes */10"


@given(
    st.sampled_from(["{}-{}", "{}-", "-{}", "-", "{}-{},{}-{}", "x{}-{}", "{}"]),
    st.lists(st.integers(0, 12), min_size=4, max_size=4),
    st.integers(0, 10),
)
@settings(deadline=None)
def test_ranges_as_the_rfc_says(form: str, numbers: list[int], size: int) -> None:
    data = bytes(range(size))
    text = form.format(*numbers)
    one, two = numbers[:2]
    match form:
        case "{}-{}" if one <= two:
            expected = data[one : two + 1]
        case "{}-":
            expected = data[one:]
        case "-{}":
            expected = data[-one:] if one else b""
        case _:
            assert parse_range(f"bytes={text}", size) is None
            return
    if not expected:
        with pytest.raises(Answer):
            parse_range(f"bytes={text}", size)
    else:
        span = parse_range(f"bytes={text}", size)
        assert span is not None
        assert data[span.offset : span.end] == expected


def test_a_url_of_a_span_takes_its_range_and_no_other(site: Site) -> None:
    data = noise(100)
    site.put_object(data)
    url = site.get_url(Span(10, 20))
    answer = call("GET", url, Range="bytes=10-29")
    assert (answer.status, answer.body) == (206, data[10:30])
    assert call("HEAD", url, Range="bytes=10-29").status == 206
    for headers in ({}, {"Range": "bytes=10-30"}, {"Range": "bytes=0-99"}, {"Range": "bytes=10-29,31-32"}):
        refused = call("GET", url, **headers)
        assert (refused.status, refused.code) == (403, "AccessDenied")


def test_conditions(site: Site) -> None:
    site.put_object(b"0123456789")
    url = site.get_url()
    headers = call("HEAD", url).headers
    etag, modified = headers["etag"], headers["last-modified"]
    for good in (etag, "*", f'"other", {etag}'):
        assert call("GET", url, If_Match=good).status == 200
    for bad in ('"other"', f"W/{etag}", ""):
        refused = call("GET", url, If_Match=bad)
        assert (refused.status, refused.code) == (412, "PreconditionFailed")
    for same in (etag, modified):
        assert call("GET", url, Range="bytes=0-1", If_Range=same).status == 206
    whole = call("GET", url, Range="bytes=0-1", If_Range='"other"')
    assert (whole.status, whole.body) == (200, b"0123456789")


def test_what_is_not_there_or_not_allowed(site: Site) -> None:
    missing = call("GET", site.get_url())
    assert (missing.status, missing.code) == (404, "NoSuchKey")
    assert call("HEAD", site.get_url()).status == 404
    site.put_object(b"secret")
    expired = call("GET", site.get_url(ttl=-HOUR))
    assert (expired.status, expired.code) == (403, "AccessDenied")
    assert "Request has expired" in str(expired.message)
    url = site.get_url()
    for wrong in (
        url.partition("?")[0],
        url[:-1],
        url.replace("expires=", "expires=9"),
        url.replace("0001?", "0002?"),
    ):
        refused = call("GET", wrong)
        assert (refused.status, refused.code) == (403, "AccessDenied")
    for method in ("POST", "DELETE", "PATCH"):
        refused = call(method, url)
        assert (refused.status, refused.code) == (405, "MethodNotAllowed")


@pytest.mark.parametrize(
    "key", ["../../.secret", "%2e%2e/%2e%2e/.secret", "..%2f..%2f.secret", "data/%00", "%2fetc/passwd"]
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_paths_that_lead_out(site: Site, method: str, key: str) -> None:
    site.put_object(b"x")
    answer = call(method, site.get_url().replace(KEY, key), b"" if method == "PUT" else None)
    assert answer.status in (403, 404)
    assert (site.root / ".secret").read_bytes() not in answer.body


@pytest.mark.parametrize("key", ["data/../../x", "data//x", "data/\0"])
def test_signed_paths_that_lead_out(site: Site, key: str) -> None:
    answer = call("GET", site.get_url(key=key))
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_an_object_that_shrinks_under_a_reader_ends_early(site: Site) -> None:
    # A full read-ahead of the connection keeps the server from having sent all of it.
    site.put_object(noise(64 * MIB))
    with connected(site.get_url()) as (connection, target):
        connection.request("GET", target)
        response = connection.getresponse()
        assert response.read(1)
        os.truncate(site.root / "object" / KEY, MIB)
        with pytest.raises(http.client.IncompleteRead):
            response.read()


def test_a_reader_that_goes_away_harms_nobody(site: Site) -> None:
    data = noise(64 * MIB)
    site.put_object(data)
    for _ in range(5):
        with connected(site.get_url()) as (connection, target):
            connection.request("GET", target)
            assert connection.getresponse().read(10) == data[:10]
    assert call("GET", site.get_url(), Range="bytes=0-9").body == data[:10]


# Writing


@pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB + 17])
def test_a_part(site: Site, size: int) -> None:
    data = noise(size)
    upload = site.run(site.store.begin(KEY))
    answer = call("PUT", site.part_url(upload, 1, Span(0, size)), data)
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, b"", f'"{md5(data)}"')
    part = StoredPart(1, size, md5(data))
    assert site.run(stored_part(site.store, KEY, upload, 1)) == part
    site.run(site.store.complete(KEY, upload, [part]))
    assert call("GET", site.get_url()).body == data


def test_parts_on_one_connection(site: Site) -> None:
    upload = site.run(site.store.begin(KEY))
    bodies = [noise(100_000, seed) for seed in range(4)]
    urls = [site.part_url(upload, n + 1, Span(n * 100_000, 100_000)) for n in range(4)]
    with connected(urls[0]) as (connection, _):
        for url, body in zip(urls, bodies, strict=True):
            parts = urlsplit(url)
            connection.request("PUT", f"{parts.path}?{parts.query}", body)
            assert Answered(connection.getresponse()).status == 200
    parts_stored = [StoredPart(n + 1, 100_000, md5(body)) for n, body in enumerate(bodies)]
    site.run(site.store.complete(KEY, upload, parts_stored))
    assert call("GET", site.get_url()).body == b"".join(bodies)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [(b"1234", 400, "IncompleteBody"), (b"", 400, "IncompleteBody"), (b"123456", 400, "EntityTooLarge")],
)
def test_a_part_of_another_size(site: Site, body: bytes, status: int, code: str) -> None:
    upload = site.run(site.store.begin(KEY))
    answer = call("PUT", site.part_url(upload, 1, Span(0, 5)), body)
    assert (answer.status, answer.code) == (status, code)
    assert site.run(stored_part(site.store, KEY, upload, 1)) is None


def test_a_part_without_length(site: Site) -> None:
    upload = site.run(site.store.begin(KEY))
    with connected(site.part_url(upload, 1, Span(0, 5))) as (connection, target):
        connection.request(
            "PUT", target, iter([b"hello"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
        )
        answer = Answered(connection.getresponse())
    assert (answer.status, answer.code) == (411, "MissingContentLength")
    assert site.run(stored_part(site.store, KEY, upload, 1)) is None


def test_content_md5(site: Site) -> None:
    upload = site.run(site.store.begin(KEY))
    url = site.part_url(upload, 1, Span(0, 5))

    def send(body: bytes, of: bytes) -> Answered:
        return call("PUT", url, body, Content_MD5=base64.b64encode(hashlib.md5(of).digest()).decode())

    wrong = send(b"hellO", b"hello")
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    assert site.run(stored_part(site.store, KEY, upload, 1)) is None
    assert send(b"hello", b"hello").status == 200
    nonsense = call("PUT", url, b"hello", Content_MD5="nonsense")
    assert (nonsense.status, nonsense.code) == (400, "InvalidDigest")
    assert site.run(stored_part(site.store, KEY, upload, 1)) is not None


def test_parts_that_are_refused(site: Site) -> None:
    upload = site.run(site.store.begin(KEY))
    span = Span(0, 5)
    url = site.part_url(upload, 1, span)
    gone = call("PUT", site.part_url(NO_UPLOAD, 1, span), b"hello")
    assert (gone.status, gone.code) == (404, "NoSuchUpload")
    expired = call("PUT", site.part_url(upload, 1, span, -HOUR), b"hello")
    assert (expired.status, expired.code) == (403, "AccessDenied")
    assert "Request has expired" in str(expired.message)
    changed = [
        url.replace("partNumber=1", "partNumber=2"),
        url.replace("offset=0", "offset=1"),
        url.replace("size=5", "size=6"),
        url.partition("?")[0],
        site.get_url(),
    ]
    for wrong in changed:
        refused = call("PUT", wrong, b"hello")
        assert (refused.status, refused.code) == (403, "AccessDenied")
    assert list(site.root.glob(".uploads/object/*/part-*")) == []


def test_a_refusal_reaches_a_client_that_sends_on(site: Site) -> None:
    upload = site.run(site.store.begin(KEY))
    body = noise(20 * MIB)
    url = site.part_url(upload, 1, Span(0, len(body)), -HOUR)
    with connected(url) as (connection, target):
        for _ in range(2):
            connection.request("PUT", target, body)
            assert Answered(connection.getresponse()).code == "AccessDenied"


def test_a_sender_that_waits_for_leave_is_refused_before_the_body(site: Site) -> None:
    with connected(site.part_url(NO_UPLOAD, 1, Span(0, 5))) as (connection, target):
        connection.putrequest("PUT", target)
        connection.putheader("Content-Length", "5")
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        assert Answered(connection.getresponse()).code == "NoSuchUpload"


def test_a_connection_that_breaks_leaves_no_part(site: Site) -> None:
    upload = site.run(site.store.begin(KEY))
    data = noise(4 * MIB)
    url = site.part_url(upload, 1, Span(0, len(data)))
    for sent in (0, 1, 2 * MIB, len(data) - 1):
        with connected(url) as (connection, target):
            start_put(connection, target, len(data), data[:sent])
        assert site.run(stored_part(site.store, KEY, upload, 1)) is None
    part = site.send(upload, 1, 0, data)
    site.run(site.store.complete(KEY, upload, [part]))
    assert call("GET", site.get_url()).body == data


def test_the_later_sender_of_a_part_wins(site: Site) -> None:
    upload = site.run(site.store.begin(KEY))
    early, late = noise(4 * MIB, 1), noise(4 * MIB, 2)
    url = site.part_url(upload, 1, Span(0, len(early)))
    with connected(url) as (connection, target):
        start_put(connection, target, len(early), early[: 3 * MIB])
        part = site.send(upload, 1, 0, late)
        connection.send(early[3 * MIB :])
        answer = Answered(connection.getresponse())
    assert (answer.status, answer.code) == (503, "SlowDown")
    assert site.run(stored_part(site.store, KEY, upload, 1)) == part
    site.run(site.store.complete(KEY, upload, [part]))
    assert call("GET", site.get_url()).body == late


def test_a_sender_that_falls_silent_is_asked_to_try_again(tmp_path: Path) -> None:
    with Site(tmp_path, silence=0.05) as site:
        upload = site.run(site.store.begin(KEY))
        with connected(site.part_url(upload, 1, Span(0, 5))) as (connection, target):
            start_put(connection, target, 5, b"hell")
            answer = Answered(connection.getresponse())
            assert (answer.status, answer.code) == (400, "RequestTimeout")
            assert answer.headers["connection"] == "close"
        assert site.run(stored_part(site.store, KEY, upload, 1)) is None


def test_no_log_holds_a_signature(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    upload = site.run(site.store.begin(KEY))
    url = site.part_url(upload, 1, Span(0, 5))
    with connected(url) as (connection, target):
        start_put(connection, target, 5, b"he")
    answers = [call("PUT", url, b"hello"), call("PUT", url + "0", b"hello"), call("GET", site.get_url())]
    assert [answer.status for answer in answers] == [200, 403, 404]
    signature = url.rpartition("=")[2]
    assert signature not in caplog.text
    assert all(signature.encode() not in answer.body for answer in answers)


# Real processes

SERVER = """
import resource, sys
from pathlib import Path
from starlette.applications import Starlette
from score.server.plane import data_plane
from score.storage.local import LocalStore
from score.testing.serving import Serving

if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
serving = Serving()
serving.app = Starlette(routes=data_plane(LocalStore(Path(sys.argv[1]), "object", base=lambda: serving.url)))
with serving:
    print(serving.url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def served(root: Path, *arguments: str) -> Iterator[tuple[LocalStore, subprocess.Popen[str]]]:
    """A server of its own process, and a store here that signs URLs for it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(root), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process, ExitStack() as stack:
        stack.callback(process.kill)
        assert process.stdout
        url = process.stdout.readline().strip()
        assert url
        store = LocalStore(root, "object", base=lambda: url)
        stack.callback(lambda: asyncio.run(store.close()))
        yield store, process


def put(store: LocalStore, upload: UploadId, number: int, offset: int, data: bytes) -> Answered:
    (url,) = store.sign_parts(KEY, upload, [PlannedPart(number, Span(offset, len(data)))], HOUR)
    return call("PUT", url, data)


def test_an_upload_survives_the_death_of_the_server(tmp_path: Path) -> None:
    one, two = noise(3 * MIB, 1), noise(3 * MIB, 2)
    with served(tmp_path) as (store, process):
        upload = asyncio.run(store.begin(KEY))
        first = put(store, upload, 1, 0, one)
        assert first.status == 200
        (url,) = store.sign_parts(KEY, upload, [PlannedPart(2, Span(len(one), len(two)))], HOUR)
        with connected(url) as (connection, target):
            start_put(connection, target, len(two), two[: 2 * MIB])
            process.send_signal(signal.SIGKILL)
            process.wait(30)
    with served(tmp_path) as (store, _):
        parts = [StoredPart(1, len(one), md5(one)), StoredPart(2, len(two), md5(two))]
        assert asyncio.run(stored_part(store, KEY, upload, 1)) == parts[0]
        assert asyncio.run(stored_part(store, KEY, upload, 2)) is None
        assert put(store, upload, 2, len(one), two).status == 200
        asyncio.run(store.complete(KEY, upload, parts))
        (get,) = store.sign_gets(KEY, [None], HOUR)
        assert call("GET", get).body == one + two


def test_a_full_disk_is_a_507_that_loses_nothing(tmp_path: Path) -> None:
    one, two = noise(3 * MIB, 1), noise(3 * MIB, 2)
    with served(tmp_path, str(4 * MIB)) as (store, _):
        upload = asyncio.run(store.begin(KEY))
        assert put(store, upload, 1, 0, one).status == 200
        for _ in range(2):
            full = put(store, upload, 2, len(one), two)
            assert (full.status, full.code) == (507, "InsufficientStorage")
            assert asyncio.run(stored_part(store, KEY, upload, 2)) is None
        assert put(store, upload, 1, 0, one).status == 200
    with served(tmp_path) as (store, _):
        assert put(store, upload, 2, len(one), two).status == 200
        parts = [StoredPart(1, len(one), md5(one)), StoredPart(2, len(two), md5(two))]
        asyncio.run(store.complete(KEY, upload, parts))
        assert (tmp_path / "object" / KEY).read_bytes() == one + two
