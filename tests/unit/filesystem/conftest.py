"""A file system that leads to the fakes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from score.filesystem import ScoreFileSystem
from score.testing.score import FaultyScore
from score.testing.song import FakeSong


@pytest.fixture
def part_size() -> int:
    return 256 * 1024


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: FaultyScore, song: FakeSong) -> None:
    """The settings that every process finds in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACCESSTOKEN", raising=False)
    for name, value in {
        "STORAGE_URL": site.url,
        "METADATA_URL": song.url,
        "STORAGE_RETRYNUMBER": "2",
        "STORAGE_RETRYTIMEOUT": "0",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def put(site: FaultyScore, song: FakeSong) -> Callable[..., str]:
    """Registers and stores a file; gives its object id."""

    def place(name: str, data: bytes, analysis: str, study: str = "TEST-CA", object_id: str | None = None) -> str:
        file = song.register(name, analysis=analysis, study=study, size=len(data), object_id=object_id)
        site.fake.add(file.object_id, data)
        return file.object_id

    return place


@pytest.fixture
def fs() -> Iterator[ScoreFileSystem]:
    yield ScoreFileSystem()
    ScoreFileSystem.clear_instance_cache()
    gc.collect()
