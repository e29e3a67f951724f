"""``score-server ping``: what a container's health check is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from score.server.commands import run
from score.testing.certificates import Authority, self_signed
from score.testing.processes import Program, clean_environment, free_port, program


def started(folder: Path, *settings: str) -> Program:
    command = [program("score-server"), "--insecure", *settings]
    server = Program(command, folder, clean_environment(folder))
    server.wait_until(lambda: "URL:" in server.stdout)
    return server


def ping(capsys: pytest.CaptureFixture[str], *settings: str) -> tuple[int, str]:
    capsys.readouterr()
    return run("ping", ["--insecure=true", *settings]), capsys.readouterr().out


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "[::1]", "::"])
@pytest.mark.parametrize("path", ["", "/storage-api"])
def test_a_server_that_is_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, path: str) -> None:
    place = (f"--server.address={address}", f"--server.servlet.context-path={path}")
    settings = (f"--server.port={free_port()}", *place)
    with started(tmp_path, *settings) as server:
        assert f"{path}\nAccess:" in server.stdout
        assert ping(capsys, *settings) == (0, "UP\n")


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = ping(capsys, f"--server.port={free_port()}")
    assert status == 1
    assert said.startswith("No server answers at 127.0.0.1, port ")


def test_a_server_that_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = f"--server.port={free_port()}"
    with started(tmp_path, port, "--server.shutdown.delay=60") as server:
        os.kill(server.pid, 15)
        server.wait_until(lambda: ping(capsys, port)[0] == 1)
        assert ping(capsys, port) == (1, "OUT_OF_SERVICE\n")


def test_whatever_name_its_certificate_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate, key = self_signed(tmp_path, names=("score.example.org",))
    tls = (f"--server.ssl.certificate={certificate}", f"--server.ssl.certificate-private-key={key}")
    settings = (f"--server.port={free_port()}", "--server.ssl.enabled=true", *tls)
    with started(tmp_path / "server", *settings):
        assert ping(capsys, *settings) == (0, "UP\n")


def test_a_server_that_wants_certificates_is_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate, key = self_signed(tmp_path)
    (tmp_path / "authority.pem").write_bytes(Authority().pem())
    settings = (
        f"--server.port={free_port()}",
        "--server.ssl.enabled=true",
        f"--server.ssl.certificate={certificate}",
        f"--server.ssl.certificate-private-key={key}",
        "--server.ssl.client-auth=need",
        f"--server.ssl.trust-certificate={tmp_path / 'authority.pem'}",
    )
    with started(tmp_path / "server", *settings):
        assert ping(capsys, *settings) == (0, "UP\n")
    assert ping(capsys, *settings)[0] == 1


def test_another_program_on_the_port(capsys: pytest.CaptureFixture[str]) -> None:
    import http.server
    import threading

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            status, said = ping(capsys, f"--server.port={other.server_address[1]}")
        finally:
            other.shutdown()
            thread.join()
    assert status == 1
    assert "what answers there is not this server" in said
