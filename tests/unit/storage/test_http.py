"""The HTTP client of the stores, against a server that answers byte for byte what a test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from score.errors import Integrity, Refused, ScoreError, Unavailable
from score.storage.http import Answer, Http
from score.testing.certificates import self_signed

OK = b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\nETag: "x"\r\n\r\nok'
HANG_UP = b""


@dataclass
class Scripted:
    """A server that gives the next of ``answers`` to each request; HANG_UP and the end of the list close.

    ``requests`` are what came, ``connections`` how many were made.
    """

    answers: list[bytes]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    hold: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
                )
                self.requests.append(head + await reader.readexactly(length))
                self.asked.set()
                if self.hold is not None:
                    await self.hold.wait()
                answer = self.answers.pop(0) if self.answers else HANG_UP
                if answer == HANG_UP:
                    break
                writer.write(answer)
                await writer.drain()
                if b"close" in answer or (b"-length" not in answer and b"chunked" not in answer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    script = Scripted(list(answers))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0, ssl=tls)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()


async def ask(http: Http, method: str = "GET", body: bytes = b"", **more: float) -> Answer:
    wanted = {"read_timeout": 20.0} | more
    return await http.request("the test", method, "/key?signature=secret", {"x-a": "1"}, body, **wanted)  # type: ignore[arg-type]


def run(
    *answers: bytes, work: Callable[[Http, Scripted], Awaitable[None]], limit: int = 4, connect_timeout: float = 15.0
) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), scripted(*answers) as script:
            http = Http(f"http://127.0.0.1:{script.port}", limit=limit, connect_timeout=connect_timeout)
            try:
                await work(http, script)
            finally:
                await http.close()

    asyncio.run(main())


def fails(error: type[ScoreError], *answers: bytes, says: str, method: str = "GET", **more: float) -> None:
    async def work(http: Http, script: Scripted) -> None:
        with pytest.raises(error, match=says) as caught:
            await ask(http, method, **more)
        assert "secret" not in f"{caught.value!r} {caught.value}"

    run(*answers, work=work)


def test_requests_share_a_connection() -> None:
    async def work(http: Http, script: Scripted) -> None:
        for _ in range(3):
            answer = await ask(http)
            assert (answer.status, answer.body, answer.headers["etag"]) == (200, b"ok", '"x"')
        assert script.connections == 1
        assert script.requests[0].startswith(b"GET /key?signature=secret HTTP/1.1\r\nhost: 127.0.0.1:")
        assert b"content-length" not in script.requests[0]

    run(OK, OK, OK, work=work)


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_the_length_of_a_body_is_said_also_of_none(method: str) -> None:
    async def work(http: Http, script: Scripted) -> None:
        await ask(http, method)
        await ask(http, method, b"body")
        assert b"content-length: 0\r\n" in script.requests[0]
        assert b"content-length: 4\r\n" in script.requests[1]
        assert script.requests[1].endswith(b"\r\n\r\nbody")

    run(OK, OK, work=work)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 200 OK\r\n\r\nup to the end", b"up to the end"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", b""),
    ],
    ids=["chunked", "to the end", "1.0", "close", "100 first", "204"],
)
def test_every_way_to_end_an_answer(answer: bytes, body: bytes) -> None:
    async def work(http: Http, script: Scripted) -> None:
        assert (await ask(http)).body == body
        assert (await ask(http)).body == b"ok"  # whatever became of the first connection

    run(answer, OK, work=work)


def test_head_has_the_length_of_a_body_that_does_not_come() -> None:
    async def work(http: Http, script: Scripted) -> None:
        answer = await ask(http, "HEAD")
        assert (answer.headers["content-length"], answer.body) == ("5000000000", b"")
        assert (await ask(http)).body == b"ok"
        assert script.connections == 1

    run(b"HTTP/1.1 200 OK\r\ncontent-length: 5000000000\r\n\r\n", OK, work=work)


def test_a_kept_connection_that_was_closed_is_replaced_at_once() -> None:
    async def work(http: Http, script: Scripted) -> None:
        await ask(http)
        assert (await ask(http)).body == b"ok"
        assert (script.connections, len(script.requests)) == (2, 3)

    run(OK, HANG_UP, OK, work=work)


def test_a_new_connection_that_is_closed_is_no_answer() -> None:
    fails(Unavailable, HANG_UP, says="hung up|reset")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nx: close",
    ],
    ids=["short", "no last chunk", "in the head"],
)
def test_half_an_answer_is_none(answer: bytes) -> None:
    fails(Unavailable, answer, says="the test")


def test_what_is_not_http_is_said_to_be_none() -> None:
    fails(Unavailable, b"SSH-2.0-OpenSSH close\r\n", says="is not HTTP")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + b"x" * 500,
        b"HTTP/1.1 206 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n",
    ],
    ids=["told", "chunked"],
)
def test_more_than_was_asked_for_is_not_read(answer: bytes) -> None:
    fails(Integrity, answer, says="not 99", most=99)


def test_an_error_may_be_longer_than_what_was_asked_for() -> None:
    async def work(http: Http, script: Scripted) -> None:
        assert len((await ask(http, most=9)).body) == 100

    run(b"HTTP/1.1 404 Not Found\r\ncontent-length: 100\r\n\r\n" + b"x" * 100, work=work)


@pytest.mark.parametrize(
    "answer",
    [
        OK + OK,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
        + b"xy"
        + b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=["twice", "another"],
)
def test_an_answer_too_many_is_never_that_of_the_next_request(answer: bytes) -> None:
    async def work(http: Http, script: Scripted) -> None:
        assert (await ask(http)).status == 200
        script.answers = [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext"]
        assert (await ask(http)).body == b"next"

    run(answer, work=work)


def test_a_connection_on_which_something_comes_unasked_is_closed() -> None:
    async def main() -> None:
        asked, closed = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await asked.wait()
            writer.write(b"HTTP/1.1 403 Forb")  # half of it, so that the rest would be of the next answer
            with suppress(ConnectionError):
                await reader.read()
            closed.set()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        http = Http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert (await ask(http)).body == b"ok"
        asked.set()
        async with asyncio.timeout(20):
            await closed.wait()
        await http.close()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_a_store_that_says_nothing_is_given_up() -> None:
    async def work(http: Http, script: Scripted) -> None:
        script.hold = asyncio.Event()
        with pytest.raises(Unavailable, match="did not answer in time"):
            await ask(http, read_timeout=0.05)
        script.hold.set()
        script.hold = None
        assert (await ask(http)).body == b"ok"
        assert script.connections == 2  # the first may still get its answer

    run(OK, OK, work=work)


def test_an_answer_that_never_ends_is_given_up() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(endless, "127.0.0.1", 0)
        http = Http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with asyncio.timeout(30):
            with pytest.raises(Unavailable, match="did not answer in time"):
                await ask(http, read_timeout=0.05)
        await http.close()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_a_call_does_not_wait_for_its_turn_for_ever() -> None:
    async def work(http: Http, script: Scripted) -> None:
        script.hold = asyncio.Event()
        first = asyncio.create_task(ask(http))
        await script.asked.wait()
        with pytest.raises(Unavailable, match="1 connection"):
            await ask(http)
        script.hold.set()
        script.hold = None
        assert (await first).body == b"ok"
        assert (await ask(http)).body == b"ok"  # the turn that nobody took is not lost

    run(OK, OK, work=work, limit=1, connect_timeout=0.05)


def test_a_call_that_is_cancelled_leaves_no_connection_in_use() -> None:
    async def work(http: Http, script: Scripted) -> None:
        script.hold = asyncio.Event()
        call = asyncio.create_task(ask(http))
        await script.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        script.hold.set()
        script.hold = None
        assert (await ask(http)).body == b"ok"
        assert script.connections == 2

    run(OK, OK, work=work, limit=1)


def test_no_more_connections_than_allowed() -> None:
    async def work(http: Http, script: Scripted) -> None:
        answers = await asyncio.gather(*[ask(http) for _ in range(10)])
        assert [answer.body for answer in answers] == [b"ok"] * 10
        assert script.connections <= 2

    run(*[OK] * 10, work=work, limit=2)


def test_after_close_it_opens_new_connections() -> None:
    async def work(http: Http, script: Scripted) -> None:
        await ask(http)
        await http.close()
        await ask(http)
        assert script.connections == 2

    run(OK, OK, work=work)


@pytest.mark.parametrize("value", ["1\r\nx-injected: 1", "1\nx", "1\rx"])
def test_no_line_can_be_slipped_into_the_head(value: str) -> None:
    async def work(http: Http, script: Scripted) -> None:
        with pytest.raises(Integrity, match="line break"):
            await http.request("the test", "GET", "/", {"x-a": value}, read_timeout=5)
        with pytest.raises(Integrity, match="line break"):
            await http.request("the test", "GET", f"/{value}", {}, read_timeout=5)
        assert script.requests == []

    run(OK, work=work)


def test_nobody_listens() -> None:
    async def main() -> None:
        http = Http("http://127.0.0.1:9")
        with pytest.raises(Unavailable, match="refused"):
            await ask(http)
        await http.close()

    asyncio.run(main())


def test_tls_needs_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(certificate, key)

    async def main() -> None:
        async with asyncio.timeout(30), scripted(OK, OK, tls=theirs) as script:
            origin = f"https://127.0.0.1:{script.port}"
            http = Http(origin)
            with pytest.raises(Refused, match="certificate is not trusted"):
                await ask(http)
            await http.close()
            http = Http(origin, tls=ssl.create_default_context(cafile=str(certificate)))
            assert [(await ask(http)).body, (await ask(http)).body] == [b"ok", b"ok"]
            await http.close()

    asyncio.run(main())


def test_a_secure_connection_that_is_refused_says_why() -> None:
    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(bytes([21, 3, 3, 0, 2, 2, 80]))  # a fatal alert: internal_error
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(alert, "127.0.0.1", 0)
        http = Http(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Refused, match="TLSV1_ALERT_INTERNAL_ERROR"):
            await ask(http)
        await http.close()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    certificate, key = self_signed(tmp_path, names=("store.example.org",))
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(certificate, key)
    asked: list[bytes] = []

    async def main() -> None:
        async with asyncio.timeout(30), scripted(OK, OK, tls=theirs if scheme == "https" else None) as script:

            async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                there, back = await asyncio.open_connection("127.0.0.1", script.port)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_pump(reader, back), _pump(there, writer))

            proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0) if scheme == "https" else None
            port = proxy.sockets[0].getsockname()[1] if proxy else script.port
            monkeypatch.setenv(f"{scheme}_proxy", f"http://user:pass%20word@127.0.0.1:{port}")
            http = Http(f"{scheme}://store.example.org", tls=ssl.create_default_context(cafile=str(certificate)))
            assert [(await ask(http)).body, (await ask(http)).body] == [b"ok", b"ok"]
            await http.close()
            if proxy:
                proxy.close()
                await proxy.wait_closed()
                assert asked[0].startswith(b"CONNECT store.example.org:443 HTTP/1.1\r\n")
                assert b"proxy-authorization" not in script.requests[0].lower()
            else:
                asked.extend(script.requests)
                assert asked[0].startswith(b"GET http://store.example.org/key?signature=secret HTTP/1.1\r\n")
            assert b"proxy-authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n" in asked[0]

    asyncio.run(main())


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 502\r\n\r\n", b"x"]
)
def test_a_proxy_that_does_not_want_to(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    async def main() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            writer.close()

        proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        http = Http("https://store.example.org")
        with pytest.raises(Unavailable, match="the proxy"):
            await ask(http)
        await http.close()
        proxy.close()

    asyncio.run(main())
