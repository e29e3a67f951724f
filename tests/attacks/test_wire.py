"""Attacks on the wire: requests hidden within requests, headers made out of ids, URLs and headers that lie."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from score.server.build import open_service
from score.server.edge import MOST_WAITING
from score.server.reading import read_settings
from score.testing.server import RunningServer

OBJECT = "5c0e0000-0000-4000-8000-000000000001"
HIDDEN = b"GET /v2/api-docs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""A request whose answer nothing else looks like."""
MARK = b'"openapi"'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    settings = read_settings([f"--local.directory={folder / 'data'}"], {}, folder).settings
    with RunningServer(lambda: open_service(settings), settings) as server:
        yield server


def talk(server: RunningServer, sent: bytes) -> bytes:
    """Everything that comes back until the server hangs up."""
    address = urlsplit(server.url)
    assert address.hostname
    received = b""
    with socket.create_connection((address.hostname, address.port or 0), timeout=20) as connection:
        try:
            connection.sendall(sent)
            while more := connection.recv(65536):
                received += more
        except ConnectionError:
            pass
    return received


def request(*headers: bytes, body: bytes = b"", line: bytes = b"POST /upload/cancel HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: x", *headers, b"", body])


@pytest.mark.parametrize(
    "sent",
    [
        request(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
        request(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n" + HIDDEN),
        request(b"Content-Length: 0", b"Content-Length: %d" % len(HIDDEN), body=HIDDEN),
        request(b"Content-Length: 0", b"Content-Length: 0", body=HIDDEN),
        request(b"Content-Length: 0, 0", body=HIDDEN),
        request(b"Content-Length: +0", body=HIDDEN),
        request(b"Content-Length: -1", body=HIDDEN),
        request(b"Content-Length: 0x0", body=HIDDEN),
        request(b"Content-Length: ", body=HIDDEN),
        request(b"Content-Length : 0", body=HIDDEN),
        request(b"Content-Length:\x0b0", body=HIDDEN),
        request(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + HIDDEN),
        request(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + HIDDEN),
        request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n" + HIDDEN),
        request(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n" + HIDDEN),
        request(b"Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n" + HIDDEN),
        request(b"X: a\nTransfer-Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
        request(b"X: a\rTransfer-Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
        request(b"X: a\x00b", body=HIDDEN),
        request(b" folded: x", body=HIDDEN),
        request(b"X: a", b" Content-Length: 5", body=HIDDEN),
        request(b"X: a", b"\tContent-Length: 5", body=HIDDEN),
        request(b"Transfer-Encoding: chunked", body=b"0x0\r\n\r\n" + HIDDEN),
        request(b"Transfer-Encoding: chunked", body=b"-1\r\n\r\n" + HIDDEN),
        request(b"Transfer-Encoding: chunked", body=b"1\r\nAB\r\n0\r\n\r\n" + HIDDEN),
        request(b"Transfer-Encoding: chunked", body=b"0\n\n" + HIDDEN),
        request(b"Transfer-Encoding: chunked", body=b"0;a\nb\r\n\r\n" + HIDDEN),
        request(b"Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\n" + HIDDEN),
        request().replace(b"\r\n", b"\n") + HIDDEN,
        request(b"X: a\n\nGET /v2/api-docs HTTP/1.1\nHost: x\n\n"),
        request(line=b"POST /upload/cancel HTTP/1.1\nX: y") + HIDDEN,
        request(line=b"POST  /upload/cancel HTTP/1.1 ") + HIDDEN,
        request(line=b"POST /upload/cancel HTTP/1.1\x00") + HIDDEN,
    ],
)
def test_no_request_can_be_hidden_within_another(server: RunningServer, sent: bytes) -> None:
    """What two readers could take for one request or for two is refused, and the connection ends with it."""
    answer = talk(server, sent)
    assert MARK not in answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")), answer
    assert b"connection: close" in answer


def test_the_hidden_request_would_be_seen(server: RunningServer) -> None:
    """Two requests that are honest about it get two answers: the test above can fail."""
    answer = talk(server, request(b"Content-Length: 0") + HIDDEN)
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert MARK in answer


@pytest.mark.parametrize("to", [b"websocket", b"h2c", b"foo"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"X: no body", 200),
        (b"Content-Length: 0", 200),
        (b"Content-Length: %d" % len(HIDDEN), 400),
        (b"Transfer-Encoding: chunked", 400),
    ],
)
def test_no_request_hides_behind_a_change_of_protocol(
    server: RunningServer, to: bytes, body: bytes, status: int
) -> None:
    """Whoever asks for another protocol is answered in this one, and nothing after that is taken for a request, since
    a proxy may have taken it for the body. A body cannot be told from it, and is refused."""
    address = urlsplit(server.url)
    head = request(b"Connection: Upgrade", b"Upgrade: " + to, body)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as connection:
        connection.sendall(head)
        answer = connection.recv(65536)
        try:
            connection.sendall(HIDDEN)
            while more := connection.recv(65536):
                answer += more
        except ConnectionError:
            pass
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"connection: close" in answer.lower()
    assert MARK not in talk(server, head + HIDDEN)


@pytest.mark.parametrize(
    "trailer",
    [b"X-Request-Id: of-the-trailer", b"Host: evil.example", b"Origin: http://evil.example", b"X: " + b"x" * 70000],
)
def test_what_follows_a_body_is_no_header(server: RunningServer, trailer: bytes) -> None:
    """Trailers are passed over: who looked at the head, or wrote into it, did not see them."""
    sent = request(
        b"Transfer-Encoding: chunked", b"Connection: close", body=b"1\r\nx\r\n0\r\n" + trailer + b"\r\n\r\n"
    )
    answer = talk(server, sent)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert b"of-the-trailer" not in answer


def test_no_connection_is_left_that_answers_nobody(server: RunningServer) -> None:
    """The parser hears nothing after a trailer that ends the connection: so it ends, and no proxy uses it again."""
    head, trailer = request(b"Transfer-Encoding: chunked"), b"0\r\nConnection: close\r\n\r\n"
    answer = talk(server, head + trailer)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(trailer)
        while connection.recv(65536):
            pass


@pytest.mark.parametrize("more", [b"no request\r\n\r\n", request() * (MOST_WAITING + 1)])
def test_no_refusal_gets_into_the_bytes_of_an_object(server: RunningServer, folder: Path, more: bytes) -> None:
    """Who sends what is refused while an object is on its way gets it cut off, and no byte of anything else in it."""
    sentinel = folder / "data/object/data/heliograph"
    size = 64 * 1024 * 1024
    try:
        os.truncate(sentinel, size)
        url = talk(server, request(b"Connection: close", line=b"GET /download/ping HTTP/1.1"))
        target = urlsplit(url.partition(b"\r\n\r\n")[2])
        line = b"GET %s?%s HTTP/1.1" % (target.path, target.query)
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as connection:
            connection.sendall(request(line=line))
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            connection.sendall(more)
            received = bytearray(body)
            with suppress(ConnectionError):
                while piece := connection.recv(1024 * 1024):
                    received += piece
    finally:
        os.truncate(sentinel, 0)
    assert len(received) < size
    assert not received.strip(b"\0")


def test_a_tunnel_is_not_made(server: RunningServer) -> None:
    """CONNECT is answered, and what follows is not taken for a request."""
    answer = talk(server, request(line=b"CONNECT /upload/cancel HTTP/1.1") + HIDDEN)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert MARK not in answer


INJECTED = [
    "%0d%0aX-Evil:%201",
    "%0aX-Evil:%201",
    "%0d%0a%0d%0aHTTP/1.1 200 OK",
    "%E5%98%8A%E5%98%8DX-Evil:1",
    "%00",
    "%7f",
]


@pytest.mark.parametrize("evil", INJECTED)
def test_no_header_can_be_made_out_of_an_id(server: RunningServer, evil: str) -> None:
    evil = evil.replace(" ", "%20")
    for method, path in (
        ("GET", f"/upload/{OBJECT}{evil}"),
        ("GET", f"/download/{evil}{OBJECT}?offset=0&length=-1"),
        ("POST", f"/upload/{OBJECT}?uploadId={evil}"),
        ("POST", f"/upload/{OBJECT}/parts?partNumber=1&uploadId=a&md5={evil}&etag={evil}"),
        ("PUT", f"/store/object/data/{OBJECT}{evil}?signature=0"),
        ("PATCH", f"/upload/{OBJECT}{evil}"),
        ("GET", f"/entities/{evil}"),
        ("GET", f"/{evil}"),
    ):
        answer = talk(server, f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        assert answer.count(b"HTTP/1.1 ") == 1 + body.count(b"HTTP/1.1 ")
        assert head.startswith(b"HTTP/1.1 4")
        assert b"evil" not in head.lower()
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        assert int(length.partition(b":")[2]) == len(body)


def test_no_header_can_be_made_out_of_a_token(server: RunningServer, tmp_path: Path) -> None:
    settings = [
        "--spring.profiles.active=local,secure", f"--local.directory={tmp_path}",
        "--spring.security.oauth2.resourceserver.jwt.public-key-location=http://127.0.0.1:1/key",
    ]  # fmt: skip
    chosen = read_settings(settings, {}, tmp_path).settings
    with RunningServer(lambda: open_service(chosen), chosen) as secure:
        for token in (b'a"b, X-Evil="1', b"a\tb", b"\xc3\xa4", b"a.b.c\\", b"." * 5000):
            answer = talk(secure, request(b"Authorization: Bearer " + token, b"Connection: close"))
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 503 "))
            assert b"evil" not in head.lower()
            assert json.loads(body)["requestId"]


@pytest.mark.parametrize(
    "host",
    ["x\tb", "x, y", "x y", "x@y", "http://x", "x/../y", "x:y", "x:123456", "[::1", "\u00e4", "x#y", "x?y", "'",
     "[....]", "[::::]", "[1.2.3.4]", "[1:2]", "[::1].", "[::1]x"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/download/ping", "/"])
def test_no_url_is_made_of_a_host_that_is_none(server: RunningServer, host: str, path: str) -> None:
    sent = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    answer = talk(server, sent)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"signature" not in answer


@pytest.mark.parametrize("host", ["[::1]:8080", "[2001:DB8::1]", "[::ffff:127.0.0.1]", "a_b.example:1"])
def test_a_url_is_made_of_a_host_that_is_one(server: RunningServer, host: str) -> None:
    sent = f"GET /download/ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    assert talk(server, sent).partition(b"\r\n\r\n")[2].startswith(f"http://{host}/store/".encode())


def test_requests_that_wait_on_a_connection_are_few(server: RunningServer) -> None:
    """Who sends requests without end, and reads no answers, costs no more memory than a few of them."""
    one = request(line=b"GET /profile HTTP/1.1")
    last = request(b"Connection: close", line=b"GET /profile HTTP/1.1")
    answer = talk(server, one * MOST_WAITING + last)
    assert answer.count(b"HTTP/1.1 200 ") == MOST_WAITING + 1
    answer = talk(server, one * 1000)
    assert answer.count(b"HTTP/1.1 200 ") <= MOST_WAITING
    assert b"HTTP/1.1 400 " in answer
    assert f"More than {MOST_WAITING} requests".encode() in answer


def test_headers_that_rewrite_requests_are_not_believed(server: RunningServer) -> None:
    """Of a header that a proxy would set none decides where a URL leads or what is called."""
    lies = [
        b"X-Forwarded-Host: evil.example", b"X-Forwarded-Proto: https", b"Forwarded: host=evil.example;proto=https",
        b"X-Original-URL: /v2/api-docs", b"X-Rewrite-URL: /v2/api-docs", b"X-HTTP-Method-Override: DELETE",
        b"X-Forwarded-Prefix: /evil",
    ]  # fmt: skip
    answer = talk(server, request(*lies, b"Connection: close", line=b"GET /download/ping HTTP/1.1"))
    assert answer.partition(b"\r\n\r\n")[2].startswith(b"http://x/store/")
    absolute = talk(server, request(b"Connection: close", line=b"GET http://evil.example/download/ping HTTP/1.1"))
    assert b"evil.example" not in absolute
