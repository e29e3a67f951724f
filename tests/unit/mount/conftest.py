"""Mounts of what the fakes have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from score.testing.clients import ClientProcess
from score.testing.mounting import mounted
from score.testing.proxy import FaultProxy
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

Start = Callable[..., ClientProcess]
MountIt = Callable[..., AbstractContextManager[ClientProcess]]


@pytest.fixture
def part_size() -> int:
    return 256 * 1024


@pytest.fixture
def song_proxy(song: FakeSong) -> Iterator[FaultProxy]:
    """The way of clients to Song."""
    with FaultProxy(song.url) as proxy:
        yield proxy


@pytest.fixture
def point(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "point"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path: Path, site: FaultyScore, song_proxy: FaultProxy) -> Iterator[Start]:
    """Starts score-client; its settings lead to the fakes. It is killed where it still runs at the end."""
    with ExitStack() as stack:

        def begin(*arguments: str | Path, **settings: str) -> ClientProcess:
            given = {
                "storage.url": site.url,
                "metadata.url": song_proxy.url,
                "storage.retryTimeout": "0.05",
                "storage.retryNumber": "5",
                **{name.replace("_", "."): value for name, value in settings.items()},
            }
            client = ClientProcess([*map(str, arguments)], tmp_path / "clients", tmp_path / "home", given)
            return stack.enter_context(client)

        yield begin


@pytest.fixture
def mount(start: Start, point: Path) -> MountIt:
    """Mounts on ``point``: a context manager of the running client."""

    def make(*arguments: str | Path, **settings: str) -> AbstractContextManager[ClientProcess]:
        return mounted(start("mount", "--mount-point", point, *arguments, **settings), point)

    return make
