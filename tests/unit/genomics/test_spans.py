"""Ranges put together."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.genomics.spans import coalesce

RANGES = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)).map(lambda one: (one[0], one[0] + one[1])))


@given(ranges=RANGES, gap=st.integers(0, 50), most=st.integers(1, 8))
def test_everything_is_covered_in_order_and_in_few(ranges: list[tuple[int, int]], gap: int, most: int) -> None:
    joined = coalesce(ranges, gap=gap, most=most)
    assert len(joined) <= most
    assert joined == sorted(joined)
    assert all(before[1] < after[0] for before, after in pairwise(joined))
    assert all(any(begin <= low and high <= end for begin, end in joined) for low, high in ranges)
    assert {begin for begin, _ in joined} <= {begin for begin, _ in ranges}
    assert {end for _, end in joined} <= {end for _, end in ranges}


@pytest.mark.parametrize(
    ("gap", "most", "expected"),
    [
        (0, 9, [(0, 10), (12, 20), (60, 70), (500, 510)]),
        (2, 9, [(0, 20), (60, 70), (500, 510)]),
        (0, 3, [(0, 20), (60, 70), (500, 510)]),
        (0, 2, [(0, 70), (500, 510)]),
        (0, 1, [(0, 510)]),
    ],
)
def test_the_nearest_are_joined_first(gap: int, most: int, expected: list[tuple[int, int]]) -> None:
    assert coalesce([(500, 510), (60, 70), (0, 10), (12, 20)], gap=gap, most=most) == expected


def test_pointers_are_as_near_as_their_blocks() -> None:
    apart = [(0, 5 << 16 | 9), (6 << 16, 7 << 16), (9 << 16, 9 << 16 | 1)]
    assert coalesce(apart, gap=1, most=9, shift=16) == [(0, 7 << 16), (9 << 16, 9 << 16 | 1)]
