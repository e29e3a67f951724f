"""Every command that asks a server, and every way in which that may go wrong: the status, and what to do."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.unit.cli.conftest import ANALYSIS, DATA, MD5, OBJECT

from score.testing.certificates import Authority
from score.testing.faults import Answer, CutResponse, Fault, Gate, Hold, Reset, Traffic
from score.testing.proxy import FaultProxy
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

Run = Callable[..., tuple[int, str, str]]

LATER = "later|check storage.url|check metadata.url|[Cc]heck the network"
COMMANDS = {
    "url": ["url", "--object-id", OBJECT],
    "download": ["download", "--object-id", OBJECT, "--output-dir", "out"],
    "verify": ["verify", "--object-id", OBJECT, "--output-dir", "there"],
    "upload": ["upload", "--object-id", OBJECT, "--file", "a.bam", "--md5", MD5],
    "view": ["view", "--object-id", OBJECT, "--header-only"],
    "check": ["check"],
}
FAULTS: dict[str, tuple[Fault, int, str]] = {
    "reset": (Reset(), 5, LATER),
    "503": (Answer(503, headers={"Retry-After": "0"}), 5, LATER),
    "cut": (CutResponse(3), 5, LATER),
    "500": (Answer(500, b'{"message":"broken"}'), 3, "Tell the operator of the server"),
    "401": (Answer(401, b'{"message":"no"}'), 6, "Check the access token|fetch a new token"),
    "403": (Answer(403, b'{"message":"no"}'), 7, "Ask for that right"),
    "404": (Answer(404, b'{"message":"no"}'), 4, "Check the ids"),
    "html": (Answer(200, b"<html><body>Log in first</body></html>"), 3, "Check the address"),
    "half": (Answer(200, b'{"objectKey": "data/x", "objec'), 3, "Check the address"),
    "elsewhere": (Answer(302, headers={"Location": "http://127.0.0.1:9/?Signature=x"}), 3, "Check the address"),
}
OF_AN_OBJECT = FAULTS | {
    "html": (FAULTS["html"][0], 5, LATER),
    "half": (FAULTS["half"][0], 5, LATER),
}
"""Where the server has said before that it is one, nonsense may be that of a proxy, and passes."""
LIST = f"object_id\n{OBJECT}\n".encode()


def rule(told: str, remedy: str) -> None:
    """One message, and below it what to do."""
    assert len(re.findall(r"^(?:Error:|WRONG )", told, re.MULTILINE)) == 1, told
    assert re.search(rf"^(?:Error:|WRONG ) .*(\n {{2}}.*|\n.*)?({remedy})", told, re.MULTILINE), told


@pytest.fixture
def files(folder: Path) -> Path:
    """What the commands work on."""
    (folder / "there").mkdir()
    (folder / "there" / "a.bam").write_bytes(DATA)
    (folder / "a.bam").write_bytes(DATA)
    return folder


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_server_does(run: Run, files: Path, site: FaultyScore, command: str, fault: str) -> None:
    if command == "upload":
        site.fake.objects.clear()
    what, expected, remedy = FAULTS[fault]
    site.traffic.inject(what, path="^/(upload|download|profile|listing)", times=None)
    status, out, err = run(*COMMANDS[command])
    assert status == expected
    told = out if command == "check" else err
    assert re.search(f"(Error:|WRONG) .*(\\n.*)*({remedy})", told)
    assert command == "check" or out == ""
    assert (files / "there" / "a.bam").read_bytes() == (files / "a.bam").read_bytes() == DATA
    assert not (files / "out" / "a.bam").exists()


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("fault", OF_AN_OBJECT)
@pytest.mark.parametrize("command", ["url", "download", "verify", "upload"])
def test_what_the_server_does_when_an_object_is_asked_for(
    run: Run, files: Path, site: FaultyScore, command: str, fault: str
) -> None:
    if command == "upload":
        site.fake.objects.clear()
    what, expected, remedy = OF_AN_OBJECT[fault]
    method = "POST" if command == "upload" else "GET"
    site.traffic.inject(what, method=method, path=f"^/(upload|download)/{OBJECT}", times=None)
    status, out, err = run(*COMMANDS[command])
    assert (status, out) == (expected, "")
    rule(err, remedy)
    assert OBJECT in err
    assert not (files / "out" / "a.bam").exists()


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    "fault",
    [
        Reset(),
        CutResponse(3),
        *(Answer(status, headers={"Retry-After": "0"}) for status in (408, 429, 502, 503, 504)),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["url", "download", "verify", "upload"])
def test_what_passes_is_no_failure(run: Run, files: Path, site: FaultyScore, command: str, fault: Fault) -> None:
    if command == "upload":
        site.fake.objects.clear()
    site.traffic.inject(fault, path="^/profile")
    site.traffic.inject(fault, method="POST" if command == "upload" else "GET", path=f"^/(upload|download)/{OBJECT}")
    status, _, err = run(*COMMANDS[command])
    assert status == 0, err
    assert "Error:" not in err
    assert command != "download" or (files / "out" / "a.bam").read_bytes() == DATA
    assert site.fake.objects[OBJECT].data == DATA


METADATA = {
    "download": COMMANDS["download"],
    "verify": COMMANDS["verify"],
    "download analysis": ["download", "--analysis-id", ANALYSIS, "--study-id", "TEST-CA", "--output-dir", "out"],
    "verify analysis": ["verify", "--analysis-id", ANALYSIS, "--study-id", "TEST-CA", "--output-dir", "there"],
    "upload analysis": ["upload", "--analysis-id", ANALYSIS, "--study-id", "TEST-CA", "--dir", "there"],
    "check": ["check"],
}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("fault", OF_AN_OBJECT)
@pytest.mark.parametrize("command", METADATA)
def test_what_the_metadata_service_does(run: Run, files: Path, song: FakeSong, command: str, fault: str) -> None:
    what, expected, remedy = OF_AN_OBJECT[fault]
    with FaultProxy(song.url) as proxy:
        proxy.traffic.inject(what, times=None)
        status, out, err = run(*METADATA[command], f"--metadata.url={proxy.url}")
    assert status == expected
    rule(out if command == "check" else err, f"{remedy}|Check --study-id" if fault == "404" else remedy)
    assert not (files / "out" / "a.bam").exists()


class Portal(BaseHTTPRequestHandler):
    """Gives a manifest."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(LIST)))
        self.end_headers()
        self.wfile.write(LIST)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serving(server: HTTPServer) -> Iterator[int]:
    """Its port, while it runs."""
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def portal() -> Iterator[tuple[str, Traffic]]:
    """The address of a portal's manifest, and what passes before it."""
    with serving(HTTPServer(("127.0.0.1", 0), Portal)) as port, FaultProxy(f"http://127.0.0.1:{port}") as proxy:
        yield f"{proxy.url}/m.tsv", proxy.traffic


OF_A_MANIFEST = FAULTS | {
    "401": (FAULTS["401"][0], 6, "No access token is sent there: fetch"),
    "403": (FAULTS["403"][0], 7, "No access token is sent there: fetch"),
    "html": (FAULTS["html"][0], 2, "an HTML page is what a portal answers"),
    "half": (FAULTS["half"][0], 2, "Columns are separated by tabs"),
    "elsewhere": (FAULTS["elsewhere"][0], 5, LATER),
    "page": (Answer(502, b"<html>\n<body>Bad\x1b[2J gateway</body>\n</html>"), 5, LATER),
    "text": (Answer(500, b"Broken\n\n  \x1b[2Jof old\n"), 3, "Tell the operator"),
}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("fault", OF_A_MANIFEST)
@pytest.mark.parametrize("command", [["manifest"], ["download", "--output-dir", "out"]], ids=lambda words: words[0])
def test_what_a_portal_does(
    run: Run, files: Path, portal: tuple[str, Traffic], command: list[str], fault: str
) -> None:
    what, expected, remedy = OF_A_MANIFEST[fault]
    portal[1].inject(what, times=None)
    status, _, err = run(*command, "--manifest", portal[0])
    assert status == expected
    rule(err, remedy)
    assert "\x1b" not in err
    assert len([line for line in err.splitlines() if ": retry " not in line]) == 2
    assert not (files / "out" / "a.bam").exists()


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("fault", [Reset(), CutResponse(3), Answer(503, headers={"Retry-After": "0"})], ids=str)
def test_a_portal_that_comes_back(run: Run, folder: Path, portal: tuple[str, Traffic], fault: Fault) -> None:
    portal[1].inject(fault)
    assert run("manifest", "--manifest", portal[0])[:2] == (0, LIST.decode())


class Edge:
    """Addresses at which no server of ours is, and the status and the advice where they are used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def away(self) -> Iterator[tuple[str, int, str]]:
        """Nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        yield f"http://127.0.0.1:{port}", 5, LATER

    @contextmanager
    def unknown(self) -> Iterator[tuple[str, int, str]]:
        """No name server knows it."""
        yield "http://score.invalid:8087", 5, "Check the address, and the network"

    @contextmanager
    def silent(self) -> Iterator[tuple[str, int, str]]:
        """Listens, and never says a word."""
        with FaultProxy("http://127.0.0.1:9") as proxy:
            proxy.traffic.inject(Hold(Gate()), times=None)
            yield proxy.url, 5, LATER

    @contextmanager
    def plain(self) -> Iterator[tuple[str, int, str]]:
        """Speaks http where https is expected."""
        with serving(HTTPServer(("127.0.0.1", 0), Portal)) as port:
            yield f"https://127.0.0.1:{port}", 5, "Check the address, whether it is https or http"

    @contextmanager
    def untrusted(self) -> Iterator[tuple[str, int, str]]:
        """Shows a certificate that nobody trusts."""
        with self._encrypted() as port:
            yield f"https://127.0.0.1:{port}", 3, "client.ssl.trustStore"

    @contextmanager
    def _encrypted(self) -> Iterator[int]:
        server = HTTPServer(("127.0.0.1", 0), Portal)
        server.socket = Authority().issue().context(self._folder).wrap_socket(server.socket, server_side=True)
        with serving(server) as port:
            yield port


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("edge", ["away", "unknown", "silent", "plain", "untrusted"])
@pytest.mark.parametrize("command", ["url", "download", "verify", "upload", "check", "metadata", "manifest"])
def test_who_is_not_there(run: Run, files: Path, tmp_path: Path, command: str, edge: str) -> None:
    with getattr(Edge(tmp_path), edge)() as (url, expected, remedy):
        words = {
            "metadata": [*COMMANDS["download"], f"--metadata.url={url}"],
            "manifest": ["manifest", "--manifest", f"{url}/m.tsv"],
        }.get(command) or [*COMMANDS[command], f"--storage.url={url}"]
        status, out, err = run(*words, "--client.readTimeoutSeconds=0.1")
    assert status == expected
    if command == "check":
        assert re.search(f"WRONG  server: .*({remedy})", out)
    else:
        rule(err, remedy)
        assert out == ""
    assert url in out + err
    assert not (files / "out" / "a.bam").exists()


@pytest.mark.parametrize("words", [["config"], ["info"], ["info", "--verbose"], ["manifest", "--manifest", "m.tsv"]])
def test_what_asks_nobody_works_without_a_server(
    run: Run, folder: Path, site: FaultyScore, song: FakeSong, words: list[str]
) -> None:
    (folder / "m.tsv").write_bytes(LIST)
    for traffic in (site.traffic, song.traffic):
        traffic.inject(Reset(), times=None)
    status, out, err = run(*words)
    assert (status, bool(out)) == (0, True)
    assert "Error" not in err
    assert site.traffic.seen() == song.traffic.seen() == []


@pytest.mark.parametrize("fault", ["reset", "503", "500", "elsewhere"])
def test_a_token_is_not_judged_by_a_server_that_does_not_look(
    run: Run, folder: Path, site: FaultyScore, fault: str
) -> None:
    site.traffic.inject(FAULTS[fault][0], path="^/upload/test/", times=None)
    status, out, _ = run("check")
    assert status == FAULTS[fault][1]
    (line,) = [line for line in out.splitlines() if " token: " in line]
    assert line.startswith("WRONG ")
    assert "asks for none" not in line
    assert "new token" not in line
