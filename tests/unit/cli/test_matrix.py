"""Every command that asks the server, and every way in which that may go wrong: the status, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.cli.conftest import DATA, MD5, OBJECT

from score.testing.faults import Answer, CutResponse, Fault, Reset
from score.testing.score import FaultyScore

Run = Callable[..., tuple[int, str, str]]

COMMANDS = {
    "url": ["url", "--object-id", OBJECT],
    "download": ["download", "--object-id", OBJECT, "--output-dir", "out"],
    "verify": ["verify", "--object-id", OBJECT, "--output-dir", "there"],
    "upload": ["upload", "--object-id", OBJECT, "--file", "a.bam", "--md5", MD5],
    "view": ["view", "--object-id", OBJECT, "--header-only"],
    "check": ["check"],
}
FAULTS: dict[str, tuple[Fault, int, str]] = {
    "reset": (Reset(), 5, "later|check storage.url|check the network"),
    "503": (Answer(503, headers={"Retry-After": "0"}), 5, "later|check storage.url|check the network"),
    "cut": (CutResponse(3), 5, "later|[Cc]heck the network"),
    "500": (Answer(500, b'{"message":"broken"}'), 3, "Tell the operator of the server"),
    "401": (Answer(401, b'{"message":"no"}'), 6, "Check the access token|fetch a new token"),
    "403": (Answer(403, b'{"message":"no"}'), 7, "Ask for that right"),
    "404": (Answer(404, b'{"message":"no"}'), 4, "Check the ids"),
    "html": (Answer(200, b"<html><body>Log in first</body></html>"), 3, "Check the address"),
    "elsewhere": (Answer(302, headers={"Location": "http://127.0.0.1:9/"}), 3, "Check the address"),
}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_server_does(run: Run, folder: Path, site: FaultyScore, command: str, fault: str) -> None:
    (folder / "there").mkdir()
    (folder / "there" / "a.bam").write_bytes(DATA)
    (folder / "a.bam").write_bytes(DATA)
    if command == "upload":
        site.fake.objects.clear()
    what, expected, remedy = FAULTS[fault]
    site.traffic.inject(what, path="^/(upload|download|profile|listing)", times=None)
    status, out, err = run(*COMMANDS[command])
    assert status == expected
    told = out if command == "check" else err
    assert re.search(f"(Error:|WRONG) .*(\\n.*)*({remedy})", told)
    assert command == "check" or out == ""
    assert (folder / "there" / "a.bam").read_bytes() == (folder / "a.bam").read_bytes() == DATA
    assert not (folder / "out" / "a.bam").exists()


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
