"""Splitting a run over the tasks of a job array. Pure: every task computes the same split from the same list."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import islice

from score.client.packed import Known, Packed

CALLS = 1024 * 1024
"""Bytes that count for each object on top of its own: what the calls for it cost."""
_RUN = 50_000
"""Objects that are sorted at once, before all of them are merged."""
_MOST = 10**20


def share(sizes: Iterable[tuple[str, int | None]], number: int, of: int) -> Known:
    """The ids of the ``number``-th (from 1) of ``of`` shares of objects, given by id and size in bytes.

    The shares are about equal in bytes: the largest objects are dealt out first, each to the share that has least.
    Sizes that are not known count as the mean of those that are. The order of the objects does not matter.
    """
    objects = packed_sizes(sizes)
    told = count = 0
    for _, size in objects:
        told, count = (told, count) if size is None else (told + size, count + 1)
    mean = told // count if count else 0
    loads = [(0, share) for share in range(1, of + 1)]
    mine = Known()
    for weight, object_id in _largest_first(objects, mean):
        load, taker = loads[0]
        if taker == number:
            mine.add(object_id)
        heapq.heapreplace(loads, (load + weight, taker))
    return mine


def packed_sizes(sizes: Iterable[tuple[str, int | None]]) -> Packed[tuple[str, int | None]]:
    """Ids with sizes in bytes, None where they are not known."""

    def read(line: str) -> tuple[str, int | None]:
        object_id, _, size = line.partition("\t")
        return object_id, int(size) if size else None

    return Packed(lambda one: f"{one[0]}\t{'' if one[1] is None else one[1]}", read, sizes)


def _largest_first(objects: Iterable[tuple[str, int | None]], mean: int) -> Iterable[tuple[int, str]]:
    """Weights and ids, sorted; of equal weights by id."""

    def read(line: str) -> tuple[int, str]:
        less, _, object_id = line.partition("\t")
        return _MOST - int(less), object_id

    lines = (f"{_MOST - CALLS - (mean if size is None else size):020}\t{one}" for one, size in objects)
    runs = []
    while run := sorted(islice(lines, _RUN)):
        runs.append(Packed(str, str, run))
    return map(read, heapq.merge(*runs))
