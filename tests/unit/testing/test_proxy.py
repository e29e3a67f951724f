"""The fault proxy between a plain HTTP client and a plain HTTP server."""

from __future__ import annotations

import hashlib
import http.client
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from score.testing.faults import Answer, CutRequest, CutResponse, Fault, Flip, LoseResponse, Reset
from score.testing.proxy import FaultProxy

PAYLOAD = random.Random(7).randbytes(3_000_000)


class Store(ThreadingHTTPServer):
    """Keeps the digest of each body that came whole; serves one payload."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stored: dict[str, str] = {}
        self.hosts: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_PUT(self) -> None:
        self.server.hosts.append(self.headers["Host"])
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) == length:
            self.server.stored[self.path] = hashlib.md5(body).hexdigest()
            self.answer(b"")

    def do_GET(self) -> None:
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n6; x=y\r\n world\r\n0\r\n\r\n")
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"until the end")
            self.close_connection = True
        else:
            self.answer(PAYLOAD)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "123")
        self.end_headers()

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(store: Store) -> Iterator[FaultProxy]:
    with FaultProxy(f"http://127.0.0.1:{store.server_port}") as proxy:
        yield proxy


class Client(http.client.HTTPConnection):
    """A client whose connection stays open between requests."""

    def ask(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        self.request(method, target, body)
        answer = self.getresponse()
        return answer.status, answer.read()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[Client]:
    client = Client(proxy.host, timeout=20)
    yield client
    client.close()


def test_bodies_pass_unchanged_both_ways_over_one_connection(proxy: FaultProxy, store: Store, client: Client) -> None:
    for number in (1, 2):
        assert client.ask("PUT", f"/key?partNumber={number}", PAYLOAD) == (200, b"")
    assert client.ask("GET", "/key") == (200, PAYLOAD)
    assert client.ask("HEAD", "/key") == (200, b"")
    assert client.ask("GET", "/chunked") == (200, b"hello world")
    assert client.ask("GET", "/endless") == (200, b"until the end")
    assert set(store.stored.values()) == {hashlib.md5(PAYLOAD).hexdigest()}
    assert store.hosts == [proxy.host] * 2


def test_what_passed_is_recorded_without_signatures(proxy: FaultProxy, client: Client) -> None:
    client.ask("PUT", "/key?partNumber=3&X-Amz-Signature=abc&x=1", b"12345")
    client.request("GET", "/key", headers={"Range": "bytes=0-9"})
    client.getresponse().read()
    put, get = proxy.traffic.wait_for(2)
    assert (put.method, put.path, put.query, put.part) == ("PUT", "/key", "partNumber=3&X-Amz-Signature=...&x=1", 3)
    assert (put.status, put.sent, put.received, put.end) == (200, 5, 0, "answered")
    assert (get.range, get.received, get.part) == ("bytes=0-9", len(PAYLOAD), None)


def test_rules_match_skip_and_count(proxy: FaultProxy, client: Client) -> None:
    proxy.traffic.inject(Answer(503), method="PUT", path="/key", part=2, skip=1, times=2)
    statuses = [client.ask("PUT", f"/key?partNumber={part}", b"x")[0] for part in (1, 2, 2, 2, 2, 1)]
    assert statuses == [200, 200, 503, 503, 200, 200]


def test_a_rule_may_last_until_it_is_healed(proxy: FaultProxy, client: Client) -> None:
    proxy.traffic.inject(Answer.failure(), times=None)
    assert [client.ask("GET", "/key")[0] for _ in range(3)] == [500] * 3
    proxy.traffic.heal()
    assert client.ask("GET", "/key")[0] == 200


@pytest.mark.parametrize(
    ("answer", "status", "word"),
    [
        (Answer.unavailable(7), 503, b"SlowDown"),
        (Answer.denied(), 403, b"AccessDenied"),
        (Answer.expired(), 403, b"Request has expired"),
        (Answer.request_timeout(), 400, b"RequestTimeout"),
        (Answer.garbage(), 200, b"<html>"),
    ],
)
def test_an_answer_takes_the_place_of_the_store(
    proxy: FaultProxy, store: Store, client: Client, answer: Answer, status: int, word: bytes
) -> None:
    proxy.traffic.inject(answer)
    got, body = client.ask("PUT", "/key", PAYLOAD)
    assert got == status
    assert word in body
    assert store.stored == {}
    (put,) = proxy.traffic.wait_for(1)
    assert (put.sent, put.end) == (len(PAYLOAD), "fault")


def test_retry_after_travels(proxy: FaultProxy, client: Client) -> None:
    proxy.traffic.inject(Answer.unavailable(7))
    client.request("GET", "/key")
    answer = client.getresponse()
    assert answer.headers["Retry-After"] == "7"
    answer.read()


def test_a_reset_comes_before_anything_is_done(proxy: FaultProxy, store: Store, client: Client) -> None:
    proxy.traffic.inject(Reset())
    with pytest.raises(OSError):
        client.ask("PUT", "/key", PAYLOAD)
    assert store.stored == {}


def test_a_lost_response_comes_after_everything_is_done(proxy: FaultProxy, store: Store, client: Client) -> None:
    proxy.traffic.inject(LoseResponse())
    with pytest.raises(ConnectionError):
        client.ask("PUT", "/key", PAYLOAD)
    assert list(store.stored) == ["/key"]
    (put,) = proxy.traffic.wait_for(1)
    assert (put.status, put.end) == (None, "fault")


def test_a_request_is_cut(proxy: FaultProxy, store: Store, client: Client) -> None:
    proxy.traffic.inject(CutRequest(100_001))
    with pytest.raises(OSError):
        client.ask("PUT", "/key", PAYLOAD)
    (put,) = proxy.traffic.wait_for(1)
    assert (put.sent, put.end) == (100_001, "fault")
    assert store.stored == {}


@pytest.mark.parametrize("after", [0, 1, 65_536, 1_000_001, len(PAYLOAD) - 1])
def test_a_response_is_cut_at_the_byte(proxy: FaultProxy, client: Client, after: int) -> None:
    proxy.traffic.inject(CutResponse(after))
    client.request("GET", "/key")
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.getresponse().read()
    assert caught.value.partial == PAYLOAD[:after]


@pytest.mark.parametrize("offset", [0, 65_535, 65_536, len(PAYLOAD) - 1])
def test_one_byte_is_flipped(proxy: FaultProxy, client: Client, offset: int) -> None:
    proxy.traffic.inject(Flip(offset))
    _, body = client.ask("GET", "/key")
    assert [at for at, (one, other) in enumerate(zip(body, PAYLOAD, strict=True)) if one != other] == [offset]
    assert client.ask("GET", "/key") == (200, PAYLOAD)


@pytest.mark.parametrize("after", [None, 0, 1_000_000])
def test_a_gate_holds_until_it_is_opened(proxy: FaultProxy, store: Store, client: Client, after: int | None) -> None:
    gate = proxy.traffic.hold(method="PUT", after=after)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.ask, "PUT", "/key", PAYLOAD)
        gate.wait_for_arrival()
        (held,) = proxy.traffic.seen()
        assert (held.sent, held.end) == (after or 0, "")
        assert store.stored == {}
        gate.open()
        assert asked.result(20) == (200, b"")
    assert store.stored == {"/key": hashlib.md5(PAYLOAD).hexdigest()}


def test_a_gate_holds_in_the_middle_of_a_response(proxy: FaultProxy, client: Client) -> None:
    gate = proxy.traffic.hold(method="GET", after=1_000_000)
    client.request("GET", "/key")
    answer = client.getresponse()
    first = answer.read(1_000_000)
    gate.wait_for_arrival()
    assert proxy.traffic.seen()[0].received == 1_000_000
    gate.open()
    assert first + answer.read() == PAYLOAD


def test_a_client_that_goes_away_is_recorded_and_its_body_not_passed_off_as_whole(
    proxy: FaultProxy, store: Store
) -> None:
    gate = proxy.traffic.hold(after=500)
    with socket.create_connection(("127.0.0.1", int(proxy.host.partition(":")[2]))) as client:
        client.sendall(b"PUT /key HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + bytes(999))
        gate.wait_for_arrival()
    gate.open()
    (put,) = proxy.traffic.wait_for(1)
    assert put.end == "client gone"
    assert store.stored == {}


def test_a_store_that_is_not_there_is_a_reset(store: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with FaultProxy(f"http://127.0.0.1:{taken.getsockname()[1]}") as proxy:
            with pytest.raises(ConnectionError):
                Client(proxy.host, timeout=20).ask("GET", "/")
            assert proxy.traffic.wait_for(1)[0].end == "upstream gone"


def test_it_refuses_when_shut_and_comes_back_on_the_same_port(proxy: FaultProxy, client: Client) -> None:
    assert client.ask("GET", "/key")[0] == 200
    proxy.shut()
    with pytest.raises(OSError):
        client.ask("GET", "/key")
    client.close()
    with pytest.raises(ConnectionRefusedError):
        client.ask("GET", "/key")
    proxy.open()
    client.close()
    assert client.ask("GET", "/key") == (200, PAYLOAD)


def test_requests_pass_side_by_side(proxy: FaultProxy) -> None:
    gate = proxy.traffic.hold(path="/slow")

    def ask(target: str) -> int:
        client = Client(proxy.host, timeout=20)
        try:
            return client.ask("GET", target)[0]
        finally:
            client.close()

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(ask, "/slow")
        gate.wait_for_arrival()
        assert pool.submit(ask, "/quick").result(20) == 200
        assert not slow.done()
        gate.open()
        assert slow.result(20) == 200


def test_each_fault_leaves_the_proxy_fit_for_the_next_request(proxy: FaultProxy) -> None:
    faults: list[Fault] = [Reset(), LoseResponse(), CutRequest(1), CutResponse(1), Flip(1), Answer(503)]
    for fault in faults:
        proxy.traffic.inject(fault, path="/key")
        client = Client(proxy.host, timeout=20)
        try:
            client.ask("GET", "/key")
        except (OSError, http.client.HTTPException):
            pass
        finally:
            client.close()
        proxy.traffic.heal()
        again = Client(proxy.host, timeout=20)
        assert again.ask("GET", "/other") == (200, PAYLOAD)
        again.close()
