"""Timetables of rates, and tokens that threads share. No clock but the test's own."""

from __future__ import annotations

import math
import threading
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.errors import Cancelled, Invalid
from score.protocol.parts import MIB
from score.transfer.bandwidth import Bucket, Rates, Throttle, Timetable, may_begin, parse
from score.transfer.retry import Stop

MONDAY = datetime(2026, 11, 23)  # noqa: DTZ001 - local time, as users write it
K = 1024


def at(text: str, day: int, hour: int, minute: int = 0) -> Rates:
    return parse(text).at(MONDAY + timedelta(days=day, hours=hour, minutes=minute))


@pytest.mark.parametrize(
    ("text", "up", "down"),
    [
        ("10M", 10 * MIB, 10 * MIB),
        ("10M:1M", 10 * MIB, MIB),
        ("off:1M", math.inf, MIB),
        ("1.5G:off", 1.5 * 1024 * MIB, math.inf),
        ("512", 512 * K, 512 * K),
        ("512b", 512, 512),
        ("2KiB/s", 2 * K, 2 * K),
        ("1mb", MIB, MIB),
        ("1T", 1024 * 1024 * MIB, 1024 * 1024 * MIB),
        ("off", math.inf, math.inf),
        ("0", math.inf, math.inf),
        (" 10M ", 10 * MIB, 10 * MIB),
    ],
)
def test_a_rate_alone_holds_always(text: str, up: float, down: float) -> None:
    assert {parse(text).at(MONDAY + timedelta(hours=hour)) for hour in range(0, 200, 7)} == {Rates(up, down)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "10X",
        "10M:",
        ":10M",
        "1:2:3",
        "-1M",
        "nan",
        "inf",
        "24:00,1M",
        "08:60,1M",
        "8,1M",
        "08:00,fast",
        "08:00, 1M",
        "Xyz-08:00,1M",
        "10M 20M",
        "08:00,1M 20M",
        "٣M",
    ],
)
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid, match="--bwlimit") as refused:
        parse(text)
    assert "08:00,512k" in refused.value.hint


def test_a_timetable_holds_from_each_time_to_the_next_on_every_day() -> None:
    text = "08:00,512k 12:00,10M:1M 23:00,off"
    for day in range(7):
        assert at(text, day, 0) == Rates(), "since 23:00 of the day before"
        assert at(text, day, 7, 59) == Rates()
        assert at(text, day, 8) == Rates(512 * K, 512 * K)
        assert at(text, day, 11, 59) == Rates(512 * K, 512 * K)
        assert at(text, day, 12) == Rates(10 * MIB, MIB)
        assert at(text, day, 23) == Rates()


def test_a_timetable_of_the_week() -> None:
    text = "Mon-08:00,1M Friday-18:00,off sun-20:30,512"
    assert at(text, 0, 7) == Rates(512 * K, 512 * K), "since Sunday evening"
    assert at(text, 0, 8) == Rates(MIB, MIB)
    assert at(text, 4, 17, 59) == Rates(MIB, MIB)
    assert at(text, 5, 3) == Rates()
    assert at(text, 6, 20, 30) == Rates(512 * K, 512 * K)


class Clock(Stop):
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept = 0
        super().__init__(lambda: self.seconds)

    def sleep(self, seconds: float) -> None:
        self.check()
        assert seconds > 0
        self.slept += 1
        self.seconds += seconds

    def now(self) -> datetime:
        return MONDAY + timedelta(seconds=self.seconds)


def throttle(clock: Clock, text: str) -> Throttle:
    return Throttle(clock, parse(text), clock=lambda: clock.seconds, now=clock.now)


@pytest.mark.parametrize("text", ["1M", "100k", "8k", "100M"])
@pytest.mark.parametrize("piece", [100, 4096, MIB])
def test_what_passes_in_a_time_is_what_the_rate_lets_pass(text: str, piece: int) -> None:
    clock = Clock()
    limits = throttle(clock, text)
    rate = parse(text).at(MONDAY).up
    start, passed = clock.seconds, 0
    for _ in range(2000):
        limits.up(piece)
        passed += piece
    allowed = rate * (clock.seconds - start)
    assert allowed * 0.98 - piece <= passed <= allowed * 1.02 + 2 * piece + rate * 0.05


def test_nothing_is_saved_up_while_nothing_moves() -> None:
    clock = Clock()
    limits = throttle(clock, "1M")
    limits.up(1)
    clock.seconds += 3600
    start, passed = clock.seconds, 0
    while clock.seconds < start + 1:
        limits.up(64 * K)
        passed += 64 * K
    assert passed <= 1.3 * MIB


def test_up_and_down_have_a_limit_each() -> None:
    clock = Clock()
    limits = throttle(clock, "1k:off")
    for _ in range(1000):
        limits.down(MIB)
    assert clock.slept == 0
    limits.up(10 * K)
    limits.up(1)
    assert clock.slept


def test_a_change_of_the_timetable_is_noticed_by_who_waits() -> None:
    clock = Clock()
    limits = throttle(clock, "00:00,1b 01:00,off")
    limits.up(MIB)  # a debt of twelve days
    limits.up(MIB)
    assert timedelta(hours=1) <= clock.now() - MONDAY <= timedelta(hours=1, seconds=2)
    assert limits.piece(MIB, up=True) == MIB


def test_pieces_are_small_where_the_rate_is_low() -> None:
    limits = throttle(Clock(), "1M:64k")
    assert limits.piece(MIB, up=True) == MIB // 20
    assert limits.piece(MIB, up=False) == 4096
    assert limits.piece(100, up=False) == 100
    assert Throttle(Clock()).piece(MIB, up=True) == MIB


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    limits = throttle(clock, "1b")
    limits.limit(None)
    for _ in range(100):
        limits.up(MIB)
    assert clock.slept == 0


def test_who_waits_for_tokens_stops_when_asked_to() -> None:
    clock = Clock()
    limits = throttle(clock, "1k")
    limits.up(MIB)
    clock.set()
    with pytest.raises(Cancelled):
        limits.up(1)


@pytest.mark.parametrize(
    ("size", "under_way", "rate", "may"),
    [
        (20 * MIB, 0, 1, True),
        (20 * MIB, 20 * MIB, 100 * K, False),
        (20 * MIB, 20 * MIB, MIB, True),
        (20 * MIB, 40 * MIB, MIB, True),
        (20 * MIB, 60 * MIB, MIB, False),
        (20 * MIB, 10**12, math.inf, True),
    ],
)
def test_as_many_parts_begin_as_move_in_a_minute(size: int, under_way: int, rate: float, may: bool) -> None:
    assert may_begin(size, under_way, rate) == may


def test_a_part_waits_for_its_turn_unless_it_is_small() -> None:
    clock = Clock()
    limits = throttle(clock, "1M:1k")
    moved = []

    def move() -> None:
        with limits.turn(50 * K, up=False):
            moved.append("second")

    with limits.turn(50 * K, up=False):
        with limits.turn(5 * K, up=False), limits.turn(60 * MIB, up=True):
            second = threading.Thread(target=move)
            second.start()
        moved.append("first")
    second.join()
    assert moved == ["first", "second"]
    with limits.turn(50 * K, up=False):
        clock.set()
        with pytest.raises(Cancelled), limits.turn(50 * K, up=False):
            moved.append("never")


def test_after_repeated_cuts_half_as_many_are_sent_at_a_time_and_more_again_as_they_arrive() -> None:
    clock = Clock()
    limits = Throttle(clock)

    def begin(stack: ExitStack, *, up: bool = True) -> bool:
        """Whether a part may begin at once: on this clock, of a user who has asked to stop, it does not wait."""
        try:
            stack.enter_context(limits.turn(20 * MIB, up=up))
        except Cancelled:
            return False
        return True

    def begun() -> int:
        with ExitStack() as stack:
            return sum(1 for _ in takewhile(bool, (begin(stack) for _ in range(100))))

    clock.set()
    assert begun() == 100
    with ExitStack() as stack:
        assert all(begin(stack) for _ in range(6))
        limits.ease()
        assert not begin(stack), "six are still under way"
        assert begin(stack, up=False), "what is cut on its way down goes on where it was"
    arrived = 6
    while (now := begun()) < 6:
        assert now in (3, 4, 5)
        arrived += now
    assert 20 < arrived < 200
    with ExitStack() as stack:
        assert begin(stack)
        limits.ease()
        limits.ease()
    assert begun() == 1


def test_all_threads_share_one_limit() -> None:
    clock = Clock()
    limits = throttle(clock, "1M")
    lock = threading.Lock()
    turn = clock.sleep

    def sleep(seconds: float) -> None:
        with lock:
            turn(seconds)

    clock.sleep = sleep  # type: ignore[method-assign]
    start = clock.seconds
    threads = [threading.Thread(target=lambda: [limits.up(64 * K) for _ in range(40)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.seconds - start >= 160 * 64 * K / MIB - 0.2


@given(
    st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, 10), st.floats(1, 1e9) | st.just(math.inf)), max_size=50)
)
def test_a_bucket_never_makes_anybody_wait_for_ever(steps: list[tuple[int, float, float]]) -> None:
    bucket, now = Bucket(), 0.0
    for count, later, rate in steps:
        now += later
        asked = 0
        while seconds := bucket.take(count, rate, now):
            assert math.isfinite(seconds)
            now += seconds * 1.000001 + 1e-9
            asked += 1
            assert asked < 20


@given(
    st.integers(0, 7 * 24 * 60 - 1),
    st.dictionaries(st.integers(0, 7 * 24 * 60 - 1), st.integers(1, 10**6), min_size=1),
)
def test_what_holds_is_the_last_that_began(minute: int, starts: dict[int, int]) -> None:
    table = Timetable(tuple((start, Rates(rate, rate)) for start, rate in sorted(starts.items())))
    before = [start for start in starts if start <= minute]
    assert table.at(MONDAY + timedelta(minutes=minute)).up == starts[max(before or starts)]
