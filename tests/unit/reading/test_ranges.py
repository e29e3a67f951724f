"""Arithmetic of byte ranges."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from score.protocol.parts import Span
from score.reading.ranges import blocks, coalesce, overlap, runs

spans = st.lists(st.builds(Span, st.integers(0, 60), st.integers(0, 12)), max_size=12)


def covered(them: list[Span]) -> set[int]:
    return {at for span in them for at in range(span.offset, span.end)}


@given(spans, st.integers(0, 8))
def test_coalesced_spans_cover_all_and_lie_apart(them: list[Span], gap: int) -> None:
    found = coalesce(them, gap)
    assert covered(them) <= covered(found)
    assert all(one.end + gap < other.offset for one, other in itertools.pairwise(found))
    assert all(not set(range(at, at + gap + 1)).isdisjoint(covered(them)) for at in covered(found))


@given(spans)
def test_without_a_gap_nothing_is_added(them: list[Span]) -> None:
    assert covered(coalesce(them)) == covered(them)


@given(st.integers(0, 99), st.integers(0, 50), st.integers(1, 9))
def test_blocks_are_those_that_are_touched(offset: int, length: int, size: int) -> None:
    touched = {at // size for at in range(offset, offset + length)}
    assert set(blocks(Span(offset, length), size)) == touched


@given(st.sets(st.integers(0, 40)), st.integers(1, 5))
def test_runs_hold_every_number_once(numbers: set[int], most: int) -> None:
    found = runs(sorted(numbers), most)
    assert [number for run in found for number in run] == sorted(numbers)
    assert all(1 <= len(run) <= most for run in found)
    assert all(one.stop < other.start or len(one) == most for one, other in itertools.pairwise(found))


def test_overlap() -> None:
    assert overlap(Span(0, 10), Span(5, 10)) == Span(5, 5)
    assert overlap(Span(0, 10), Span(20, 10)).length == 0
