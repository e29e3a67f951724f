"""score-client against a fake Score behind a proxy and a fake Song, in a folder of its own."""

from __future__ import annotations

import hashlib
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from score.cli.main import main
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

ANALYSIS = "a11aca11-0000-4000-8000-000000000020"
OBJECT = "5c0eca11-0000-4000-8000-000000000020"
OTHER = "5c0eca11-0000-4000-8000-000000000021"
PART = 64 * 1024
DATA = random.Random(3).randbytes(5 * PART + 1000)
MD5 = hashlib.md5(DATA).hexdigest()

Run = Callable[..., tuple[int, str, str]]
CLIENT = [sys.executable, "-W", "error", "-m", "score.cli.main"]
"""The client as a process of its own."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: FaultyScore, song: FakeSong) -> Path:
    """The current folder of the client; its settings lead to the fakes and let it wait for nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("ACCESSTOKEN", "STORAGE_URL", "METADATA_URL", "PORTAL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "application.properties").write_text(
        f"storage.url={site.url}\nmetadata.url={song.url}\naccessToken=720dffc1-628f-49f2-992f-f09b8ba2ae2a\n"
        "storage.retryNumber=2\nstorage.retryTimeout=0\n"
    )
    return tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The client in this process: status, standard output, standard error."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert "Signature" not in err
        assert "720dffc1" not in out + err
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


@pytest.fixture
def registered(site: FaultyScore, song: FakeSong) -> None:
    """Two objects of one analysis, in the store."""
    song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=len(DATA), md5=MD5)
    other = hashlib.md5(b"other").hexdigest()
    song.register("b.bam", analysis=ANALYSIS, object_id=OTHER, size=5, md5=other)
    site.fake.add(OBJECT, DATA)
    site.fake.add(OTHER, b"other")
