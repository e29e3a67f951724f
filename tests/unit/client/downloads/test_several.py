"""Several objects at once, and their indexes."""

from __future__ import annotations

from pathlib import Path

import pytest

from score.client.client import Client
from score.client.outcome import State
from score.client.rehearsal import rehearse_downloads
from score.errors import NotFound, Unauthenticated
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong
from score.transfer.budget import FILES
from score.transfer.events import Ended

from .conftest import ANALYSIS, INDEX, OBJECT, OTHER, fetch, files


class TestSeveral:
    @pytest.fixture(autouse=True)
    def more(self, site: FaultyScore, song: FakeSong, registered: None) -> None:
        song.register("a.bam.bai", analysis=ANALYSIS, object_id=INDEX)
        site.fake.add(INDEX, b"index")

    def test_the_index_comes_along(self, client: Client, out: Path) -> None:
        outcomes = fetch(client, out)
        assert sorted(outcome.object_id for outcome in outcomes) == [OBJECT, INDEX]
        assert files(out) == ["a.bam", "a.bam.bai"]

    def test_it_is_not_older_than_its_data(self, client: Client, out: Path) -> None:
        """Tools that read it warn of that, or refuse it."""
        fetch(client, out, INDEX, OBJECT)
        assert (out / "a.bam.bai").stat().st_mtime_ns >= (out / "a.bam").stat().st_mtime_ns

    def test_it_stays_where_it_is_not_wanted(self, client: Client, song: FakeSong, out: Path) -> None:
        assert [outcome.object_id for outcome in fetch(client, out, index=False)] == [OBJECT]
        assert song.traffic.seen(path="/entities$") == []

    @pytest.mark.parametrize("range_", [{"offset": 2}, {"length": 3}])
    def test_a_range_is_one_of_the_object_alone(
        self, client: Client, song: FakeSong, out: Path, range_: dict[str, int]
    ) -> None:
        """An index cut likewise would look like one."""
        assert [outcome.object_id for outcome in fetch(client, out, **range_)] == [OBJECT]
        assert [one.object_id for one in rehearse_downloads(client, [OBJECT], out.parent / "new", **range_)] == [
            OBJECT
        ]
        assert song.traffic.seen(path="/entities$") == []

    @pytest.mark.parametrize("name", ["A.BAM.BAI", "a.bam.crai", "a.bam.tbi", "a.bam.idx"])
    def test_it_is_known_by_its_name(self, client: Client, song: FakeSong, out: Path, name: str) -> None:
        song.register(name, analysis=ANALYSIS, object_id=INDEX)
        assert {outcome.path for outcome in fetch(client, out)} == {out / name, out / "a.bam"}

    def test_it_is_fetched_once_where_it_is_named_too(self, client: Client, site: FaultyScore, out: Path) -> None:
        outcomes = fetch(client, out, INDEX, OBJECT, OBJECT)
        assert sorted(outcome.object_id for outcome in outcomes) == [OBJECT, INDEX]
        assert len(site.traffic.seen(path=f"/store/{INDEX}")) == 1

    def test_an_index_that_fails_does_not_stop_its_object(self, client: Client, site: FaultyScore, out: Path) -> None:
        del site.fake.objects[INDEX]
        outcomes = {outcome.object_id: outcome for outcome in fetch(client, out)}
        assert outcomes[OBJECT].state is State.DOWNLOADED
        assert outcomes[INDEX].path == out / "a.bam.bai"
        assert isinstance(outcomes[INDEX].error, NotFound)

    def test_one_that_fails_does_not_stop_the_rest_and_is_named(
        self, client: Client, site: FaultyScore, song: FakeSong, out: Path
    ) -> None:
        song.register("b.bam", analysis=ANALYSIS, object_id=OTHER)
        missing = "dead0000-0000-4000-8000-000000000001"
        outcomes = fetch(client, out, missing, OTHER, OBJECT, index=False)
        assert [outcome.state for outcome in outcomes] == [State.FAILED, State.FAILED, State.DOWNLOADED]
        assert [outcome.object_id for outcome in outcomes] == [missing, OTHER, OBJECT]
        assert all(isinstance(outcome.error, NotFound) for outcome in outcomes[:2])
        assert outcomes[1].path == out / "b.bam"
        ended = {event.item: event.state for event in site.heard.of(Ended)}
        assert ended == {missing: "failed", str(out / "b.bam"): "failed", str(out / "a.bam"): "downloaded"}

    def test_what_all_would_meet_ends_the_rest_at_once(
        self, client: Client, site: FaultyScore, song: FakeSong, out: Path
    ) -> None:
        song.traffic.inject(Answer(401), times=None)
        ids = [f"5c0eca11-0000-4000-8000-{number:012}" for number in range(50)]
        outcomes = fetch(client, out, *ids)
        assert all(isinstance(outcome.error, Unauthenticated) for outcome in outcomes)
        assert len(song.traffic.seen()) <= FILES * client.settings.parallel < len(ids)

    def test_an_analysis_is_asked_for_by_its_study(self, client: Client, song: FakeSong) -> None:
        assert sorted(client.analysis("TEST-CA", ANALYSIS)) == [OBJECT, INDEX]
        (asked,) = song.traffic.seen()
        assert asked.query == f"gnosId={ANALYSIS}&projectCode=TEST-CA&size=2000&page=0"

    def test_an_analysis_that_is_not_there(self, client: Client) -> None:
        with pytest.raises(NotFound, match="has no analysis") as caught:
            client.analysis("TEST-CA", OBJECT)
        assert "METADATA_URL" in caught.value.hint
