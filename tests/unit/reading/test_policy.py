"""How far to read ahead."""

from __future__ import annotations

import random

from score.protocol.parts import MIB, Span
from score.reading.policy import FIRST, MOST, READERS, SLACK, ReadAhead

STEP = 64 * 1024


def test_a_reader_that_goes_on_gets_more_and_more_without_gap() -> None:
    policy = ReadAhead()
    asked = end = 0
    windows = []
    for at in range(0, 256 * MIB, STEP):
        ahead = policy.note(Span(at, STEP))
        if ahead.length:
            assert ahead.offset == max(end, at + STEP), "what is asked for follows what was"
            end = ahead.end
            asked += ahead.length
            windows.append(end - at - STEP)
    assert windows[0] == FIRST
    assert windows == sorted(windows)
    assert windows[-1] == MOST
    assert end - 256 * MIB <= MOST
    assert len(windows) < 30, "windows are asked for in large pieces"


def test_random_reads_get_nothing() -> None:
    policy = ReadAhead()
    places = random.Random(7).sample(range(10_000), 500)
    assert not any(policy.note(Span(place * 4 * SLACK, STEP)).length for place in places)
    assert policy.sequential == 0


def test_several_readers_are_told_apart() -> None:
    policy = ReadAhead()
    got = [0] * READERS
    for round_ in range(20):
        for reader in range(READERS):
            got[reader] += policy.note(Span(reader * 1000 * MIB + round_ * STEP, STEP)).length
    assert all(count >= FIRST for count in got)
    assert policy.sequential == READERS


def test_the_same_bytes_again_are_no_progress() -> None:
    policy = ReadAhead()
    assert not any(policy.note(Span(0, STEP)).length for _ in range(10))


def test_a_small_leap_is_going_on() -> None:
    policy = ReadAhead()
    policy.note(Span(0, STEP))
    assert policy.note(Span(STEP + SLACK, STEP)).length == FIRST


def test_the_limit_bounds_the_window() -> None:
    policy = ReadAhead()
    for at in range(0, 16 * MIB, STEP):
        ahead = policy.note(Span(at, STEP), limit=STEP)
        assert ahead.length == 0 or ahead.end <= at + 2 * STEP


def test_reads_that_overtake_one_another_are_one_reader() -> None:
    policy = ReadAhead()
    size = 256 * 1024
    for number in (0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 11, 10):
        policy.note(Span(number * size, size))
    assert policy.sequential == 1
