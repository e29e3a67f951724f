"""Splitting a run over the tasks of a job array."""

from __future__ import annotations

import random
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.client.shards import CALLS, share

Item = tuple[str, int | None]


def items(sizes: list[int | None]) -> list[Item]:
    return [(f"id-{number:06}", size) for number, size in enumerate(sizes)]


def shared(items: list[Item], number: int, of: int) -> list[str]:
    """The ids of a share."""
    mine = share(items, number, of)
    return [one for one, _ in items if one in mine]


SIZES = st.lists(st.none() | st.integers(0, 10**12), max_size=60)


@given(SIZES, st.integers(1, 20))
def test_every_item_is_in_exactly_one_share(sizes: list[int | None], of: int) -> None:
    made = [shared(items(sizes), number, of) for number in range(1, of + 1)]
    assert sorted(chain.from_iterable(made)) == sorted(name for name, _ in items(sizes))


@given(SIZES, st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(sizes: list[int | None], of: int, dice: random.Random) -> None:
    shuffled = items(sizes)
    dice.shuffle(shuffled)
    for number in range(1, of + 1):
        assert sorted(shared(items(sizes), number, of)) == sorted(shared(shuffled, number, of))


@given(st.lists(st.integers(0, 10**12), max_size=60), st.integers(1, 20))
def test_no_share_has_more_than_its_part_and_one_item(sizes: list[int], of: int) -> None:
    loads = [
        sum(sizes[int(name.removeprefix("id-"))] + CALLS for name in shared(items(list(sizes)), number, of))
        for number in range(1, of + 1)
    ]
    whole = sum(sizes) + CALLS * len(sizes)
    assert max(loads) <= whole / of + max(sizes, default=0) + CALLS


def test_one_large_object_is_a_share_of_its_own() -> None:
    sizes: list[int | None] = [10**9] * 8 + [8 * 10**9]
    assert shared(items(sizes), 1, 2) == ["id-000008"]
    assert shared(items(sizes), 2, 2) == [f"id-{number:06}" for number in range(8)]


def test_unknown_sizes_are_dealt_out_by_number() -> None:
    assert [len(share(items([None] * 10), number, 5)) for number in range(1, 6)] == [2] * 5


def test_more_tasks_than_items() -> None:
    assert sorted(len(share(items([5]), number, 3)) for number in (1, 2, 3)) == [0, 0, 1]


@pytest.mark.parametrize("number", [1, 500, 1000])
def test_a_million_items(number: int) -> None:
    made = share(((str(at), at) for at in range(100_000)), number, 1000)
    assert 90 <= len(made) <= 110
