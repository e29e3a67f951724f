"""Part arithmetic: how an object is cut into parts. Protocol, section 3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

MIB = 1024 * 1024
SMALLEST_PART = 5 * MIB
"""Bytes; the smallest part that S3 takes, but for the last one of an object."""
MOST_PARTS = 10_000
LARGEST_OBJECT = 5 * 1024**4
"""Bytes (5 TiB)."""


class Span(NamedTuple):
    """A byte range of an object: ``length`` bytes from ``offset``."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """First byte after the span."""
        return self.offset + self.length

    @property
    def http_range(self) -> str:
        """Value of a ``Range`` header, exactly as v1 clients send it. The span must not be empty."""
        return f"bytes={self.offset}-{self.end - 1}"


def part_size(total: int, wanted: int, floor: int = SMALLEST_PART) -> int:
    """Bytes of each part (but the last) of an upload of ``total`` bytes.

    At least ``floor``, and raised so that there are at most 10,000 parts.
    """
    return max(wanted, floor, total // MOST_PARTS + 1)


def cut(span: Span, size: int) -> list[Span]:
    """``span`` in consecutive pieces of ``size`` bytes, the last one shorter; no pieces for an empty span."""
    end = span.end
    return [Span(at, size if at + size <= end else end - at) for at in range(span.offset, end, size)]


def covers(parts: Iterable[Span], whole: Span) -> bool:
    """Whether ``parts``, in any order, are ``whole`` without gap, overlap or surplus."""
    at = whole.offset
    for part in sorted(parts):
        if part.offset != at or part.length < 0:
            return False
        at = part.end
    return at == whole.end


def plan_upload(total: int, wanted: int, floor: int = SMALLEST_PART) -> list[Span]:
    """The parts of a new upload. An empty object has one part of 0 bytes (the store needs one)."""
    return cut(Span(0, total), part_size(total, wanted, floor)) or [Span(0, 0)]
