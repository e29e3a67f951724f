"""Splitting a run over the tasks of a job array. Pure: every task computes the same split from the same list."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

CALLS = 1024 * 1024
"""Bytes that count for each object on top of its own: what the calls for it cost."""


def share(items: Iterable[tuple[T, str, int | None]], number: int, of: int) -> list[T]:
    """The ``number``-th (from 1) of ``of`` shares of items, each given with its object id and its size in bytes.

    The shares are about equal in bytes: the largest items are dealt out first, each to the share that has least.
    Sizes that are not known count as the mean of those that are. The order of the items does not matter to the
    split; within a share it is kept.
    """
    known = list(items)
    told = [size for _, _, size in known if size is not None]
    mean = sum(told) // len(told) if told else 0
    order = sorted(range(len(known)), key=lambda at: (-_weight(known[at][2], mean), known[at][1]))
    loads = [(0, share) for share in range(1, of + 1)]
    mine = []
    for at in order:
        load, taker = loads[0]
        if taker == number:
            mine.append(at)
        heapq.heapreplace(loads, (load + _weight(known[at][2], mean), taker))
    return [known[at][0] for at in sorted(mine)]


def _weight(size: int | None, mean: int) -> int:
    return (mean if size is None else size) + CALLS
