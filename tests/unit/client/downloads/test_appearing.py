"""A file comes to the place of a download while it is under way."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.outcome import State
from score.errors import Conflict
from score.testing.score import FaultyScore

from .conftest import DATA, OBJECT, failure, fetch


@pytest.fixture
def appear(monkeypatch: pytest.MonkeyPatch, out: Path) -> Callable[[str], None]:
    """Lets a file of somebody else appear in the very moment in which a download is moved to its place."""

    def arrange(name: str) -> None:
        def late(move: Callable[..., None]) -> Callable[..., None]:
            def moved(path: os.PathLike[str], place: os.PathLike[str], **more: object) -> None:
                if Path(place) == out / name:
                    (out / name).write_bytes(b"precious")
                move(path, place, **more)

            return moved

        for call in ("link", "rename", "replace"):
            monkeypatch.setattr(os, call, late(getattr(os, call)))

    return arrange


class TestAppearing:
    """A file that was not there when the download began."""

    def test_it_is_not_replaced_and_nothing_is_fetched_again(
        self, client: Client, site: FaultyScore, out: Path, appear: Callable[[str], None]
    ) -> None:
        appear("a.bam")
        error = failure(client, out)
        assert isinstance(error, Conflict)
        assert f"{out / 'a.bam'} appeared while" in error.message
        assert f"The download is at {out / OBJECT}" in error.hint
        assert (out / "a.bam").read_bytes() == b"precious"
        site.traffic.forget()
        assert fetch(client, out, force=True)[0].state is State.DOWNLOADED
        assert site.gets == []
        assert (out / "a.bam").read_bytes() == DATA
        assert list(out.iterdir()) == [out / "a.bam"]

    def test_nor_by_an_object_of_one_part(
        self, client: Client, site: FaultyScore, out: Path, appear: Callable[[str], None]
    ) -> None:
        site.fake.add(OBJECT, DATA[:1000])
        appear("a.bam")
        assert isinstance(failure(client, out), Conflict)
        assert (out / "a.bam").read_bytes() == b"precious"
        assert list(out.iterdir()) == [out / "a.bam"]

    def test_nor_while_the_last_bytes_are_under_way(self, client: Client, site: FaultyScore, out: Path) -> None:
        gate = site.traffic.hold(method="GET", path="/store/", after=100)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(failure, client, out)
            gate.wait_for_arrival()
            (out / "a.bam").write_bytes(b"precious")
            gate.open()
            assert isinstance(running.result(), Conflict)
        assert (out / "a.bam").read_bytes() == b"precious"
