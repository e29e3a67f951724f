"""Ranges put together: what is near is fetched at once, and there are never more than so many."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

Range = tuple[int, int]


def coalesce(ranges: Iterable[Range], *, gap: int, most: int, shift: int = 0) -> list[Range]:
    """The ranges in order and without overlap, those joined that are at most ``gap`` bytes apart.

    Where more than ``most`` are left, the nearest are joined as well. ``shift``: bits of the numbers below those of
    bytes, 16 for pointers.
    """
    joined: list[Range] = []
    for begin, end in sorted(ranges):
        if joined and (begin >> shift) - (joined[-1][1] >> shift) <= gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    if len(joined) <= most:
        return joined
    apart = [following[0] - before[1] for before, following in itertools.pairwise(joined)]
    kept = set(sorted(range(len(apart)), key=apart.__getitem__, reverse=True)[: most - 1])
    fewer = [joined[0]]
    for number, one in enumerate(joined[1:]):
        if number in kept:
            fewer.append(one)
        else:
            fewer[-1] = (fewer[-1][0], one[1])
    return fewer
