"""What the SDK has beside uploads and downloads: many files, transfers in the background, cancelling, looking."""

from __future__ import annotations

import gc
import hashlib
import os
import pathlib
import signal
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import pytest

from score import Client, Ended, Moved, Planned, State, Transfer, UploadEntry
from score.errors import Cancelled, NotFound, NotReady
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong
from score.transfer.budget import FILES

DATA = bytes(range(256)) * 1300
MD5 = hashlib.md5(DATA).hexdigest()


def name_of(number: int) -> str:
    """An object id."""
    return f"5c0eca11-0000-4000-8000-{number:012}"


@pytest.fixture
def stored(site: FaultyScore, song: FakeSong) -> str:
    """An object of six parts, registered and in the store."""
    file = song.register(
        "a.bam", analysis="an-analysis", study="TEST-CA", object_id=name_of(1), size=len(DATA), md5=MD5
    )
    site.fake.add(file.object_id, DATA)
    return file.object_id


class TestManyFiles:
    def test_lines_are_taken_as_they_are_needed_and_nothing_is_queued_for_them(
        self, client: Client, tmp_path: Path
    ) -> None:
        width = FILES * client.settings.parallel
        taken = 0

        def entries() -> Iterator[UploadEntry]:
            nonlocal taken
            for number in range(20 * width):
                taken += 1
                yield UploadEntry(name_of(number), tmp_path / "absent", MD5)

        ahead, futures = [], []
        for given, outcome in enumerate(client.upload_each(entries())):
            assert isinstance(outcome.error, NotFound)
            ahead.append(taken - given)
            if given % width == 0:
                futures.append(sum(isinstance(thing, Future) for thing in gc.get_objects()))
        assert len(ahead) == taken == 20 * width
        assert max(ahead) <= width
        assert max(futures) <= 2 * width

    def test_memory_is_flat_in_their_number(self, client: Client, tmp_path: Path) -> None:
        def entries(count: int) -> Iterator[UploadEntry]:
            for number in range(count):
                yield UploadEntry(name_of(number), tmp_path / "absent", MD5)

        def taken(count: int) -> int:
            with Client(client.settings) as plain:
                for _ in plain.upload_each(entries(count)):
                    pass
            gc.collect()
            # Without what pathlib interns: the interpreter's table of such names doubles now and then.
            found = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
            return sum(one.size for one in found.statistics("filename"))

        tracemalloc.start()
        try:
            before = taken(100)
            assert taken(3000) - before < 600_000  # a future and an outcome of each would take several times as much
        finally:
            tracemalloc.stop()

    def test_a_list_is_made_of_whatever_gives_entries(self, client: Client, tmp_path: Path) -> None:
        entries = (UploadEntry(name_of(number), tmp_path / "absent", MD5) for number in range(3))
        assert [outcome.object_id for outcome in client.upload_all(entries)] == [name_of(n) for n in range(3)]

    def test_an_error_keeps_no_frames(self, client: Client, tmp_path: Path) -> None:
        (outcome,) = client.upload_all([UploadEntry(name_of(1), tmp_path / "absent", MD5)])
        assert outcome.error is not None
        assert outcome.error.__traceback__ is None

    def test_lists_are_in_the_order_of_what_was_asked_for(
        self, client: Client, site: FaultyScore, song: FakeSong, tmp_path: Path
    ) -> None:
        """The first one is held until the last has ended."""
        ids = [name_of(number) for number in range(1, 5)]
        for number, one in enumerate(ids):
            song.register(f"{number}.vcf", analysis=one, object_id=one, size=3)
            site.fake.add(one, b"abc")
        gate = site.traffic.hold(method="GET", path=f"/store/.*{ids[0]}")
        transfer = client.begin(client.download, ids, tmp_path / "out")
        for event in transfer:
            if isinstance(event, Ended) and event.item.endswith("3.vcf"):
                gate.open()
        assert [outcome.object_id for outcome in transfer.result()] == ids

    def test_a_loop_may_be_left(self, client: Client, site: FaultyScore, song: FakeSong, tmp_path: Path) -> None:
        for number in range(1, 5):
            song.register(f"{number}.vcf", analysis="a", object_id=name_of(number), size=3)
            site.fake.add(name_of(number), b"abc")
        for outcome in client.download_each([name_of(number) for number in range(1, 5)], tmp_path / "out"):
            assert outcome.good
            break
        assert client.download([name_of(4)], tmp_path / "other")[0].state is State.DOWNLOADED

    def test_whoever_leaves_early_finds_no_file_that_was_not_fetched(
        self, make_client: type[Client], site: FaultyScore, song: FakeSong, tmp_path: Path
    ) -> None:
        """Of those whose turn never came, too: an end is none until their bytes are proven."""
        ids = [name_of(number) for number in range(1, 5)]
        for one in ids:
            song.register(f"{one}.vcf", analysis="a", object_id=one, size=1000)
            site.fake.add(one, DATA[:1000], whole_md5=one != ids[-1])
        gate = site.traffic.hold(method="GET", path="/store/", skip=1)
        client = make_client(parallel=1)
        outcomes = client.download_each(ids, tmp_path / "out")
        first = next(outcomes)
        gate.wait_for_arrival()
        while len(client.engine.workers._lines) < len(ids) - 1:
            threading.Event().wait(0)
        client.close()
        site.traffic.heal()
        while list((tmp_path / "out").glob(".*.lock")):
            threading.Event().wait(0)
        assert [path for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")] == [first.path]
        with pytest.raises(Cancelled):
            list(outcomes)


class TestTransfers:
    def test_its_events_end_with_it(self, client: Client, stored: str, tmp_path: Path, site: FaultyScore) -> None:
        transfer: Transfer[object] = client.begin(client.download, [stored], tmp_path)
        events = list(transfer)
        assert isinstance(events[0], Planned)
        assert isinstance(events[-1], Ended)
        assert sum(event.count for event in events if isinstance(event, Moved)) == len(DATA)
        assert list(transfer) == []
        assert transfer.done
        assert site.heard.of(Ended) == [events[-1]]

    def test_it_keeps_nothing_of_what_the_client_does_afterwards(
        self, client: Client, stored: str, tmp_path: Path
    ) -> None:
        transfer = client.begin(client.stat, stored)
        transfer.result()
        client.download([stored], tmp_path)
        assert [list(transfer), list(transfer)] == [[], []]

    def test_its_error_is_raised_where_the_result_is_asked_for(self, client: Client, tmp_path: Path) -> None:
        transfer = client.begin(client.upload, tmp_path / "absent", name_of(1))
        assert list(transfer) == []
        with pytest.raises(NotFound, match="absent"):
            transfer.result()

    def test_it_is_cancelled_from_elsewhere_and_gone_on_with(
        self, client: Client, make_client: type[Client], stored: str, site: FaultyScore, tmp_path: Path
    ) -> None:
        gate = site.traffic.hold(method="GET", path="/store/", skip=1, after=1000)
        transfer = client.begin(client.download, [stored], tmp_path / "out")
        gate.wait_for_arrival()
        with pytest.raises(TimeoutError):
            transfer.result(timeout=0)
        canceller = threading.Thread(target=client.cancel)
        canceller.start()
        canceller.join()
        site.traffic.heal()
        with pytest.raises(Cancelled, match="kept"):
            transfer.result()
        done = len(list((tmp_path / "out" / f".{stored}").glob("part-*")))
        site.traffic.forget()
        assert make_client().download([stored], tmp_path / "out")[0].good
        assert len(site.gets) == 6 - done

    def test_cancelling_waits_for_the_end(
        self, client: Client, stored: str, site: FaultyScore, tmp_path: Path
    ) -> None:
        site.traffic.inject(Answer.unavailable(30), method="GET", path="/store/", times=None)
        transfer = client.begin(client.download, [stored], tmp_path / "out")
        site.traffic.wait_for(1, method="GET", path="/store/")
        transfer.cancel()
        assert transfer.done

    def test_closing_the_client_ends_what_waits(
        self, client: Client, stored: str, site: FaultyScore, tmp_path: Path
    ) -> None:
        """Else its threads would keep the program from ending for as long as patience lasts."""
        site.traffic.inject(Answer.unavailable(30), path="^/download/", times=None)
        transfer = client.begin(client.download, [stored], tmp_path / "out")
        site.traffic.wait_for(1, path="^/download/")
        client.close()
        with pytest.raises(Cancelled):
            transfer.result()

    def test_a_closed_client_says_that_it_is_closed(self, client: Client, stored: str, tmp_path: Path) -> None:
        client.close()
        with pytest.raises(Cancelled, match=r"This client is closed\..*another"):
            client.url(stored)
        with pytest.raises(Cancelled, match=r"This client is closed\..*another"):
            client.download([stored], tmp_path)

    def test_one_that_was_interrupted_says_so_from_then_on(self, client: Client, stored: str, tmp_path: Path) -> None:
        """As when the cell of a notebook is run again: the same call of this client does not go on."""
        outcomes = client.download_each([stored], tmp_path)
        client.cancel()
        with pytest.raises(Cancelled, match="1 of 1 files remain"):
            list(outcomes)
        for call in (client.url, client.stat, lambda one: client.download([one], tmp_path)):
            with pytest.raises(Cancelled, match=r"This client was stopped\..*another"):
                call(stored)

    def test_a_cancelled_client_begins_nothing(self, client: Client, stored: str, tmp_path: Path) -> None:
        client.cancel()
        with pytest.raises(Cancelled):
            client.download([stored], tmp_path)


class TestForking:
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_process_is_told_to_make_a_client_of_its_own(
        self, client: Client, stored: str, tmp_path: Path
    ) -> None:
        """The threads for parts stay behind: it would wait for them without end."""
        assert client.download([stored], tmp_path / "here")[0].good
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reads)
            signal.alarm(30)
            try:
                (outcome,) = client.download([stored], tmp_path / "there")
                os.write(writes, str(outcome.error).encode())
            finally:
                os._exit(0)
        os.close(writes)
        with os.fdopen(reads, "rb") as told:
            assert b"before this process was forked" in told.read()
        assert os.waitpid(child, 0)[1] == 0


class TestLooking:
    def test_at_an_object(self, client: Client, stored: str) -> None:
        found = client.stat(stored)
        assert (found.object_id, found.size, found.md5) == (stored, len(DATA), MD5)
        assert (found.name, found.analysis, found.study) == ("a.bam", "an-analysis", "TEST-CA")

    def test_at_one_that_is_not_there(self, client: Client, song: FakeSong) -> None:
        with pytest.raises(NotFound):
            client.stat(name_of(404))

    def test_at_what_is_there(self, client: Client, stored: str, site: FaultyScore) -> None:
        assert client.exists(stored)
        assert not client.exists(name_of(404))
        for status in (401, 403):  # for uploads the token is not good enough
            site.traffic.inject(Answer(status, b"{}"), path="^/upload/")
            assert client.exists(stored)

    def test_at_its_age(self, client: Client, stored: str, site: FaultyScore) -> None:
        """By the head of the object; where there is no URL, by what the server says, and where that is one of the
        reference, by the list."""
        then = datetime(2026, 11, 25, 2, 0, tzinfo=UTC)
        head = {"Last-Modified": "Wed, 25 Nov 2026 02:00:00 GMT"}
        site.traffic.inject(Answer(200, DATA, head), method="GET", path="/store/")
        assert client.modified(stored) == then
        for status in (400, 403):  # it is not published; the token is for uploads only
            site.traffic.inject(Answer(status, b"{}"), method="GET", path="^/download/")
            site.traffic.inject(Answer(200, b"true", head), method="GET", path="^/upload/")
            assert client.modified(stored) == then
            assert not site.traffic.seen(path="^/listing")
        for answer in (Answer(403, b"{}"), Answer(200, b"true", {"Last-Modified": "lately"})):
            site.traffic.inject(Answer(400, b"{}"), method="GET", path="^/download/")
            site.traffic.inject(answer, method="GET", path="^/upload/")
            assert client.modified(stored) == datetime(1970, 1, 1, tzinfo=UTC)
        with pytest.raises(NotFound):
            client.modified(name_of(404))

    def test_at_the_age_of_one_that_is_younger_than_the_list(
        self, client: Client, stored: str, site: FaultyScore
    ) -> None:
        site.traffic.inject(Answer(400, b"{}"), method="GET", path="^/download/")
        site.traffic.inject(Answer(200, b"[]"), path="^/listing")
        with pytest.raises(NotReady, match="list"):
            client.modified(stored)

    def test_at_an_analysis(self, client: Client, stored: str) -> None:
        assert client.files("TEST-CA", "an-analysis") == {"a.bam": stored}
        assert client.analysis("TEST-CA", "an-analysis") == [stored]

    def test_at_all(self, client: Client, stored: str) -> None:
        assert [(listed.id, listed.size) for listed in client.list()] == [(stored, len(DATA))]
