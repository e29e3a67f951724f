"""score-client against a fake Score behind a proxy and a fake Song, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from score.testing.score import FaultyScore, faulty_score
from score.testing.song import FakeSong


@pytest.fixture
def site() -> Iterator[FaultyScore]:
    with faulty_score(part_size=64 * 1024) as site:
        yield site


@pytest.fixture
def song() -> Iterator[FakeSong]:
    with FakeSong() as song:
        yield song


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
