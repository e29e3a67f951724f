"""Many files at once: lanes, an end in the middle, and calls that come in no storm."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.manifests import UploadEntry
from score.client.many import Later, Many
from score.client.outcome import Outcome, State
from score.errors import Cancelled, NoSpace, NotFound, Unavailable
from score.testing.faults import Answer, Reset
from score.testing.score import FaultyScore
from score.testing.song import FakeSong
from score.transfer.events import ignore
from score.transfer.outage import LIMIT, Outage
from score.transfer.retry import Exhausted, Patience, Stop

ANALYSIS = "a11aca11-0000-4000-8000-000000000030"
IDS = [f"5c0eca11-0000-4000-8000-0000000000{number}" for number in range(30, 60)]
DATA = random.Random(5).randbytes(100_000)
MakeClient = Callable[..., Client]


def name(item: str) -> tuple[str, Path | None]:
    return item, None


class Lanes:
    """Work of which the large ones wait for a gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.stop = Stop()
        self.lock = threading.Lock()
        self.large_now = 0
        self.large_most = 0

    def small(self, item: str) -> list[Outcome]:
        if item.startswith("large"):
            raise Later
        return [Outcome(item, State.DOWNLOADED)]

    def large(self, item: str) -> list[Outcome]:
        with self.lock:
            self.large_now += 1
            self.large_most = max(self.large_most, self.large_now)
        assert self.gate.wait(30)
        with self.lock:
            self.large_now -= 1
        self.stop.check()
        return [Outcome(item, State.DOWNLOADED)]

    def run(self, items: list[str]) -> Many[str]:
        return Many(self.small, name, 3, self.stop, ignore, self.large, 2)


def test_small_files_do_not_wait_for_large_ones() -> None:
    lanes = Lanes()
    items = [*(f"large {number}" for number in range(50)), *(f"small {number}" for number in range(20))]
    got = []
    for number, outcomes in lanes.run(items).run(items):
        got.append(items[number])
        assert outcomes[0].object_id == items[number]
        if len(got) == 20:
            assert all(item.startswith("small") for item in got)
            lanes.gate.set()
    assert sorted(got) == sorted(items), "and large ones get their turn"
    assert lanes.large_most <= 2


def test_a_disk_that_fails_at_any_call_is_no_defect_and_ends_one_file_only() -> None:
    def work(item: str) -> list[Outcome]:
        if item == "stale":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return [Outcome(item, State.DOWNLOADED)]

    items = ["stale", "good"]
    many = Many(work, lambda item: (item, Path("data") / item), 1, Stop(), ignore)
    (failed,), (good,) = (outcomes for _, outcomes in sorted(many.run(items), key=lambda found: found[0]))
    assert (failed.state, good.state) == (State.FAILED, State.DOWNLOADED)
    assert str(failed.error).startswith(f"data/stale: {os.strerror(errno.ESTALE)}. The disk fails, ")


def test_an_interruption_says_what_remains() -> None:
    """Whether it waits for its turn or is under way."""
    lanes = Lanes()
    items = [*(f"large {number}" for number in range(3)), *(f"small {number}" for number in range(5))]
    run = lanes.run(items).run(items)
    for _ in range(5):
        next(run)
    lanes.stop.set()
    lanes.gate.set()
    told = dict(next(run) for _ in range(3))
    with pytest.raises(
        Cancelled, match=r"^Interrupted: 3 of 8 files remain, 3 are begun; what is finished is kept"
    ) as caught:
        next(run)
    for number, item in enumerate(items[:3]):
        (one,) = told[number]
        assert (one.object_id, one.state, one.error, one.good) == (item, State.UNFINISHED, caught.value, False)


def test_what_ends_while_an_interruption_waits_is_told_as_it_ended() -> None:
    gate, stop = threading.Event(), Stop()

    def work(item: str) -> list[Outcome]:
        if item != "quick":
            assert gate.wait(30)
        if item == "slow":
            stop.check()
        return [Outcome(item, State.DOWNLOADED)]

    run = Many(work, name, 3, stop, ignore).run(["slow", "late", "quick"])
    assert next(run)[0] == 2
    stop.set()
    gate.set()
    assert next(run) == (1, [Outcome("late", State.DOWNLOADED)])
    number, (outcome,) = next(run)
    assert (number, outcome.state) == (0, State.UNFINISHED)
    with pytest.raises(Cancelled, match=r"^Interrupted: 1 of 3 files remain, 1 are begun"):
        next(run)


def test_all_that_notice_the_wish_to_stop_are_told_of_the_first_one_too() -> None:
    """Those under way may notice before the loop over them does, as when the time for a run is over."""
    stop = Stop()

    def work(item: str) -> list[Outcome]:
        if item == "first":
            raise Cancelled("Stopped.")
        stop.sleep(30)
        raise AssertionError("nobody asked to stop")

    run = Many(work, name, 2, stop, ignore).run(["first", "second"])
    told = dict(next(run) for _ in range(2))
    assert {number: outcome.state for number, (outcome,) in told.items()} == dict.fromkeys((0, 1), State.UNFINISHED)
    with pytest.raises(Cancelled, match=r"^Interrupted: 2 of 2 files remain, 2 are begun"):
        next(run)


def prepare(site: FaultyScore, song: FakeSong, ids: list[str]) -> None:
    for number, object_id in enumerate(ids):
        data = DATA + bytes([number])
        song.register(f"{number}.bam", analysis=ANALYSIS, object_id=object_id, size=len(data))
        site.fake.add(object_id, data)


def test_when_the_time_is_over_what_is_finished_is_kept(
    make_client: MakeClient, site: FaultyScore, song: FakeSong, tmp_path: Path
) -> None:
    """While the store does not answer, too."""
    prepare(site, song, IDS[:2])
    gate = site.traffic.hold(path=f"/store/.*{IDS[1]}", skip=1)
    client = make_client(parallel=1)
    ends: list[BaseException] = []

    def run() -> None:
        try:
            client.download(IDS[:2], tmp_path)
        except Cancelled as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    gate.wait_for_arrival()
    client.stop_after(0)
    thread.join()
    assert str(ends[0]).startswith("The time for this run is over: ")
    assert "of 2 files remain" in str(ends[0])
    site.traffic.heal()
    while list(tmp_path.glob(".*.lock")):  # a program would have ended
        threading.Event().wait(0)
    site.traffic.forget()
    outcomes = make_client().download(IDS[:2], tmp_path)
    assert all(outcome.good for outcome in outcomes)
    assert len(site.gets) < 4, "the first part of the second file was finished"


def test_with_little_memory_it_works_with_small_buffers(
    make_client: MakeClient, site: FaultyScore, song: FakeSong, tmp_path: Path
) -> None:
    client = make_client(parallel=8, memory=0.001)
    assert client.engine.budget.memory <= 1_100_000
    assert client.engine.budget.chunk < 50_000
    prepare(site, song, IDS[:8])
    outcomes = client.download(IDS[:8], tmp_path)
    assert {outcome.state for outcome in outcomes} == {State.DOWNLOADED}
    site.fake.objects.clear()
    entries = [UploadEntry(one.object_id, one.path or tmp_path, one.md5 or "") for one in outcomes]
    assert {outcome.state for outcome in client.upload_all(entries)} == {State.UPLOADED}


def test_a_time_that_is_over_before_anything_begins(
    make_client: MakeClient, site: FaultyScore, song: FakeSong, tmp_path: Path
) -> None:
    prepare(site, song, IDS[:1])
    client = make_client()
    client.stop_after(0)
    with pytest.raises(Cancelled):
        client.download(IDS[:1], tmp_path)
    assert site.traffic.seen() == []


def test_a_large_one_among_others_is_asked_for_again_when_its_turn_comes(
    make_client: MakeClient, site: FaultyScore, song: FakeSong, tmp_path: Path
) -> None:
    prepare(site, song, IDS[:2])
    part = {"partNumber": 1, "partSize": 10**18, "offset": 0, "url": "http://x/", "md5": None}
    specification = {"objectKey": "k", "objectId": IDS[0], "uploadId": "u", "objectSize": 10**18, "parts": [part]}
    site.traffic.inject(Answer(200, json.dumps(specification).encode()), path=f"/download/{IDS[0]}", times=None)
    outcomes = make_client().download(IDS[:2], tmp_path)
    assert isinstance(outcomes[0].error, NoSpace)
    assert len(site.traffic.seen(path=f"/download/{IDS[0]}")) == 2


def begun(site: FaultyScore) -> set[str]:
    """The ids of the objects that the server was asked for."""
    return {exchange.path.rpartition("/")[2] for exchange in site.traffic.seen(path="^/(down|up)load/5c0e")}


class TestServersThatAreAway:
    PATIENCE = Patience(attempts=4, first_wait=0)

    def test_the_rest_is_not_waited_for(
        self, make_client: MakeClient, site: FaultyScore, song: FakeSong, tmp_path: Path
    ) -> None:
        prepare(site, song, IDS)
        client = make_client(parallel=1, patience=self.PATIENCE)
        site.traffic.inject(Answer.unavailable(), path="^/download/", times=None)
        outcomes = client.download(IDS, tmp_path)
        most = client.engine.budget.files + LIMIT - 1
        assert len(begun(site)) <= most < len(IDS) - 5
        assert len(site.traffic.seen(path="^/download/")) <= most * self.PATIENCE.attempts
        left = [outcome for outcome in outcomes if str(outcome.error).startswith("not begun: ")]
        assert len(left) == len(IDS) - len(begun(site))
        assert f"{site.url} is away" in str(left[0].error)
        assert all(isinstance(outcome.error, Unavailable) for outcome in outcomes)
        site.traffic.heal()
        site.traffic.inject(Answer.unavailable(), path="^/download/", times=1)
        assert all(outcome.good for outcome in client.download(IDS, tmp_path)), "with patience again"

    def test_also_for_uploads_when_nobody_listens_any_more(
        self, make_client: MakeClient, site: FaultyScore, song: FakeSong, tmp_path: Path
    ) -> None:
        client = make_client(parallel=1, patience=self.PATIENCE)
        client.connect()
        site.traffic.inject(Reset(), path="^/upload/", times=None)
        (tmp_path / "a").write_bytes(DATA)
        entries = [UploadEntry(object_id, tmp_path / "a", hashlib.md5(DATA).hexdigest()) for object_id in IDS]
        outcomes = client.upload_all(entries)
        assert len(begun(site)) <= client.engine.budget.files + LIMIT - 1
        assert all(isinstance(outcome.error, Unavailable) for outcome in outcomes)

    def test_also_of_the_store_while_the_server_answers(self) -> None:
        store = "http://store.test:9000"
        outage = Outage()
        for _ in range(LIMIT - 1):
            assert not outage.lose(Exhausted("x", server=store))
            outage.answered("http://score.test/download/x")
        assert outage.lose(Exhausted("x", server=store))

    def test_one_broken_object_ends_nothing(
        self, make_client: MakeClient, site: FaultyScore, song: FakeSong, tmp_path: Path
    ) -> None:
        """Though all of its parts fail, again and again."""
        prepare(site, song, IDS)
        site.traffic.inject(Answer.unavailable(), path=f"^/store/{IDS[0]}", times=None)
        client = make_client(parallel=1, patience=self.PATIENCE)
        for _ in range(LIMIT):
            outcomes = client.download(IDS[:2], tmp_path, force=True)
            assert [outcome.good for outcome in outcomes] == [False, True]
        outcomes = client.download(IDS, tmp_path)
        assert [outcome.object_id for outcome in outcomes if not outcome.good] == IDS[:1]

    @pytest.mark.parametrize(("order", "begun"), [("bbgbbg", "bbgbbg"), ("bbgbbbg", "bbgbbb")])
    def test_nor_do_many_while_the_server_answers_for_others(
        self, make_client: MakeClient, site: FaultyScore, song: FakeSong, tmp_path: Path, order: str, begun: str
    ) -> None:
        client = make_client(parallel=1, memory=1e-6, patience=Patience(attempts=2, first_wait=0))
        assert client.engine.budget.files == 1, "one after the other"
        prepare(site, song, IDS[: len(order)])
        for kind, object_id in zip(order, IDS, strict=False):
            if kind == "b":
                site.traffic.inject(Answer.unavailable(), path=f"^/download/{object_id}", times=None)
        outcomes = client.download(IDS[: len(order)], tmp_path)
        assert [outcome.good for outcome in outcomes] == [
            kind == "g" and number < len(begun) for number, kind in enumerate(order)
        ]
        assert [str(outcome.error).startswith("not begun") for outcome in outcomes].count(True) == len(order) - len(
            begun
        )

    def test_of_whose_answers_are_told_apart(self) -> None:
        outage = Outage()
        for _ in range(10):
            for _ in range(LIMIT - 1):
                assert not outage.lose(Exhausted("x", server="http://score.test:8087"))
            outage.answered("http://SCORE.test:8087/download/x?offset=0")

    @pytest.mark.parametrize(
        ("answer", "away"),
        [(Answer(503), True), (Answer(429), True), (Answer(404), False), (Answer(200, b"true"), False)],
    )
    def test_what_counts_as_an_answer(
        self, make_client: MakeClient, site: FaultyScore, answer: Answer, away: bool
    ) -> None:
        client = make_client(patience=Patience(attempts=1))
        outage = client.engine.outage
        for _ in range(LIMIT):
            outage.lose(Exhausted("x", server=site.url))
        site.traffic.inject(answer, path="^/upload/", times=None)
        with suppress(NotFound, Unavailable):
            client.engine.persist(lambda: client.score.exists(IDS[0]), "asking")
        assert outage.is_away(Exhausted("x", server=site.url)) == away

    def test_nothing_more_is_waited_for_where_it_is_known(self, make_client: MakeClient, site: FaultyScore) -> None:
        client = make_client(patience=self.PATIENCE)
        site.traffic.inject(Answer.unavailable(), path="^/upload/", times=None)
        for expected in (self.PATIENCE.attempts, 1):
            site.traffic.forget()
            with pytest.raises(Unavailable) as caught:
                client.engine.persist(lambda: client.score.exists(IDS[0]), "asking")
            assert len(site.traffic.seen()) == expected
            for _ in range(LIMIT):
                client.engine.outage.lose(Exhausted("x", server=caught.value.server))


def test_many_clients_ask_a_busy_server_once_and_once_more(
    make_client: MakeClient, site: FaultyScore, song: FakeSong, tmp_path: Path
) -> None:
    """A job array whose tasks begin at the same moment, and are all told to come again."""
    prepare(site, song, IDS)
    busy = Answer(503, b"{}", {"Retry-After": "0"})
    site.traffic.inject(busy, path="^/download/5c0e", times=len(IDS))
    clients = [make_client(parallel=2, patience=Patience(attempts=len(IDS) + 1, first_wait=0)) for _ in IDS]
    results: list[Outcome] = []

    def run(client: Client, object_id: str) -> None:
        results.extend(client.download([object_id], tmp_path / object_id))

    threads = [threading.Thread(target=run, args=pair) for pair in zip(clients, IDS, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {outcome.state for outcome in results} == {State.DOWNLOADED}
    assert len(site.traffic.seen(path="^/download/5c0e")) == 2 * len(IDS), "every refusal is one call more, no storm"
    assert len(site.traffic.seen(path="^/store/")) == 2 * len(IDS)
    assert len(song.traffic.seen(path="^/entities/")) == len(IDS)
    assert sorted(outcome.md5 or "" for outcome in results) == sorted(
        hashlib.md5(DATA + bytes([number])).hexdigest() for number in range(len(IDS))
    )
