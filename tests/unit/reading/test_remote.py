"""Reading an object at any place, through every fault."""

from __future__ import annotations

import itertools
import os
import random
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from score.errors import (
    Cancelled,
    Conflict,
    Forbidden,
    Integrity,
    Invalid,
    NotFound,
    Refused,
    ScoreError,
    Unavailable,
)
from score.protocol.parts import Span
from score.reading import RemoteObject, Shared
from score.reading.shared import Tally
from score.testing.faults import Answer, CutResponse, Flip, Reset
from score.testing.proxy import FaultProxy
from score.testing.score import FaultyScore
from score.transfer.events import Moved, Waiting
from score.transfer.retry import Exhausted, Patience, Stop

KIB = 1024
BLOCK = 4 * KIB
OBJECT = "9a63b2e3-9a0d-5a1b-8a73-0a1d5f1f0001"
Open = Callable[..., RemoteObject]
DATA = random.Random(11).randbytes(1024 * KIB + 77)


@pytest.fixture(autouse=True)
def stored(site: FaultyScore) -> None:
    site.fake.add(OBJECT, DATA)


def ranged(site: FaultyScore) -> list[Span]:
    """What was asked of the store, in the order in which it was."""
    found = []
    for exchange in site.traffic.seen(path="/store/"):
        first, _, last = exchange.range.removeprefix("bytes=").partition("-")
        found.append(Span(int(first), int(last) + 1 - int(first)))
    return found


def test_any_bytes_are_those_of_the_object(open_object: Open) -> None:
    remote = open_object()
    assert remote.size == len(DATA)
    dice = random.Random(3)
    for _ in range(300):
        offset, length = dice.randrange(len(DATA) + 100), dice.choice((0, 1, 100, BLOCK, 50_000))
        assert remote.read_at(offset, length) == DATA[offset : offset + length]
    assert remote.read_at(0, 10 * len(DATA)) == DATA


def test_a_buffer_is_filled_as_far_as_there_are_bytes(open_object: Open) -> None:
    remote = open_object()
    buffer = bytearray(b"x" * 1000)
    assert remote.read_into(len(DATA) - 600, memoryview(buffer)) == 600
    assert bytes(buffer) == DATA[-600:] + b"x" * 400


def test_nothing_is_asked_before_the_first_use(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    assert site.traffic.seen() == []
    remote.open()
    assert len(site.traffic.seen(path="/download/")) == 2
    assert site.traffic.seen(path="/store/") == []


def test_one_url_serves_all_reads_and_no_byte_is_fetched_twice(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    for offset in range(0, 100 * KIB, 1000):
        remote.read_at(offset, 1500)
        remote.read_at(offset, 1500)
    assert len(site.traffic.seen(path="/download/")) == 2
    asked = sorted(ranged(site))
    assert all(one.end <= other.offset for one, other in itertools.pairwise(asked))
    conditions = [exchange.headers.get("if-match") for exchange in site.traffic.seen(path="/store/")]
    assert conditions[0] is None
    assert conditions[-1] == f'"{site.fake.objects[OBJECT].etag}"'


def test_a_single_read_fetches_its_blocks_by_one_request(site: FaultyScore, open_object: Open) -> None:
    open_object().read_at(3 * BLOCK - 1, BLOCK + 2)
    assert ranged(site) == [Span(2 * BLOCK, 3 * BLOCK)]


def test_whoever_listens_is_told_of_every_byte_that_moves(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    remote.read_at(0, 10)
    remote.read_at(0, 10)
    remote.read_at(200 * BLOCK - 1, 2)
    assert [event.count for event in site.heard.of(Moved)] == [BLOCK] * 3
    assert remote.shared.tally == Tally(requests=2, received=3 * BLOCK, hits=1, misses=3)


def test_sequential_reads_need_few_requests(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    assert b"".join(remote.read_at(offset, BLOCK) for offset in range(0, len(DATA), BLOCK)) == DATA
    assert len(ranged(site)) < len(DATA) // BLOCK // 8


def test_random_reads_fetch_only_what_is_asked(site: FaultyScore, open_object: Open, make_shared: Callable) -> None:
    big = random.Random(5).randbytes(8_000_000)
    site.fake.add(OBJECT, big)
    remote = open_object()
    places = random.Random(6).sample(range(0, 8_000_000 - 200_000, 200_000), 30)
    for place in places:
        assert remote.read_at(place, 10) == big[place : place + 10]
    assert sum(span.length for span in ranged(site)) <= 30 * 2 * BLOCK


def test_sixteen_threads_on_an_object_larger_than_the_cache(shared: Shared, open_object: Open) -> None:
    remote = open_object()
    assert shared.cache.capacity < remote.size

    def work(seed: int) -> None:
        dice = random.Random(seed)
        at = dice.randrange(len(DATA))
        for _ in range(150):
            if dice.random() < 0.3:
                at = dice.randrange(len(DATA))
            length = dice.randrange(3 * BLOCK)
            assert remote.read_at(at, length) == DATA[at : at + length]
            at += length

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert shared.cache.used <= shared.cache.capacity


def test_threads_that_want_the_same_bytes_share_one_request(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    gate = site.traffic.hold(path="/store/", times=1)
    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(remote.read_at, 100, 2000) for _ in range(8)]
        gate.wait_for_arrival()
        gate.open()
        assert {read.result() for read in reads} == {DATA[100:2100]}
    assert len(ranged(site)) == 1


def test_threads_that_open_an_object_together_share_the_failure(
    site: FaultyScore, open_object: Open, make_shared: Callable[..., Shared]
) -> None:
    waiting: set[int] = set()
    together = threading.Event()

    class Seen(Stop):
        """Whoever waits looks now and then whether to stop; nobody is let go before all were seen."""

        def check(self) -> None:
            waiting.add(threading.get_ident())
            if len(waiting) == 8 + 1:  # one asks for the URL
                together.set()
            if not together.wait(10):
                together.set()  # they wait elsewhere
            super().check()

    attempts = 3
    remote = open_object(make_shared(Patience(attempts, 0), Seen()))
    site.traffic.inject(Answer.unavailable(), path="/download/", times=None)
    with ThreadPoolExecutor(8) as pool:
        opened = [pool.submit(remote.open) for _ in range(8)]
        assert {type(one.exception(60)) for one in opened} == {Exhausted}
    assert len(site.traffic.seen(path="/download/")) <= 2 * attempts  # the object and its URL
    site.traffic.heal()
    assert remote.read_at(0, 10) == DATA[:10]


def test_memory_is_bounded_whatever_the_size(site: FaultyScore, open_object: Open) -> None:
    big = random.Random(8).randbytes(16 * 1024 * KIB)
    site.fake.add(OBJECT, big, part_md5s=False)
    remote = open_object()
    tracemalloc.start()
    try:
        for offset in range(0, len(big), 64 * KIB):
            assert remote.read_at(offset, 64 * KIB) == big[offset : offset + 64 * KIB]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(big) // 2


def test_an_empty_object_is_read_without_a_request(site: FaultyScore, open_object: Open) -> None:
    site.fake.add(OBJECT, b"")
    assert open_object().read_at(0, 10) == b""
    assert site.traffic.seen(path="/store/") == []


def test_negative_places_are_refused(open_object: Open) -> None:
    with pytest.raises(Invalid, match="negative"):
        open_object().read_at(-1, 5)


def test_an_object_that_is_not_there(open_object: Open) -> None:
    with pytest.raises(NotFound):
        open_object(object_id=OBJECT[:-1] + "9").read_at(0, 1)


def test_a_forbidden_object_is_told_when_it_is_opened(site: FaultyScore, open_object: Open) -> None:
    site.traffic.inject(Answer(403, b"{}"), path="/download/", query="external", times=None)
    with pytest.raises(Forbidden):
        open_object().open()
    site.traffic.heal()


def test_urls_that_expire_in_the_middle_of_a_read_are_renewed(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    assert remote.read_at(0, 10) == DATA[:10]
    site.fake.expire()
    assert remote.read_at(500_000, 100_000) == DATA[500_000:600_000]
    assert len(site.traffic.seen(path="/download/", query="external")) == 2


def test_urls_that_no_renewal_makes_good(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    site.traffic.inject(Answer.denied(), path="/store/", times=None)
    with pytest.raises(Refused, match="new URLs did not help"):
        remote.read_at(0, 10)


@pytest.mark.parametrize("fault", [Answer.unavailable(), Answer.failure(), Reset(), CutResponse(0)])
def test_faults_that_pass_are_not_noticed(fault: object, site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    site.traffic.inject(fault, path="/store/", times=2)  # type: ignore[arg-type]
    assert remote.read_at(0, 50_000) == DATA[:50_000]
    assert len(site.heard.of(Waiting)) == 2


def test_what_came_before_an_answer_was_cut_is_not_fetched_again(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    site.traffic.inject(CutResponse(3 * BLOCK + 100), path="/store/")
    assert remote.read_at(0, 10 * BLOCK) == DATA[: 10 * BLOCK]
    assert ranged(site) == [Span(0, 10 * BLOCK), Span(3 * BLOCK, 7 * BLOCK)]


def test_reads_wait_while_the_store_is_gone_and_then_go_on(
    site: FaultyScore, proxy: FaultProxy, open_object: Open, make_shared: Callable[..., Shared]
) -> None:
    waits = threading.Semaphore(0)
    shared = make_shared(Patience(attempts=1000, first_wait=0.01, longest=0.01))
    heard = site.heard

    def listen(event: object) -> None:
        heard(event)
        if isinstance(event, Waiting):
            waits.release()

    object.__setattr__(shared.engine, "listener", listen)
    remote = open_object(shared)
    remote.open()
    proxy.shut()
    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(remote.read_at, at, 70_000) for at in (0, 600_000)]
        for _ in range(4):
            assert waits.acquire(timeout=60)
        assert not any(read.done() for read in reads)
        proxy.open()
        assert [read.result(60) for read in reads] == [DATA[:70_000], DATA[600_000:670_000]]


def test_patience_ends_in_an_error_and_a_later_read_begins_anew(
    site: FaultyScore, proxy: FaultProxy, open_object: Open
) -> None:
    remote = open_object()
    remote.open()
    proxy.shut()
    with pytest.raises(Unavailable, match="gave up after 4 tries") as raised:
        remote.read_at(0, 70_000)
    assert "Signature" not in str(raised.value)
    proxy.open()
    assert remote.read_at(0, 70_000) == DATA[:70_000]


@pytest.mark.parametrize("conditions", [True, False])
@pytest.mark.parametrize("size", [len(DATA), len(DATA) + 5, len(DATA) // 2])
def test_an_object_that_is_replaced_is_noticed(
    conditions: bool, size: int, site: FaultyScore, open_object: Open
) -> None:
    site.fake.conditions = conditions
    remote = open_object()
    assert remote.read_at(0, 10) == DATA[:10]
    other = random.Random(12).randbytes(size)
    site.fake.add(OBJECT, other)
    with pytest.raises(Conflict, match=r"reads\.bam was replaced|shorter"):
        remote.read_at(900_000, 1000)
    with pytest.raises(Conflict):
        remote.read_at(0, 10)
    assert open_object().read_at(0, size) == other


def test_an_object_replaced_between_specification_and_first_byte(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    remote.open()
    site.fake.add(OBJECT, DATA + b"more")
    with pytest.raises(Conflict, match="replaced"):
        remote.read_at(0, 10)


def test_those_who_opened_one_version_agree_on_its_bytes(site: FaultyScore, open_object: Open) -> None:
    """One read the object before it was replaced; another, that was opened before as well, only begins after it."""
    one, other = open_object(), open_object()
    one.open(), other.open()
    assert one.read_at(0, 10) == DATA[:10]
    site.fake.add(OBJECT, bytes(len(DATA)))
    with pytest.raises(Conflict):
        other.read_at(500_000, 10)


def test_the_cache_is_that_of_a_version(site: FaultyScore, open_object: Open) -> None:
    with open_object() as remote:
        remote.read_at(0, 1000)
    with open_object() as again:
        assert again.read_at(0, 1000) == DATA[:1000]
    assert len(ranged(site)) == 1, "the same version is not fetched again"
    site.fake.add(OBJECT, bytes(5000))
    assert open_object().read_at(0, 1000) == bytes(1000)


def test_objects_of_other_tools_without_md5_share_no_cache(site: FaultyScore, open_object: Open) -> None:
    """Nothing tells their versions apart before the store was asked."""
    site.fake.add(OBJECT, DATA, whole_md5=False, part_md5s=False)
    assert open_object().read_at(0, 10) == DATA[:10]
    site.fake.add(OBJECT, DATA[::-1], whole_md5=False, part_md5s=False)
    assert open_object().read_at(0, 10) == DATA[::-1][:10]


def test_parts_that_were_read_whole_are_compared_with_their_md5s(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    for offset in range(0, len(DATA), 10_000):
        remote.read_at(offset, 10_000)
    assert remote.proven == set(range(1, len(DATA) // (64 * KIB) + 2))


def test_parts_of_which_something_was_left_out_are_not(open_object: Open) -> None:
    remote = open_object()
    remote.read_at(0, 2 * 64 * KIB - 2 * BLOCK)
    assert remote.proven == {1}


@pytest.mark.parametrize("step", [1000, BLOCK, 64 * KIB, len(DATA)])
def test_damage_is_told_before_the_end_of_its_part_is_given_out(
    step: int, site: FaultyScore, open_object: Open
) -> None:
    stored = site.fake.objects[OBJECT]
    damaged = bytearray(DATA)
    damaged[100_000] ^= 1
    remote = open_object()
    remote.open()
    stored.data = bytes(damaged)
    read = bytearray()

    def read_all() -> None:
        for offset in range(0, len(DATA), step):
            read.extend(remote.read_at(offset, step))

    with pytest.raises(Integrity, match=r"reads\.bam: Part 2 .* has MD5 "):
        read_all()
    assert len(read) < 2 * 64 * KIB
    stored.data = DATA
    assert remote.read_at(64 * KIB, 64 * KIB) == DATA[64 * KIB : 128 * KIB], "read again, it is fetched again"
    assert 2 in remote.proven


def test_a_byte_that_turned_on_its_way(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    site.traffic.inject(Flip(70_000), path="/store/")
    with pytest.raises(Integrity):
        remote.read_at(0, 200_000)
    assert remote.read_at(0, 200_000) == DATA[:200_000]


def test_a_store_that_ignores_ranges_is_refused(site: FaultyScore, open_object: Open) -> None:
    site.fake.ranges = False
    with pytest.raises(Refused, match="ignores ranges"):
        open_object().read_at(BLOCK, 10)


def test_small_objects_need_no_ranges(site: FaultyScore, open_object: Open) -> None:
    site.fake.ranges = False
    site.fake.add(OBJECT, b"tiny")
    assert open_object().read_at(1, 2) == b"in"


def test_after_closing_nothing_is_read(open_object: Open) -> None:
    remote = open_object()
    remote.read_at(0, 10)
    remote.close()
    with pytest.raises(Cancelled, match="closed"):
        remote.read_at(0, 10)


def test_the_wish_to_stop_ends_a_read_that_waits(
    site: FaultyScore, proxy: FaultProxy, open_object: Open, make_shared: Callable[..., Shared]
) -> None:
    stop = Stop()
    shared = make_shared(Patience(attempts=1000, first_wait=60), stop)
    waiting = threading.Event()
    object.__setattr__(shared.engine, "listener", lambda event: waiting.set())
    remote = open_object(shared)
    remote.open()
    proxy.shut()
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(remote.read_at, 0, 10)
        assert waiting.wait(60)
        stop.set()
        with pytest.raises(Cancelled):
            read.result(60)


def test_the_disk_keeps_what_memory_does_not(
    site: FaultyScore, open_object: Open, make_shared: Callable[..., Shared]
) -> None:
    remote = open_object(make_shared(memory=64 * KIB, disk=4096 * KIB))
    places = range(0, len(DATA), 50_000)
    first = [remote.read_at(place, 100) for place in places]
    before = len(ranged(site))
    assert [remote.read_at(place, 100) for place in places] == first
    assert len(ranged(site)) == before


@pytest.mark.parametrize(
    "read",
    [
        lambda remote: remote.read_at(0, 9_000_000),
        lambda remote: b"".join(data for _, data in remote.stream([Span(0, 9_000_000)])),
    ],
    ids=["read", "stream"],
)
def test_a_long_read_is_made_of_requests_at_the_same_time(
    read: Callable[[RemoteObject], bytes], site: FaultyScore, open_object: Open
) -> None:
    """The second arrives, and the third, while the first is not answered."""
    big = random.Random(5).randbytes(9_000_000)
    site.fake.add(OBJECT, big)
    gates = [site.traffic.hold(path="/store/", times=1) for _ in range(3)]
    with ThreadPoolExecutor(1) as pool:
        data = pool.submit(read, open_object())
        try:
            for gate in gates:
                gate.wait_for_arrival()
        finally:
            site.traffic.heal()
        assert data.result() == big


def test_streams_give_known_spans_in_order(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    spans = [Span(700_000, 50_000), Span(10, 90), Span(150, 100), Span(720_000, 90_000), Span(len(DATA) - 5, 100)]
    found: dict[int, bytes] = {}
    for offset, data in remote.stream(spans, gap=1000):
        assert not found or offset >= max(found)
        found[offset] = data
    wanted = {10: DATA[10:100], 150: DATA[150:250], 700_000: DATA[700_000:810_000], len(DATA) - 5: DATA[-5:]}
    assert found == wanted
    assert sorted(ranged(site)) == [Span(10, 240), Span(700_000, 110_000), Span(len(DATA) - 5, 5)]


def test_a_stream_compares_parts_that_come_whole(site: FaultyScore, open_object: Open) -> None:
    big = random.Random(5).randbytes(9_000_000)
    site.fake.add(OBJECT, big)
    remote = open_object()
    spans = [Span(10_000, 8_500_000), Span(8_600_000, 400_000)]
    assert b"".join(data for _, data in remote.stream(spans, gap=0)) == big[10_000:8_510_000] + big[8_600_000:]
    part = 64 * KIB
    whole = {
        n + 1
        for n in range(-(-len(big) // part))
        if any(span.offset <= n * part and min((n + 1) * part, len(big)) <= span.end for span in spans)
    }
    assert remote.proven == whole
    assert len(whole) > 130


@pytest.mark.parametrize("length", [len(DATA), 2 * 64 * KIB])
def test_a_stream_gives_out_no_part_that_is_damaged(length: int, site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    site.traffic.inject(Flip(70_000), path="/store/")
    with pytest.raises(Integrity, match=r"reads\.bam: Part 2 .* has MD5 "):
        list(remote.stream([Span(0, length)]))
    assert b"".join(data for _, data in remote.stream([Span(0, length)])) == DATA[:length]


def test_a_stream_of_a_piece_of_a_part_compares_nothing(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    site.traffic.inject(Flip(500), path="/store/")
    (found,) = remote.stream([Span(70_000, 1000)])
    assert found[1] != DATA[70_000:71_000]
    assert remote.proven == set()


def test_a_stream_goes_on_after_faults(site: FaultyScore, open_object: Open) -> None:
    remote = open_object()
    remote.open()
    site.traffic.inject(CutResponse(10_000), path="/store/")
    site.traffic.inject(Answer.unavailable(), path="/store/")
    site.fake.expire()
    assert b"".join(data for _, data in remote.stream([Span(5, 300_000)])) == DATA[5:300_005]


def test_bytes_that_come_just_as_a_wait_for_them_ends_are_given_out(
    site: FaultyScore, open_object: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    class JustMissed(Future[bytes]):
        """Its bytes come between the end of a wait and the look whether they are there."""

        def result(self, timeout: float | None = None) -> bytes:
            if timeout is not None:
                wait([self])
                raise TimeoutError
            return super().result()

    monkeypatch.setattr("score.reading.remote.Future", JustMissed)
    remote = open_object()
    assert b"".join(piece for _, piece in remote.stream([Span(0, 1000)])) == DATA[:1000]


def test_a_stream_that_nobody_reads_to_its_end_stops(site: FaultyScore, open_object: Open) -> None:
    stream = open_object().stream([Span(0, 100), Span(500_000, 100)], gap=0)
    assert next(stream) == (0, DATA[:100])
    stream.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_told_to_open_it_anew(
    site: FaultyScore, make_shared: Callable, open_object: Open, tmp_path: Path
) -> None:
    """It has no threads, and would write its blocks over those of the first one, in the same file."""
    shared = make_shared(memory=2 * BLOCK, disk=12 * BLOCK, folder=tmp_path)
    remote = open_object(shared)
    for at in range(14):
        remote.read_at(at * BLOCK, 1)
    uses = [lambda at=at: remote.read_at(500_000 + at * BLOCK, 1) for at in range(0, 60, 3)]
    uses += [lambda: remote.read_at(0, 99), lambda: next(remote.stream([Span(0, 9)]))]
    child = os.fork()
    if child == 0:
        told = 0
        for use in uses:
            try:
                use()
            except Invalid as error:
                told += "before this process was forked" in str(error)
            except ScoreError:
                break
            if not told and use is uses[-2]:
                break  # the last one would wait for a thread for ever
        os._exit(told)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert remote.read_at(0, 14 * BLOCK) == DATA[: 14 * BLOCK]
    assert status == len(uses)
