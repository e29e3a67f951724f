"""Encrypted calls of the client: whom the environment lets it believe, and through which proxy it goes."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from score.errors import Refused
from score.testing.certificates import Authority
from score.transfer.http import Http, Timeouts

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
WAITS = Timeouts(connect=20, read=20)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that no system trusts; its certificate is in ``authority.pem``."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    authority = Authority()
    (tmp_path / "authority.pem").write_bytes(authority.pem())
    return authority


def head(connection: socket.socket) -> bytes:
    """What comes up to the end of a head."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += connection.recv(1)
    return data


@contextmanager
def serving(context: ssl.SSLContext, connections: int, *, proxy: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """A server that speaks TLS, and its port, and the heads of requests that came: it answers so many connections.
    ``proxy``: each begins with the request to be let through to it."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(connections):
                connection, _ = server.accept()
                with connection, suppress(OSError):  # a handshake that the client breaks off
                    if proxy:
                        heads.append(head(connection))
                        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    with context.wrap_socket(connection, server_side=True) as encrypted:
                        heads.append(head(encrypted))
                        encrypted.sendall(OK)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], heads
        thread.join()


def test_the_authorities_of_the_environment_are_believed(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(authority.issue().context(tmp_path), 2) as (port, heads):
        url = f"https://127.0.0.1:{port}/x"
        with closing(Http(1, WAITS)) as http, pytest.raises(Refused, match="certificate is not trusted") as caught:
            http.request("GET", url)
        assert "client.ssl.trustStore" in caught.value.hint
        assert heads == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        with closing(Http(1, WAITS)) as http:
            assert http.request("GET", url).data == b"ok"


def test_encrypted_calls_go_through_the_proxy_of_the_environment(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which sees where they go, and nothing of what they say; what is for the proxy goes no further."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with serving(authority.issue(["score.invalid"]).context(tmp_path), 1, proxy=True) as (port, heads):
        monkeypatch.setenv("https_proxy", f"http://user:pass%20word@127.0.0.1:{port}")
        with closing(Http(1, WAITS)) as http:
            answer = http.request("GET", "https://score.invalid:8443/x?a=b", headers={"Authorization": "Bearer x"})
        assert answer.data == b"ok"
    asked, inside = heads
    assert asked.startswith(b"CONNECT score.invalid:8443 HTTP/1.")
    assert b"Basic " + base64.b64encode(b"user:pass word") in asked
    assert b"Bearer" not in asked
    assert inside.startswith(b"GET /x?a=b HTTP/1.1\r\n")
    assert b"Bearer x" in inside
    assert b"basic" not in inside.lower()


def test_behind_a_proxy_too_the_certificate_has_to_be_of_the_host(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with serving(authority.issue(["proxy.invalid"]).context(tmp_path), 1, proxy=True) as (port, heads):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with closing(Http(1, WAITS)) as http, pytest.raises(Refused, match="certificate is of another host"):
            http.request("GET", "https://score.invalid/x")
    assert len(heads) == 1
