"""Arithmetic of byte ranges: which blocks a read touches, and which requests fetch what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from score.protocol.parts import Span


def blocks(span: Span, size: int) -> range:
    """The numbers of the blocks of ``size`` bytes that ``span`` touches; none for an empty one."""
    return range(span.offset // size, -(-span.end // size)) if span.length > 0 else range(0)


def runs(numbers: Iterable[int], most: int) -> list[range]:
    """Ascending ``numbers`` as runs of consecutive ones, each at most ``most`` long."""
    found: list[range] = []
    for number in numbers:
        if found and found[-1].stop == number and len(found[-1]) < most:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return found


def coalesce(spans: Iterable[Span], gap: int = 0) -> list[Span]:
    """``spans``, in any order, as disjoint ascending ones that cover them.

    Those that overlap, touch, or lie at most ``gap`` bytes apart become one: a request costs more than a few bytes
    that nobody needs. Empty ones are left out.
    """
    found: list[Span] = []
    for span in sorted(spans):
        if span.length <= 0:
            continue
        if found and span.offset <= found[-1].end + gap:
            last = found[-1]
            found[-1] = Span(last.offset, max(last.end, span.end) - last.offset)
        else:
            found.append(span)
    return found


def overlap(one: Span, other: Span) -> Span:
    """The bytes that are in both; an empty span where there are none."""
    start = max(one.offset, other.offset)
    return Span(start, max(0, min(one.end, other.end) - start))
