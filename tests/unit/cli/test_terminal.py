"""The moving display on a real (pseudo-)terminal, narrow ones too."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from score.cli.tally import cells
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are of POSIX systems", allow_module_level=True)

import fcntl
import pty
import termios

from .conftest import ANALYSIS, CLIENT, DATA, OBJECT

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """The master's side: what a program wrote so far."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.text = ""

    def read(self) -> bool:
        """Some more of it; false when the program has left."""
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:
            return False
        self.text += data.decode()
        return bool(data)

    def read_until(self, what: str) -> None:
        """Until it holds ``what``. AssertionError where it never does."""
        while what not in CONTROL.sub("", self.text):
            assert self.read(), self.text

    @property
    def rows(self) -> list[str]:
        """The rows, without what moves the cursor."""
        return [row for row in re.split(r"[\r\n]+", CONTROL.sub("", self.text)) if row]


@contextmanager
def on_terminal(columns: int, words: list[str], folder: Path) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    """A client whose three streams are a terminal of that width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        [*CLIENT, *words],
        cwd=folder,
        env=environment | {"TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as client:
        os.close(slave)
        try:
            yield Terminal(master), client
        finally:
            client.kill()
            os.close(master)


@pytest.fixture(autouse=True)
def stored(site: FaultyScore, song: FakeSong) -> None:
    song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=len(DATA))
    site.fake.add(OBJECT, DATA)


@pytest.mark.parametrize(("columns", "whole"), [(100, "0/1 file, 128.0 KiB of 321.0 KiB"), (20, "0/1, 39%")])
def test_a_transfer(folder: Path, site: FaultyScore, columns: int, whole: str) -> None:
    words = ["download", "--analysis-id", ANALYSIS, "--study-id", "TEST-CA", "--output-dir", "out"]
    gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=2)
    with on_terminal(columns, [*words, "--transport.parallel=1"], folder) as (terminal, client):
        gate.wait_for_arrival()
        terminal.read_until(whole)
        gate.open()
        while terminal.read():
            pass
        assert client.wait(60) == 0
    assert "\x1b[" in terminal.text
    text = "".join(terminal.rows)
    assert "1 file: 1 downloaded (321.0 KiB moved" in text
    assert "out/a.bam: downloaded, 321.0 KiB" in text
    display = [row for row in terminal.rows if "%" in row or "/1" in row]
    assert display
    assert all(cells(row) < columns for row in display), "the last column stays free, so that nothing wraps"


def test_a_registration(folder: Path, song: FakeSong) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "a.bam").write_bytes(DATA)
    song.traffic.inject(Answer(200, json.dumps({"analysisId": ANALYSIS}).encode()), path="/submit/")
    gate = song.traffic.hold(path="/files$")
    words = ["register", "--study-id", "TEST-CA", "--dir", "in", "--manifest", "m.txt"]
    with on_terminal(100, words, folder) as (terminal, client):
        terminal.read_until("1/1 file, 321.0 KiB of 321.0 KiB")
        gate.open()
        while terminal.read():
            pass
        assert client.wait(60) == 0
    assert "in/a.bam: checksum known" in terminal.rows
    assert terminal.rows[-1] == ANALYSIS


def test_why_it_waits(folder: Path, site: FaultyScore) -> None:
    site.traffic.inject(Answer.unavailable(retry_after=50), path=f"/store/{OBJECT}", times=None)
    words = ["download", "--object-id", OBJECT, "--output-dir", "out", "--storage.retryNumber=4"]
    with on_terminal(100, words, folder) as (terminal, client):
        terminal.read_until("retry 1/3 in 50 s: the store answered 503 SlowDown")
        client.terminate()
        while terminal.read():
            pass
        assert client.wait(60) == 130
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l"), "the cursor is shown again"
    assert "Run the same command again to go on from there." in terminal.text


@pytest.mark.parametrize("flag", ["--quiet", "--silent", "--no-ansi"])
def test_flags_stop_the_display(folder: Path, flag: str) -> None:
    words = [flag, "download", "--object-id", OBJECT, "--output-dir", "out"]
    with on_terminal(80, words, folder) as (terminal, client):
        while terminal.read():
            pass
        assert client.wait(60) == 0
    assert "\x1b" not in terminal.text
    if flag == "--silent":
        assert terminal.text == ""
    else:
        assert "1 file: 1 downloaded" in terminal.text
    assert ("a.bam: downloaded" in terminal.text) is (flag == "--no-ansi")


def test_a_hangup_leaves_what_is_finished(folder: Path, site: FaultyScore) -> None:
    words = ["download", "--object-id", OBJECT, "--output-dir", "out", "--transport.parallel=1"]
    gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=2)
    with on_terminal(80, words, folder) as (_, client):
        gate.wait_for_arrival()
        client.send_signal(1)
        assert client.wait(60) == 130
    site.traffic.heal()
    site.traffic.forget()
    ended = subprocess.run([*CLIENT, *words], cwd=folder, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 0
    assert len(site.gets) == 4
