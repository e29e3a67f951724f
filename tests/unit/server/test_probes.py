"""Probes, and how a server leaves: what it still answers, what it finishes, and which signals do what."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
from starlette.types import Receive, Scope, Send

from score.broker.health import Health
from score.metadata.embedded import EmbeddedRegistry
from score.server.build import layout_of, open_service
from score.server.edge import configuration
from score.server.main import listen
from score.server.probes import Readiness, Standing
from score.server.serving import Server, deaf
from score.server.settings import Settings
from score.storage.base import Probe
from score.storage.local import LocalStore
from score.testing.minio import Minio
from score.testing.processes import Program, clean_environment, program
from score.testing.proxy import FaultProxy
from score.testing.server import RunningServer
from score.testing.song import FakeSong

OBJECT = "5c0e0000-0000-4000-8000-000000000001"
LIVE = ("/live", "/actuator/health/liveness")
READY = ("/ready", "/actuator/health/readiness")


def started(folder: Path, **settings: str) -> Program:
    """A server of its own, listening."""
    settings = {"server.port": "0", "server.address": "127.0.0.1", "insecure": "true", **settings}
    server = Program([program("score-server")], folder, clean_environment(folder, settings))
    server.wait_until(lambda: "URL:" in server.stdout and "Access:" in server.stdout)
    return server


def url_of(server: Program) -> str:
    return next(line.split()[1] for line in server.stdout.splitlines() if line.startswith("URL:"))


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=30)


def refuses(url: str) -> bool:
    try:
        connect(url).close()
    except ConnectionRefusedError:
        return True
    return False


def everything(connection: socket.socket) -> bytes:
    received = b""
    while more := connection.recv(65536):
        received += more
    return received


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [*LIVE, *READY])
def test_a_server_that_is_well(tmp_path: Path, http: urllib3.PoolManager, path: str, method: str) -> None:
    settings = Settings.model_validate({"local.directory": tmp_path, "profiles": ("local",)})
    with RunningServer(lambda: open_service(settings), settings) as server:
        answer = http.request(method, server.url + path)
        assert answer.status == 200
        assert "no-store" in answer.headers["cache-control"]
        assert answer.data == (b'{"status":"UP"}' if method == "GET" else b"")


@pytest.mark.needs("minio")
def test_without_its_store_it_is_alive_and_not_ready(tmp_path: Path, http: urllib3.PoolManager, minio: Minio) -> None:
    with FaultProxy(minio.endpoint) as store:
        settings = Settings.model_validate(
            {
                "s3.endpoint": store.url, "s3.accessKey": minio.access_key, "s3.secretKey": minio.secret_key,
                "bucket.name.object": "nonesuch", "bucket.name.state": "nonesuch-state",
                "metadata.url": "http://127.0.0.1:1",
            }
        )  # fmt: skip
        with RunningServer(lambda: open_service(settings), settings) as server:
            for path in READY:
                answer = http.request("GET", server.url + path)
                assert (answer.status, answer.json()) == (503, {"status": "DOWN"})
            for path in LIVE:
                assert http.request("GET", server.url + path).status == 200


class Counted(LocalStore):
    """Counts how often it is looked at; ``well`` is what it then says."""

    looks = 0
    well = True

    async def probe(self) -> Probe:
        self.looks += 1
        await asyncio.sleep(0)
        return Probe(self.well, "" if self.well else "It is away.")


def test_many_who_ask_how_it_is_cost_a_few_looks(tmp_path: Path) -> None:
    """Anybody may ask, without a token: a thousand at once are no thousand calls of store, registry and authorization
    server."""

    async def main() -> None:
        store = Counted(tmp_path, "object", base=str)
        health = Health(store, store, EmbeddedRegistry(tmp_path), None, layout_of(Settings()), "heliograph")
        try:
            assert all(report.ok for report in await asyncio.gather(*[health.report() for _ in range(1000)]))
            assert all(await asyncio.gather(*[health.is_up() for _ in range(1000)]))
            assert store.looks <= 4
            store.well = False
            assert not (await health.report()).ok
            assert not await health.is_up()
        finally:
            await store.close()

    asyncio.run(main())


def test_many_probes_cost_the_store_one_look(tmp_path: Path) -> None:
    now = 0.0

    async def ask() -> list[str]:
        nonlocal now
        store = Counted(tmp_path, "object", base=lambda: "")
        health = Health(store, store, EmbeddedRegistry(tmp_path), None, layout_of(Settings()), "heliograph")
        readiness = Readiness(health, Standing(), clock=lambda: now)
        told = await asyncio.gather(*[readiness.status() for _ in range(50)])
        assert store.looks == 1
        store.well = False
        told.append(await readiness.status())
        assert store.looks == 1
        now += 2.0
        told.append(await readiness.status())
        assert store.looks == 2
        return told

    assert asyncio.run(ask()) == ["UP"] * 51 + ["DOWN"]


def test_a_server_that_leaves_is_not_ready_and_answers_for_a_while(tmp_path: Path, http: urllib3.PoolManager) -> None:
    with started(tmp_path, **{"server.shutdown.delay": "3600"}) as server:
        url = url_of(server)
        before = http.request("GET", f"{url}/ready")
        assert (before.status, before.headers.get("connection")) == (200, None)
        os.kill(server.pid, signal.SIGTERM)
        server.wait_until(lambda: http.request("GET", f"{url}/ready").status == 503)
        for path in (*READY, "/actuator/health"):
            answer = http.request("GET", url + path)
            assert (answer.status, answer.json()) == (503, {"status": "OUT_OF_SERVICE"})
        for path in (*LIVE, "/profile", "/health"):
            with connect(url) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                answered = everything(connection).lower()  # to the end, which the server makes
            assert answered.startswith(b"http/1.1 200"), answered
            assert answered.count(b"connection: close") == 1
        assert server.terminate() == 0
        assert "Traceback" not in server.stderr


def test_the_delay_ends_by_itself(tmp_path: Path) -> None:
    with started(tmp_path, **{"server.shutdown.delay": "1"}) as server:
        assert server.terminate(timeout=60) == 0


def test_what_has_begun_is_finished(tmp_path: Path) -> None:
    """A call in work, and one whose head has only begun to arrive."""
    with FakeSong() as song:
        settings = {
            "s3.endpoint": "http://127.0.0.1:1", "s3.accessKey": "x", "s3.secretKey": "x",
            "bucket.name.object": "object", "bucket.name.state": "state", "metadata.url": song.url,
        }  # fmt: skip
        with (
            started(tmp_path, **settings) as server,
            connect(url_of(server)) as in_work,
            connect(url_of(server)) as begun,
        ):
            gate = song.traffic.hold(path=OBJECT)
            in_work.sendall(f"GET /download/{OBJECT}?offset=0&length=-1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            gate.wait_for_arrival()
            begun.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nX-Kind: ")
            url = url_of(server)
            with connect(url) as other:  # an answer to it means that the head before it was read
                other.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert everything(other).startswith(b"HTTP/1.1 200")
            os.kill(server.pid, signal.SIGTERM)
            server.wait_until(lambda: refuses(url))
            begun.sendall(b"late\r\n\r\n")
            assert everything(begun).startswith(b"HTTP/1.1 200")
            gate.open()
            answer = everything(in_work)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404")
            assert b"connection: close" in head.lower()
            assert "not registered" in json.loads(body)["message"]
            assert server.terminate() == 0


def test_a_connection_that_is_kept_is_answered_once_more(tmp_path: Path) -> None:
    """Proxies send a POST only once: a connection that they keep must not be closed while one may be on its way."""
    ask = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
    with started(tmp_path) as server, connect(url_of(server)) as kept, connect(url_of(server)) as idle:
        url = url_of(server)
        for connection in (kept, idle):
            connection.sendall(ask)
            received = b""
            while not received.endswith(b'{"status":"UP"}'):
                received += connection.recv(65536) or pytest.fail(f"It ended after {received!r}")
        os.kill(server.pid, signal.SIGTERM)
        server.wait_until(lambda: refuses(url))
        kept.sendall(ask)
        answer = everything(kept)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer.lower()
        assert everything(idle) == b"", "it is closed in the end, and keeps nobody from ending"
        assert server.wait() == 0


def test_a_second_signal_does_not_wait_for_connections_that_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("score.server.serving.GRACE", 3600.0)

    async def serve() -> None:
        listener = listen("127.0.0.1", 0)
        server = Server(configuration(_nothing), Standing())
        serving = asyncio.create_task(server.serve([listener]))
        await until(lambda: server.started)
        with socket.create_connection(listener.getsockname(), timeout=30):
            await until(lambda: len(server.server_state.connections) == 1)
            server.handle_exit(signal.SIGTERM, None)
            await until(lambda: listener.fileno() == -1)
            assert not serving.done()
            server.handle_exit(signal.SIGTERM, None)
            server._captured_signals.clear()  # they would end this process
            await asyncio.wait_for(serving, 30)

    asyncio.run(serve())


def test_whoever_connected_in_time_is_answered() -> None:
    """Also one whom the server has not accepted yet: closing the listening socket would reset it."""

    async def serve() -> None:
        listener = listen("127.0.0.1", 0)
        server = Server(configuration(_nothing), Standing())
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup([listener])
        with socket.create_connection(listener.getsockname(), timeout=30) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await server.shutdown([listener])
            assert everything(connection).startswith(b"HTTP/1.1 204")

    asyncio.run(serve())


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def until(what: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - uvicorn has no events
            await asyncio.sleep(0.01)


def test_more_clients_than_a_shell_lets_it_have_files(tmp_path: Path) -> None:
    settings = {"server.port": "0", "server.address": "127.0.0.1"}
    command = ["sh", "-c", 'ulimit -S -n 64 && exec "$@"', "sh", program("score-server")]
    with Program(command, tmp_path, clean_environment(tmp_path, settings)) as server, ExitStack() as clients:
        server.wait_until(lambda: "Access:" in server.stdout)
        connections = [clients.enter_context(connect(url_of(server))) for _ in range(100)]
        for connection in connections:
            connection.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert "Traceback" not in server.stderr


def test_a_terminal_that_goes_away_does_not_end_it(tmp_path: Path, http: urllib3.PoolManager) -> None:
    with started(tmp_path) as server:
        os.kill(server.pid, signal.SIGHUP)
        server.wait_until(lambda: "SIGHUP" in server.stderr)
        assert "restart the server" in server.stderr
        assert http.request("GET", f"{url_of(server)}/live").status == 200
        assert server.terminate() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="filters of packets are Linux's")
def test_who_comes_while_a_server_stops_listening_is_left_to_try_again() -> None:
    """Not connected and then reset. Who came before is connected, and his data arrive."""
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=30) as early:
            deaf(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(("127.0.0.1", port), timeout=0.3)
            early.sendall(b"GET")
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(3) == b"GET"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
