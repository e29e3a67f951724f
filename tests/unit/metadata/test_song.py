"""The client of Song, against a fake one with scripted faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from score.errors import NotFound, Refused, Unavailable
from score.metadata.base import AnalysisState
from score.metadata.song import Song
from score.testing.faults import Answer, Reset
from score.testing.song import FakeSong

UNKNOWN = "dead0000-0000-4000-8000-000000000001"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSong]:
    monkeypatch.setattr("score.metadata.song._WAITS", (0.0, 0.0, 0.0))
    with FakeSong() as song:
        yield song


def run(fake: FakeSong, test: Callable[[Song], Awaitable[None]]) -> None:
    async def main() -> None:
        song = Song(f"{fake.url}/")
        try:
            await test(song)
        finally:
            await song.close()

    asyncio.run(main())


def test_an_entity_and_the_state_of_its_analysis(fake: FakeSong) -> None:
    file = fake.register("a.bam", analysis="an-1", study="TEST-CA", access="controlled")

    async def test(song: Song) -> None:
        entity = await song.entity(file.object_id)
        assert (entity.gnos_id, entity.project_code, entity.file_name, entity.access) == (
            "an-1", "TEST-CA", "a.bam", "controlled",
        )  # fmt: skip
        for state in AnalysisState:
            fake.set_state("an-1", state)
            assert await song.analysis_state("TEST-CA", "an-1") is state
        assert await song.probe() == ""
        assert "authorization" not in fake.traffic.seen()[0].headers

    run(fake, test)


def test_the_files_of_an_analysis_on_all_pages(fake: FakeSong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("score.metadata.song._PAGE", 2)
    names = [f"{number}.bam" for number in range(5)]
    for name in names:
        fake.register(name, analysis="an 1&x=2", study="TEST-CA")
    fake.register("other.bam", analysis="an-2")

    async def test(song: Song) -> None:
        assert sorted(one.file_name for one in await song.bundle("an 1&x=2")) == names
        assert len(fake.traffic.seen(path="^/entities$")) == 3
        assert await song.bundle("an-3") == []
        monkeypatch.setattr("score.metadata.song._MOST_PAGES", 2)
        with pytest.raises(Refused, match="more than 4 entities"):
            await song.bundle("an 1&x=2")
        fake.traffic.inject(Answer(200, b'{"content": 1}'), path="/entities")
        with pytest.raises(Unavailable, match="no page of entities"):
            await song.bundle("an-2")

    run(fake, test)


def test_what_song_does_not_know(fake: FakeSong) -> None:
    fake.register("a.bam", analysis="an-1")

    async def test(song: Song) -> None:
        with pytest.raises(NotFound, match=UNKNOWN):
            await song.entity(UNKNOWN)
        for study, analysis in (("OTHER", "an-1"), ("TEST-CA", "an-2")):
            with pytest.raises(NotFound, match=analysis):
                await song.analysis_state(study, analysis)
        for state in ("400", "404"):
            fake.set_state("an-1", state)
            with pytest.raises(NotFound):
                await song.analysis_state("TEST-CA", "an-1")

    run(fake, test)


def test_names_stay_names_in_urls(fake: FakeSong) -> None:
    fake.register("a.bam", analysis="a/../b?x=%41", study="S T/U")

    async def test(song: Song) -> None:
        assert await song.analysis_state("S T/U", "a/../b?x=%41") is AnalysisState.UNPUBLISHED

    run(fake, test)


@pytest.mark.parametrize("fault", [Answer.unavailable(), Answer.failure(), Reset(), Answer(429, b"")])
def test_failures_that_pass_are_asked_again(fake: FakeSong, fault: Any) -> None:
    file = fake.register("a.bam", analysis="an-1")
    fake.traffic.inject(fault, times=3)

    async def test(song: Song) -> None:
        assert (await song.entity(file.object_id)).gnos_id == "an-1"

    run(fake, test)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer.unavailable(), Unavailable),
        (Answer(200, b"<html>gateway</html>"), Unavailable),
        (Answer(200, b'"text"'), Unavailable),
        (Answer(200, b"{}"), Unavailable),
        (Answer(200, b'{"id":5}'), Unavailable),
        (Answer(200, b""), Unavailable),
        (Answer(401, b"{}"), Refused),
        (Answer(403, b"{}"), Refused),
    ],
)
def test_answers_that_tell_nothing(fake: FakeSong, answer: Answer, kind: type[Exception]) -> None:
    file = fake.register("a.bam", analysis="an-1")
    fake.traffic.inject(answer, times=None)

    async def test(song: Song) -> None:
        with pytest.raises(kind, match="Song"):
            await song.entity(file.object_id)
        with pytest.raises(kind, match="Song"):
            await song.analysis_state("TEST-CA", "an-1")

    run(fake, test)


def test_a_state_that_nobody_knows(fake: FakeSong) -> None:
    fake.traffic.inject(Answer(200, json.dumps({"analysisState": "LIMBO"}).encode()), times=None)

    async def test(song: Song) -> None:
        with pytest.raises(Unavailable, match="publication state"):
            await song.analysis_state("TEST-CA", "an-1")

    run(fake, test)


def test_an_answer_without_end(fake: FakeSong) -> None:
    fake.traffic.inject(Answer(200, b" " * (65 * 1024 * 1024)), times=None)

    async def test(song: Song) -> None:
        with pytest.raises(Unavailable, match="no end"):
            await song.entity(UNKNOWN)

    run(fake, test)


def test_no_song_at_all(fake: FakeSong) -> None:
    fake.shut()

    async def test(song: Song) -> None:
        with pytest.raises(Unavailable, match=r"metadata\.url"):
            await song.entity(UNKNOWN)
        assert "cannot tell" in await song.probe()

    run(fake, test)


def test_another_service_at_songs_address(fake: FakeSong) -> None:
    fake.traffic.inject(Answer(404, b""), times=None)

    async def test(song: Song) -> None:
        assert "404" in await song.probe()

    run(fake, test)


def test_the_analysis_of_many_files(fake: FakeSong) -> None:
    """Its document comes in many pieces."""
    for number in range(1500):
        fake.register(f"reads-{number:05}.fastq.gz", analysis="an-1", study="TEST-CA")
    fake.set_state("an-1", AnalysisState.PUBLISHED)

    async def test(song: Song) -> None:
        assert await song.analysis_state("TEST-CA", "an-1") is AnalysisState.PUBLISHED

    run(fake, test)
