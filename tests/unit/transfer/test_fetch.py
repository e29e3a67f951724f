"""Fetching parts from a store that behaves, and from one that does not."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import FileIO
from pathlib import Path

import pytest

from score.errors import Cancelled, Conflict, Integrity, NoSpace, NotFound, Refused, ScoreError, Unavailable
from score.protocol.parts import Span
from score.protocol.wire import Part
from score.testing.faults import Answer, CutResponse, Flip, Reset
from score.testing.score import FaultyScore
from score.transfer.budget import Budget
from score.transfer.engine import Engine, Urls
from score.transfer.events import Moved, Note, PartDone, Waiting
from score.transfer.fetch import Fetch, Replaced
from score.transfer.files import Target
from score.transfer.retry import Stop

OBJECT = "5c0eca11-0000-4000-8000-000000000020"
PART = 64 * 1024
DATA = random.Random(3).randbytes(5 * PART + 1000)
WHOLE = hashlib.md5(DATA).hexdigest()
RANGES = [f"bytes={offset}-{min(offset + PART, len(DATA)) - 1}" for offset in range(0, len(DATA), PART)]


class Fetching:
    """A download of one object: what was recorded and dropped, and how often URLs were asked for."""

    def __init__(self, store: FaultyScore, engine: Engine, path: Path) -> None:
        self.store = store
        self.engine = engine
        self.path = path
        self.recorded: dict[int, Part] = {}
        self.dropped: list[int] = []
        self.renewals = 0
        self.validate = True
        self.etag = ""
        self.etags: list[str] = []
        self.kind = Target
        self.rest: Callable[[Span], Part] = lambda span: store.fake.download_parts(OBJECT, span)[0]

    def _drop(self, number: int) -> None:
        self.dropped.append(number)
        self.recorded.pop(number, None)

    def _record(self, part: Part) -> None:
        self.recorded[part.part_number] = part

    def _renew(self) -> list[Part]:
        self.renewals += 1
        return self.store.fake.download_parts(OBJECT)

    def receive(self, parts: Sequence[Part], whole: str | None = WHOLE) -> str | None:
        span = Span(parts[0].offset, sum(part.part_size for part in parts))
        target = self.kind(self.path, span.length, span.offset)
        target.prepare()
        urls = Urls(parts, self._renew)
        keep = (self._record, self._drop, self.rest, self.validate, self.etag, self.etags.append)
        fetch = Fetch(self.engine, "a.bam", target, urls, *keep)
        return fetch.receive(parts, [part for part in parts if part.part_number in self.recorded], whole)

    def receive_all(self, whole: str | None = WHOLE) -> str | None:
        return self.receive(self.store.fake.download_parts(OBJECT), whole)


@pytest.fixture
def fetching(store: FaultyScore, engine: Engine, tmp_path: Path) -> Fetching:
    store.fake.add(OBJECT, DATA)
    return Fetching(store, engine, tmp_path / "data")


def moved(store: FaultyScore) -> int:
    return sum(event.count for event in store.heard.of(Moved))


def test_an_object_arrives(fetching: Fetching, store: FaultyScore) -> None:
    assert fetching.receive_all() == WHOLE
    assert fetching.path.read_bytes() == DATA
    assert store.gets == sorted(RANGES, key=lambda r: (len(r), r))
    assert fetching.renewals == 0
    assert moved(store) == len(DATA)
    assert sorted(event.number for event in store.heard.of(PartDone)) == [1, 2, 3, 4, 5, 6]
    assert sorted(fetching.recorded) == [1, 2, 3, 4, 5, 6]
    assert all(part.md5 in (None, part.source_md5) for part in fetching.recorded.values())


def test_a_get_carries_its_range_and_nothing_secret(fetching: Fetching, store: FaultyScore) -> None:
    fetching.receive_all()
    for exchange in store.traffic.seen(method="GET"):
        assert set(exchange.headers) <= {"host", "user-agent", "accept-encoding", "range", "if-match"}
        assert exchange.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1])
@pytest.mark.parametrize("whole_md5", [True, False])
def test_objects_of_every_kind_of_size(fetching: Fetching, store: FaultyScore, size: int, whole_md5: bool) -> None:
    stored = store.fake.add(OBJECT, DATA[:size], whole_md5=whole_md5)
    assert fetching.receive_all(stored.md5) == (hashlib.md5(DATA[:size]).hexdigest() if whole_md5 else None)
    assert fetching.path.read_bytes() == DATA[:size]


def test_a_range_lands_at_the_start_of_its_file(fetching: Fetching, store: FaultyScore) -> None:
    fetching.receive(store.fake.download_parts(OBJECT, Span(100, 2 * PART)), None)
    assert fetching.path.read_bytes() == DATA[100 : 100 + 2 * PART]
    assert store.gets == [f"bytes=100-{PART + 99}", f"bytes={PART + 100}-{2 * PART + 99}"]


def test_nothing_is_checked_where_nobody_wants_it(fetching: Fetching, store: FaultyScore) -> None:
    fetching.validate = False
    store.traffic.inject(Flip(5), range=RANGES[2])
    assert fetching.receive_all() is None
    assert hashlib.md5(fetching.path.read_bytes()).hexdigest() != WHOLE


@pytest.mark.parametrize("whole", [WHOLE, None])
@pytest.mark.parametrize("number", [1, 3, 6])
def test_of_a_flipped_byte_only_its_part_is_fetched_again(
    fetching: Fetching, store: FaultyScore, whole: str | None, number: int
) -> None:
    store.traffic.inject(Flip(500), range=RANGES[number - 1])
    assert fetching.receive_all(whole) == whole
    assert fetching.path.read_bytes() == DATA
    assert sorted(store.gets) == sorted([*RANGES, RANGES[number - 1]])


def test_damage_that_was_not_seen_on_arrival_is_found_by_the_whole_md5(
    fetching: Fetching, store: FaultyScore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the processor lags behind the network parts are not hashed on their own."""
    monkeypatch.setattr("score.transfer.fetch.SLACK", -1)
    store.traffic.inject(Flip(0), range=RANGES[1])
    store.traffic.inject(Flip(999), range=RANGES[5])
    assert fetching.receive_all() == WHOLE
    assert fetching.path.read_bytes() == DATA
    assert sorted(store.gets) == sorted([*RANGES, RANGES[1], RANGES[5]])
    assert moved(store) == len(DATA)
    assert any("on their way or on the disk" in note.text for note in store.heard.of(Note))


def test_where_others_want_the_processors_parts_are_not_hashed_on_their_own(
    fetching: Fetching, store: FaultyScore, engine: Engine
) -> None:
    engine.processors.tell(wall=2.0, cpu=1.0)
    store.traffic.inject(Flip(999), range=RANGES[5])
    assert fetching.receive_all() == WHOLE
    assert fetching.path.read_bytes() == DATA
    mended = fetching.recorded.pop(6)
    assert mended.md5 == mended.source_md5
    assert {part.md5 for part in fetching.recorded.values()} == {None}


@pytest.mark.parametrize("number", [1, 3, 6])
def test_bytes_that_are_flipped_for_ever_are_told_as_damage(
    fetching: Fetching, store: FaultyScore, number: int
) -> None:
    store.traffic.inject(Flip(500), range=RANGES[number - 1], times=None)
    damage = rf"part {number} arrived with MD5 [0-9a-f]{{32}}, but was uploaded with [0-9a-f]{{32}}"
    with pytest.raises(Integrity, match=damage):
        fetching.receive_all()
    assert number not in fetching.recorded


@pytest.mark.parametrize("number", [1, 3, 6])
def test_a_part_that_arrives_damaged_several_times_is_fetched_as_often(
    fetching: Fetching, store: FaultyScore, number: int
) -> None:
    store.traffic.inject(Flip(500), range=RANGES[number - 1], times=3)
    assert fetching.receive_all() == WHOLE
    assert fetching.path.read_bytes() == DATA
    assert sorted(store.gets) == sorted([*RANGES, *[RANGES[number - 1]] * 3])


def test_an_object_that_is_not_the_registered_file_is_told_as_such(fetching: Fetching) -> None:
    with pytest.raises(Integrity, match=f"whole file has MD5 {WHOLE}, but 0{{32}} is registered, though every part"):
        fetching.receive_all("0" * 32)


def test_an_object_of_unknown_parts_whose_md5_is_wrong_is_fetched_anew_by_the_next_run(
    fetching: Fetching, store: FaultyScore
) -> None:
    store.fake.add(OBJECT, DATA, part_md5s=False)
    store.traffic.inject(Flip(500), range=RANGES[2])
    with pytest.raises(Integrity, match="no checksums of its parts are known") as caught:
        fetching.receive_all()
    assert "Run the same command again" in caught.value.hint
    assert fetching.receive_all() == WHOLE
    assert fetching.path.read_bytes() == DATA


@pytest.mark.parametrize(
    "fault",
    [
        Reset(),
        CutResponse(0),
        Answer.failure(),
        Answer.unavailable(),
        Answer.unavailable(retry_after=0),
        Answer.request_timeout(),
        Answer(502, b"<html>Bad Gateway</html>"),
    ],
    ids=repr,
)
def test_what_passes_is_waited_for(fetching: Fetching, store: FaultyScore, fault: Reset | Answer) -> None:
    store.traffic.inject(fault, range=RANGES[1], times=3)
    assert fetching.receive_all() == WHOLE
    assert fetching.path.read_bytes() == DATA
    assert sorted(store.gets) == sorted([*RANGES, *[RANGES[1]] * 3])
    assert [event.what for event in store.heard.of(Waiting)] == ["a.bam: part 2"] * 3
    assert moved(store) == len(DATA)


@pytest.mark.parametrize("fault", [Answer.unavailable(), Answer.failure(), CutResponse(0), Reset()], ids=repr)
def test_a_store_that_is_away_for_ever_ends_patience(
    fetching: Fetching, store: FaultyScore, fault: Reset | Answer
) -> None:
    store.traffic.inject(fault, range=RANGES[1], times=None)
    with pytest.raises(Unavailable, match=r"GET http://.*gave up after 4 tries") as caught:
        fetching.receive_all()
    assert "Signature" not in str(caught.value)
    assert 2 not in fetching.recorded


CHUNK = 4096
AFTER = 10 * CHUNK + 1
REST = f"bytes={PART + AFTER}-{2 * PART - 1}"


@pytest.fixture
def in_chunks(fetching: Fetching) -> Fetching:
    """One that takes what arrives in many pieces."""
    fetching.engine = replace(fetching.engine, budget=Budget(chunk=CHUNK))
    return fetching


@pytest.mark.parametrize("whole", [WHOLE, None])
def test_a_part_that_is_cut_short_is_gone_on_with(in_chunks: Fetching, store: FaultyScore, whole: str | None) -> None:
    """Where the connection is cut after a time, a large part would never be whole else."""
    store.traffic.inject(CutResponse(AFTER), range=RANGES[1])
    assert in_chunks.receive_all(whole) == whole
    assert in_chunks.path.read_bytes() == DATA
    assert sorted(store.gets) == sorted([*RANGES, REST])
    assert moved(store) == len(DATA)
    assert all(part.md5 in (None, part.source_md5) for part in in_chunks.recorded.values())


def test_patience_begins_anew_with_each_piece_of_a_part(in_chunks: Fetching, store: FaultyScore) -> None:
    store.traffic.inject(CutResponse(2 * CHUNK), times=None)
    assert in_chunks.receive(store.fake.download_parts(OBJECT)[:1], None) is None
    assert in_chunks.path.read_bytes() == DATA[:PART]
    assert len(store.gets) == PART // CHUNK // 2 > 2 * in_chunks.engine.patience.attempts - 1


def test_the_rest_of_a_part_may_come_in_pieces(in_chunks: Fetching, store: FaultyScore) -> None:
    """A server cuts a range into parts of its own."""
    store.traffic.inject(CutResponse(AFTER), range=RANGES[1])
    parts = store.fake.download_parts(OBJECT)
    store.fake.part_size = 3 * CHUNK
    assert in_chunks.receive(parts) == WHOLE
    assert in_chunks.path.read_bytes() == DATA
    assert len(store.gets) == len(RANGES) + 2


def test_where_the_server_is_away_the_url_of_the_part_serves_again(in_chunks: Fetching, store: FaultyScore) -> None:
    def away(span: Span) -> Part:
        raise Unavailable("The server is away.")

    in_chunks.rest = away
    store.traffic.inject(CutResponse(AFTER), range=RANGES[1])
    assert in_chunks.receive_all() == WHOLE
    assert sorted(store.gets) == sorted([*RANGES, RANGES[1]])
    assert moved(store) == len(DATA)


def test_a_few_bytes_at_each_try_do_not_make_it_go_on_for_ever(fetching: Fetching, store: FaultyScore) -> None:
    store.traffic.inject(CutResponse(10), times=None)
    with pytest.raises(Unavailable, match=r"cut short.*gave up after 4 tries"):
        fetching.receive_all()


def test_a_part_that_was_gone_on_with_and_is_damaged_is_fetched_anew(in_chunks: Fetching, store: FaultyScore) -> None:
    store.traffic.inject(CutResponse(AFTER), range=RANGES[1])
    store.traffic.inject(Flip(3), range=REST)
    assert in_chunks.receive_all(None) is None
    assert in_chunks.path.read_bytes() == DATA
    assert sorted(store.gets) == sorted([*RANGES, RANGES[1], REST])
    assert moved(store) == len(DATA)


def test_without_an_etag_that_tells_objects_apart_a_part_begins_anew(in_chunks: Fetching, store: FaultyScore) -> None:
    store.fake.weak = True
    store.traffic.inject(CutResponse(AFTER), range=RANGES[1])
    assert in_chunks.receive_all() == WHOLE
    assert sorted(store.gets) == sorted([*RANGES, RANGES[1]])
    assert moved(store) == len(DATA)


def test_of_a_part_whose_object_is_replaced_meanwhile_nothing_is_gone_on_with(
    in_chunks: Fetching, store: FaultyScore
) -> None:
    in_chunks.engine.workers.parallel = 1
    gate = store.traffic.hold(path="/store/", skip=2)
    store.traffic.inject(CutResponse(AFTER), range=RANGES[1])
    with ThreadPoolExecutor(1) as pool:
        fetched = pool.submit(in_chunks.receive_all)
        gate.wait_for_arrival()
        store.fake.add(OBJECT, DATA[::-1])
        gate.open()
    assert isinstance(fetched.exception(), Replaced)
    assert 2 not in in_chunks.recorded


def test_a_store_that_refuses_for_ever_is_never_success(fetching: Fetching, store: FaultyScore) -> None:
    store.traffic.inject(Answer.denied(), range=RANGES[1], times=None)
    with pytest.raises(Refused, match=r"403 AccessDenied.*new URLs did not help"):
        fetching.receive_all()
    assert 2 not in fetching.recorded
    assert 1 <= fetching.renewals <= 3


def test_expired_urls_are_renewed_once_for_all_parts(fetching: Fetching, store: FaultyScore) -> None:
    parts = store.fake.download_parts(OBJECT)
    store.fake.expire()
    assert fetching.receive(parts) == WHOLE
    assert fetching.renewals == 1
    assert len(store.traffic.seen(status=206)) == 6


def test_urls_that_expire_in_mid_run_throw_no_finished_part_away(fetching: Fetching, store: FaultyScore) -> None:
    gate = store.traffic.hold(query="", path="/store/", skip=3, after=None)
    result: list[str | None] = []
    thread = threading.Thread(target=lambda: result.append(fetching.receive_all()))
    thread.start()
    gate.wait_for_arrival()
    store.fake.expire()
    store.traffic.heal()
    thread.join()
    assert result == [WHOLE]
    assert fetching.renewals == 1
    assert len(store.traffic.seen(status=206)) == 6
    assert fetching.dropped == []


def test_an_object_that_is_gone_is_not_found(fetching: Fetching, store: FaultyScore) -> None:
    parts = store.fake.download_parts(OBJECT)
    del store.fake.objects[OBJECT]
    with pytest.raises(NotFound, match="404 NoSuchKey"):
        fetching.receive(parts)


@pytest.mark.parametrize("whole", [WHOLE, None])
def test_an_object_that_is_replaced_meanwhile_is_not_mixed(
    fetching: Fetching, store: FaultyScore, whole: str | None
) -> None:
    gate = store.traffic.hold(path="/store/", skip=2)
    with ThreadPoolExecutor(1) as pool:
        fetched = pool.submit(fetching.receive_all, whole)
        gate.wait_for_arrival()
        store.traffic.wait_for(2, path="/store/", status=206)
        store.fake.add(OBJECT, DATA[::-1])
        store.traffic.heal()
    error = fetched.exception()
    assert isinstance(error, Conflict)
    assert "was replaced in the store" in error.message


def conditions(store: FaultyScore) -> list[str]:
    """The If-Match of each GET, in order; empty where it had none."""
    return [one.headers.get("if-match", "") for one in store.traffic.seen(method="GET", path="/store/")]


def test_parts_are_asked_of_the_object_of_the_first_one(fetching: Fetching, store: FaultyScore) -> None:
    fetching.engine.workers.parallel = 1
    parts = store.fake.download_parts(OBJECT)
    assert fetching.receive(parts) == WHOLE
    etag = f'"{store.fake.objects[OBJECT].etag}"'
    assert conditions(store) == ["", *[etag] * 5]
    assert fetching.etags == [etag]


@pytest.mark.parametrize("whole", [WHOLE, None])
def test_an_object_that_is_another_one_than_earlier_is_not_mixed(
    fetching: Fetching, store: FaultyScore, whole: str | None
) -> None:
    fetching.etag = '"of-yesterday"'
    with pytest.raises(Replaced, match="was replaced in the store"):
        fetching.receive(store.fake.download_parts(OBJECT), whole)
    assert fetching.recorded == {}
    assert {one.status for one in store.traffic.seen(path="/store/")} == {412}


def test_a_gateway_that_takes_no_conditions_is_asked_without(fetching: Fetching, store: FaultyScore) -> None:
    store.fake.refuses_conditions = True
    fetching.engine.workers.parallel = 1
    assert fetching.receive(store.fake.download_parts(OBJECT)) == WHOLE
    assert [bool(one) for one in conditions(store)] == [False, True, *[False] * 5], "it is tried once"
    fetching.recorded.clear()
    fetching.etag = '"of-yesterday"'
    with pytest.raises(Replaced):  # the ETags of its answers are looked at all the same
        fetching.receive(store.fake.download_parts(OBJECT))


def test_a_weak_etag_is_made_no_condition(fetching: Fetching, store: FaultyScore) -> None:
    store.fake.weak = True
    assert fetching.receive_all() == WHOLE
    assert sorted(store.gets) == sorted(RANGES)


def test_an_object_that_became_shorter_is_a_conflict(fetching: Fetching, store: FaultyScore) -> None:
    parts = store.fake.download_parts(OBJECT)
    store.fake.add(OBJECT, DATA[:PART])
    with pytest.raises(Conflict):
        fetching.receive(parts)


def test_a_store_that_ignores_ranges_is_refused(fetching: Fetching, store: FaultyScore) -> None:
    store.fake.ranges = False
    with pytest.raises(Refused, match="the store answered 200") as caught:
        fetching.receive_all()
    assert "ignores ranges" in caught.value.hint
    assert fetching.recorded == {}


def test_the_whole_object_in_place_of_its_only_part_is_fine(fetching: Fetching, store: FaultyScore) -> None:
    store.fake.ranges = False
    stored = store.fake.add(OBJECT, DATA[:1000])
    store.traffic.inject(CutResponse(500))  # its rest cannot be asked for
    assert fetching.receive_all(stored.md5) == stored.md5
    assert fetching.path.read_bytes() == DATA[:1000]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(206, b"x" * PART, {"Content-Range": f"bytes 0-{PART - 1}/{len(DATA)}"}),
        Answer(206, b"x" * PART),
        Answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"}),
    ],
    ids=["another range", "no range", "a page"],
)
def test_an_answer_that_is_not_the_part_is_refused(fetching: Fetching, store: FaultyScore, answer: Answer) -> None:
    store.traffic.inject(answer, range=RANGES[1], times=None)
    with pytest.raises(Refused, match="the store answered 20"):
        fetching.receive_all()
    assert 2 not in fetching.recorded


def test_finished_parts_are_not_fetched_again(fetching: Fetching, store: FaultyScore) -> None:
    store.traffic.inject(Answer(400), range=RANGES[4], times=None)
    with pytest.raises(Refused):
        fetching.receive_all()
    first = sorted(fetching.recorded)
    assert first
    store.traffic.heal()
    store.traffic.forget()
    assert fetching.receive_all() == WHOLE
    assert fetching.path.read_bytes() == DATA
    assert sorted(store.gets) == sorted(RANGES[number - 1] for number in range(1, 7) if number not in first)


def test_with_everything_fetched_the_whole_is_still_proven(fetching: Fetching, store: FaultyScore) -> None:
    fetching.receive_all()
    store.traffic.forget()
    assert fetching.receive_all() == WHOLE
    assert store.gets == []


@pytest.mark.parametrize("whole", [WHOLE, None])
def test_parts_that_changed_on_the_disk_since_are_found_and_fetched_again(
    fetching: Fetching, store: FaultyScore, whole: str | None
) -> None:
    fetching.receive_all(whole)
    with fetching.path.open("r+b") as file:
        for number in (2, 5):
            file.seek((number - 1) * PART + 7)
            file.write(b"damage")
    store.traffic.forget()
    assert fetching.receive_all(whole) == whole
    assert fetching.path.read_bytes() == DATA
    assert sorted(store.gets) == sorted([RANGES[1], RANGES[4]])
    assert any("fetched again" in note.text for note in store.heard.of(Note))
    assert moved(store) == len(DATA), "what was fetched twice counts once"


def test_a_file_that_lost_its_end_is_mended(fetching: Fetching, store: FaultyScore) -> None:
    fetching.receive_all()
    with fetching.path.open("r+b") as file:
        file.truncate(4 * PART)
    store.traffic.forget()
    assert fetching.receive_all() == WHOLE
    assert fetching.path.read_bytes() == DATA
    assert sorted(store.gets) == sorted(RANGES[4:])


def test_a_wish_to_stop_ends_it_and_keeps_what_is_finished(
    fetching: Fetching, store: FaultyScore, stop: Stop
) -> None:
    gate = store.traffic.hold(path="/store/", after=1000, skip=2)
    with ThreadPoolExecutor(1) as pool:
        fetched = pool.submit(fetching.receive_all)
        gate.wait_for_arrival()
        stop.set()
        store.traffic.heal()
    assert type(fetched.exception()) is Cancelled
    assert len(fetching.recorded) < 6
    for part in fetching.recorded.values():
        assert fetching.path.read_bytes()[part.offset : part.span.end] == DATA[part.offset : part.span.end]


def test_a_target_that_is_taken_away_is_named(fetching: Fetching, store: FaultyScore) -> None:
    parts = store.fake.download_parts(OBJECT)

    def record(part: Part) -> None:
        fetching.path.unlink(missing_ok=True)

    fetching._record = record  # type: ignore[method-assign]
    with pytest.raises(NotFound, match="data: No such file"):
        fetching.receive(parts)


def of_a_bad_disk(number: int, *, reading: bool = False) -> type[Target]:
    """Files whose disk fails: when they are closed, as with NFS, where nothing is written before; or as they are
    read."""

    class Bad(FileIO):
        def close(self) -> None:
            if not (self.closed or reading):
                super().close()
                raise OSError(number, os.strerror(number))
            super().close()

        def readinto(self, buffer: object, /) -> int:
            if reading:
                raise OSError(number, os.strerror(number))
            return super().readinto(buffer)  # type: ignore[arg-type]

    class OfIt(Target):
        def open(self) -> FileIO:
            return Bad(self.path, "r+")

    return OfIt


@pytest.mark.parametrize("whole", [WHOLE, None])
@pytest.mark.parametrize(("number", "kind"), [(errno.EDQUOT, NoSpace), (errno.ENOSPC, NoSpace), (errno.EIO, Refused)])
def test_a_disk_that_fails_when_a_file_is_closed_is_told_and_nothing_is_finished(
    fetching: Fetching, whole: str | None, number: int, kind: type[ScoreError]
) -> None:
    fetching.kind = of_a_bad_disk(number)
    with pytest.raises(kind, match=f"data: {os.strerror(number)}"):
        fetching.receive_all(whole)
    assert fetching.recorded == {}


def test_a_disk_that_fails_when_only_the_whole_file_is_closed_is_told(fetching: Fetching, store: FaultyScore) -> None:
    fetching.receive_all()
    fetching.kind = of_a_bad_disk(errno.EIO)
    with pytest.raises(Refused, match=f"data: {os.strerror(errno.EIO)}"):
        fetching.receive_all()


@pytest.mark.parametrize("whole", [WHOLE, None])
def test_finished_parts_that_the_disk_does_not_give_back_are_told(fetching: Fetching, whole: str | None) -> None:
    fetching.receive_all()
    fetching.kind = of_a_bad_disk(errno.EIO, reading=True)
    with pytest.raises(Refused, match=f"data: {os.strerror(errno.EIO)}"):
        fetching.receive_all(whole)
