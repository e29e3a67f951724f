"""A client of a fake Score behind a proxy and of a fake Song."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from score.client.client import Client
from score.client.settings import Settings
from score.testing.score import FaultyScore, faulty_score
from score.testing.song import FakeSong
from score.transfer.http import Timeouts
from score.transfer.retry import Patience

MakeClient = Callable[..., Client]


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the state of uploads goes whose folder cannot be written to."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    return home


@pytest.fixture
def site() -> Iterator[FaultyScore]:
    with faulty_score(part_size=64 * 1024) as site:
        yield site


@pytest.fixture
def song() -> Iterator[FakeSong]:
    with FakeSong() as song:
        yield song


@pytest.fixture
def make_client(site: FaultyScore, song: FakeSong) -> Iterator[MakeClient]:
    """Clients with settings of the test's choosing; closed in the end."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Client:
            plain = Settings(
                storage_url=site.url,
                metadata_url=song.url,
                token="720dffc1-628f-49f2-992f-f09b8ba2ae2a",
                patience=Patience(attempts=3, first_wait=0),
                timeouts=Timeouts(connect=20, read=20),
                parallel=3,
            )
            return stack.enter_context(Client(replace(plain, **settings), listener=site.heard))

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> Client:
    return make_client()
