"""What one caller may ask for at once, and from which web pages: limits, slow callers, CORS, security headers."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from score.errors import Misconfigured
from score.server.build import Service, open_service
from score.server.edge import LARGEST_BODY, LARGEST_HEAD, LONGEST_QUERY, MOST_HEADERS, Protocol
from score.server.reading import read_settings
from score.testing.certificates import Authority
from score.testing.server import RunningServer

OBJECT = "5c0e0000-0000-4000-8000-000000000001"
HEAD = b"GET /profile HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


class Impatient(Protocol):
    """Waits next to no time for a head."""

    head_within = 0.05


def serving(folder: Path, *arguments: str, **more: Any) -> RunningServer:
    settings = read_settings([f"--local.directory={folder / 'data'}", *arguments], {}, folder).settings
    return RunningServer(lambda: open_service(settings), settings, **more)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with serving(tmp_path) as server:
        yield server


def connect(server: RunningServer) -> socket.socket:
    address = urlsplit(server.url)
    assert address.hostname
    return socket.create_connection((address.hostname, address.port or 0), timeout=30)


def rest(connection: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    received = b""
    try:
        while more := connection.recv(65536):
            received += more
    except ConnectionError:
        pass
    return received


# Where it is


def test_the_whole_server_is_below_a_path(tmp_path: Path, http: urllib3.PoolManager) -> None:
    """As the reference, Spring Boot's, is with this setting: health and URLs of the store too."""
    with serving(tmp_path, "--server.servlet.context-path=/storage-api/") as server:
        base = f"{server.url}/storage-api"
        for path in ("profile", "profile/", "actuator/health", "health", "ready", "metrics", "page/files/page.js"):
            assert http.request("GET", f"{base}/{path}").status == 200, path
        sentinel = http.request("GET", f"{base}/download/ping").data.decode()
        assert sentinel.startswith(f"{base}/store/")
        assert http.request("GET", sentinel).status == 200
        page = http.request("GET", f"{base}/")
        assert f"STORAGE_URL={base}\n" in page.data.decode()
        assert server.url not in page.headers["content-security-policy"]
        assert http.request("GET", f"{base}/v2/api-docs").json()["servers"] == [{"url": "/storage-api"}]
        wrong = http.request("PUT", f"{base}/nothing", body=b"x" * (LARGEST_BODY + 1))
        assert (wrong.status, wrong.json()["path"]) == (413, "/storage-api/nothing")
        for path in ("nothing", f"upload/{OBJECT}/status", f"download/{OBJECT}?offset=0&length=-1"):
            asked = f"{base}/{path}"
            assert http.request("GET", asked).json()["path"] == urlsplit(asked).path
        top = http.request("GET", base, redirect=False)
        assert (top.status, top.headers["location"]) == (302, "/storage-api/")
        for path in ("/", "/profile", "/ready", "/storage-apis/profile", "/x/storage-api/profile"):
            answer = http.request("GET", server.url + path)
            assert (answer.status, answer.json()["path"]) == (404, path)
            assert "below /storage-api/ (server.servlet.context-path)" in answer.json()["message"]


# Sizes


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (HEAD + b"X: 1\r\n" * (MOST_HEADERS - 2) + b"\r\n", 200, b"s3"),
        (HEAD + b"X: 1\r\n" * (MOST_HEADERS - 1) + b"\r\n", 400, b"more than 100 headers"),
        (HEAD.replace(b"/profile", b"/profile?" + b"x" * LONGEST_QUERY) + b"\r\n", 200, b"s3"),
        (HEAD.replace(b"/profile", b"/profile?" + b"x" * (LONGEST_QUERY + 1)) + b"\r\n", 414, b"query is longer"),
        (HEAD + b"X: %s\r\n\r\n" % (b"x" * (LARGEST_HEAD - 2000)), 200, b"s3"),
        (HEAD + b"X: %s\r\n\r\n" % (b"x" * LARGEST_HEAD), 400, b"longer than 65536 bytes"),
        (HEAD + b"Content-Length: %d\r\n\r\n" % (LARGEST_BODY + 1), 413, b"takes no body of that size"),
        (HEAD + b"Content-Length: 000000000000000000001\r\n\r\n", 413, b"takes no body of that size"),
    ],
)
def test_sizes_of_requests_have_limits(server: RunningServer, sent: bytes, status: int, said: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(sent)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert said in answer


def test_a_body_without_end_is_cut_off(server: RunningServer) -> None:
    """Nobody reads it, and the answer was given long before."""
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with connect(server) as connection:
        connection.sendall(HEAD.replace(b"close", b"keep-alive") + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with pytest.raises(ConnectionError):  # noqa: PT012 - which piece it is that meets the end is not known
            while sent < 100 * LARGEST_BODY:
                connection.sendall(piece)
                sent += len(piece)


# Slow callers


@pytest.mark.parametrize(
    "sent",
    [b"\r\n", b"GET /pro", b"GET /profile HTTP/1.1\r\nHost: x\r\nX-", HEAD + b"X: 1"],
    ids=["line-end", "request-line", "name", "value"],
)
def test_a_head_that_does_not_come_ends_the_connection(tmp_path: Path, sent: bytes) -> None:
    with serving(tmp_path, protocol=Impatient) as server, connect(server) as connection:
        connection.sendall(sent)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 408


def test_a_second_head_that_does_not_come_ends_the_connection(tmp_path: Path) -> None:
    class Hasty(Protocol):
        """Waits long enough for a head that does come."""

        head_within = 1.0

    with serving(tmp_path, protocol=Hasty) as server, connect(server) as connection:
        connection.sendall(b"GET /profile HTTP/1.1\r\nHost: x\r\n\r\nGET /profile HT")
        answer = rest(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\n\r\ns3HTTP/1.1 408 " in answer


def test_a_connection_without_a_word_is_closed_without_one(tmp_path: Path) -> None:
    """Load balancers keep such ones for later."""
    with serving(tmp_path, keep_alive=0) as server, connect(server) as connection:
        assert rest(connection) == b""


def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    with serving(tmp_path, keep_alive=1) as server, connect(server) as connection:
        connection.sendall(b"GET /profile HTTP/1.1\r\nHost: x\r\n\r\n")
        assert rest(connection).endswith(b"\r\n\r\ns3")


def test_a_body_after_the_answer_does_not_count_as_a_head(tmp_path: Path) -> None:
    class Hasty(Protocol):
        """Waits long enough for a head that does come."""

        head_within = 1.0

    with serving(tmp_path, protocol=Hasty, keep_alive=2) as server, connect(server) as connection:
        connection.sendall(b"GET /profile HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"12345")
        assert b"408" not in rest(connection)


def test_a_connection_on_which_nothing_is_taken_ends(tmp_path: Path, http: urllib3.PoolManager) -> None:
    """Who reads nothing would have an answer and its connection for ever."""
    ended = threading.Event()

    class Hasty(Protocol):
        """Waits next to no time for a client to take what is sent."""

        taken_within = 0.2

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if isinstance(exc, TimeoutError):
                ended.set()

    with serving(tmp_path, protocol=Hasty) as server:
        url = http.request("GET", f"{server.url}/download/ping").data.decode()
        (sentinel,) = tmp_path.rglob("heliograph")
        with sentinel.open("r+b") as file:
            file.truncate(256 * 1024**2)
        with connect(server) as connection:
            connection.sendall(f"GET {url.removeprefix(server.url)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert ended.wait(30)


@pytest.mark.parametrize(("call", "status"), [(b"/studies/S/", 408), (b"/htsget/reads/x", 400)])
def test_a_payload_that_does_not_come_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: bytes, status: int
) -> None:
    monkeypatch.setattr("score.server.bodies.SILENCE", 0.05)
    head = b"POST " + call + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n\r\n"
    with serving(tmp_path) as server, connect(server) as connection:
        connection.sendall(head + b"{")
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"No data arrived" in answer


@pytest.mark.parametrize("call", [b"/studies/S/", b"/htsget/reads/x"])
def test_a_sender_who_hangs_up_is_no_defect(
    tmp_path: Path, http: urllib3.PoolManager, caplog: pytest.LogCaptureFixture, call: bytes
) -> None:
    """Logs cannot be filled with traces by whoever hangs up in the middle of a body."""
    with serving(tmp_path) as server, connect(server) as connection:
        connection.sendall(b"POST " + call + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        rest(connection)
    assert not [record for record in caplog.records if record.exc_info]


def test_the_slow_do_not_stop_the_others(server: RunningServer, http: urllib3.PoolManager) -> None:
    slow = [connect(server) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(b"GET /profile HTTP/1.1\r\nX-")
        assert http.request("GET", f"{server.url}/profile").data == b"s3"
    finally:
        for connection in slow:
            connection.close()


# Calls at once


def test_calls_at_once_with_one_token(tmp_path: Path, http: urllib3.PoolManager) -> None:
    inside, go = threading.Semaphore(0), threading.Event()

    async def opening() -> Service:
        service = await open_service(settings)
        real = service.objects.stat

        async def slow(key: str) -> Any:
            import asyncio

            inside.release()
            await asyncio.to_thread(go.wait, 60)
            return await real(key)

        monkey.setattr(service.objects, "stat", slow)
        return service

    settings = read_settings([f"--local.directory={tmp_path}", "--server.requestsPerToken=2"], {}, tmp_path).settings
    with pytest.MonkeyPatch.context() as monkey, RunningServer(opening, settings) as server:

        def call(token: str, scheme: str = "Bearer ") -> urllib3.BaseHTTPResponse:
            headers = {"Authorization": scheme + token} if token else {}
            return http.request(
                "GET", f"{server.url}/download/{OBJECT}?offset=0&length=-1&exclude-urls=true", headers=headers
            )

        with ThreadPoolExecutor(4) as pool:
            try:
                first = [pool.submit(call, "a"), pool.submit(call, "a")]
                assert all(inside.acquire(timeout=30) for _ in first)
                for spelling in ("Bearer ", "bearer ", "BEARER    "):
                    refused = call("a", spelling)
                    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
                    assert "2 calls under way" in refused.json()["message"]
                others = [pool.submit(call, "b"), pool.submit(call, "")]
                assert all(inside.acquire(timeout=30) for _ in others)
            finally:
                go.set()
            assert {one.result().status for one in first + others} == {404}
        assert call("a").status == 404, "the calls before have ended"


# Web pages


def test_cors_is_as_configured(tmp_path: Path, http: urllib3.PoolManager) -> None:
    ours = "https://portal.example:8443"
    with serving(tmp_path, f"--server.cors.allowedOrigins={ours.upper()}, http://localhost:8081") as server:

        def call(method: str, origin: str, **more: str) -> Any:
            return http.request(method, f"{server.url}/profile", headers={"Origin": origin, **more})

        for origin in (ours, "http://localhost:8081"):
            answer = call("GET", origin)
            assert answer.headers["access-control-allow-origin"] == origin
            assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
        for origin in (
            "https://portal.example",
            "http://portal.example:8443",
            "null",
            f"{ours}.evil",
            f"{ours}/",
            "",
        ):
            answer = call("GET", origin)
            assert answer.data == b"s3"
            assert "access-control-allow-origin" not in answer.headers
            assert call("POST", origin).status == 403
        for answer in (
            call("GET", ours),
            call("GET", "https://evil.example"),
            http.request("GET", f"{server.url}/x"),
        ):
            assert answer.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in answer.headers
        preflight = call("OPTIONS", ours, **{
            "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization,x-request-id",
        })  # fmt: skip
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] == ours
        assert preflight.headers["access-control-allow-headers"] == "authorization,x-request-id"
        assert "DELETE" in preflight.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in preflight.headers
        for origin, wanted in (
            ("https://evil.example", {"Access-Control-Request-Method": "GET"}),
            (ours, {"Access-Control-Request-Method": "PATCH"}),
            (ours, {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "a b"}),
        ):
            refused = call("OPTIONS", origin, **wanted)
            assert refused.status == 403
            assert "access-control-allow-methods" not in refused.headers


def test_all_origins_and_no_credentials(tmp_path: Path, http: urllib3.PoolManager) -> None:
    with serving(tmp_path, "--server.cors.allowedOrigins=*") as server:
        headers = {"Origin": "https://any.example", "Cookie": "a=b"}
        asked = headers | {"Access-Control-Request-Method": "DELETE"}
        for method, sent in (("GET", headers), ("OPTIONS", asked)):
            answer = http.request(method, f"{server.url}/profile", headers=sent)
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origins", ["https://a.example/", "a.example", "https://a.example/x", "null", "ftp://a", "http://*"]
)
def test_origins_that_are_none_are_refused_at_the_start(tmp_path: Path, origins: str) -> None:
    with pytest.raises(Misconfigured, match=r"server\.cors\.allowedOrigins"):
        read_settings([f"--server.cors.allowedOrigins={origins}"], {}, tmp_path)


def test_pages_of_others_change_nothing(server: RunningServer, http: urllib3.PoolManager) -> None:
    """Browsers send such calls without asking, also to a server that is on the user's own machine alone."""
    for origin in ("https://evil.example", "null"):
        for method, path in (("POST", "/upload/cancel"), ("POST", "/studies/S/"), ("DELETE", f"/upload/{OBJECT}")):
            answer = http.request(method, server.url + path, headers={"Origin": origin, "Content-Type": "text/plain"})
            assert answer.status == 403
            assert "Pages of this origin" in answer.json()["message"]
    own = http.request("POST", f"{server.url}/upload/cancel", headers={"Origin": server.url})
    assert own.status == 200
    assert http.request("POST", f"{server.url}/upload/cancel").status == 200, "programs that are no browsers"


# Headers of answers


@pytest.mark.parametrize(
    "path", ["/profile", "/download/ping", "/nonesuch", "/swagger-ui.html", f"/upload/{OBJECT}", "sentinel"]
)
def test_every_answer_has_the_headers_that_protect_it(
    server: RunningServer, http: urllib3.PoolManager, path: str
) -> None:
    ping = http.request("GET", f"{server.url}/download/ping").data.decode()
    answer = http.request("GET", ping if path == "sentinel" else server.url + path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    assert "server" not in answer.headers
    assert "strict-transport-security" not in answer.headers


def test_under_tls_browsers_are_told_to_stay_there(tmp_path: Path) -> None:
    authority = Authority()
    context = ssl.create_default_context(cadata=authority.pem().decode())
    with (
        serving(tmp_path, tls=authority.issue().context(tmp_path)) as server,
        urllib3.PoolManager(retries=False, ssl_context=context) as http,
    ):
        answer = http.request("GET", f"{server.url}/profile")
        assert answer.headers["strict-transport-security"].startswith("max-age=")
