"""BAI, TBI and CSI: indexes by bins. SAM specification, section 5; tabix; CSI v1.

A bin stands for an interval of a reference. It lists the chunks of the file that hold the records which lie within
that interval and in none of the eight smaller ones below it.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from score.genomics.bgzf import Chunk
from score.genomics.damage import Damaged
from score.genomics.spans import coalesce

_EVERYTHING = (1 << 64) - 1


class Bin(NamedTuple):
    """A bin: the interval from ``begin`` to before ``end``, and ``chunks`` chunks, which lie ``at`` a place of the
    index, in the order of the file. ``first`` (CSI only) points to the first record that overlaps the interval."""

    number: int
    begin: int
    end: int
    first: int
    at: int
    chunks: int


@dataclass(frozen=True, slots=True)
class BinnedIndex:
    """An index by bins. ``names`` are those of the references, in their order, where the index has them (tabix)."""

    kind: str
    names: tuple[str, ...] | None
    _data: bytes
    _shift: int
    _depth: int
    _bins: Sequence[int]
    """Where the bins of each reference begin in the data."""
    _linear: Sequence[int]
    """Where the linear index of each begins; none for CSI."""

    def __len__(self) -> int:
        """The number of references."""
        return len(self._bins)

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self._data) + 16 * len(self._bins) + 100 * len(self.names or ())

    @property
    def longest(self) -> int:
        """Bases of the longest reference that such an index covers."""
        return 1 << (self._shift + 3 * self._depth)

    def chunks(self, reference: int, ranges: Sequence[tuple[int, int]]) -> list[Chunk]:
        """Where the records of a reference are that overlap any of the ranges, and others beside them.

        In no order; chunks may overlap.
        """
        if not 0 <= reference < len(self._bins):
            return []
        wanted = self._windows(ranges)
        bins = list(self._bins_of(reference))
        earliest = self._earliest(reference, bins, wanted)
        latest = self._latest(bins, wanted)
        begins, ends = [one[0] for one in wanted], [one[1] for one in wanted]
        found = []
        for one in bins:
            overlapping = range(bisect_right(ends, one.begin), bisect_left(begins, one.end))
            for begin, end in self._chunks_of(one) if overlapping else ():
                for number in overlapping:
                    low, high = max(begin, earliest[number]), min(end, latest[number])
                    if low < high:
                        found.append(Chunk(low, high))
        return found

    def end_of_placed(self) -> int:
        """The pointer to what follows the last record that has a place; 0 where none has one.

        Of all references: the last one in the header need not be the last one in the file.
        """
        return max((self._end_of(reference) for reference in range(len(self._bins))), default=0)

    def knows_after(self, at: int) -> bool:
        """Whether there are records with a place after the pointer ``at``."""
        return any(self._end_of(reference) > at for reference in reversed(range(len(self._bins))))

    def _end_of(self, reference: int) -> int:
        """The pointer to what follows the last record of a reference; 0 where it has none."""
        data = self._data
        return max(
            (_POINTER.unpack_from(data, one.at + 16 * one.chunks - 8)[0] for one in self._bins_of(reference)),
            default=0,
        )

    def _windows(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """The ranges as whole intervals of the smallest bins, in order and without overlap: it gets no finer."""
        size, longest = 1 << self._shift, self.longest
        whole = [
            (begin >> self._shift << self._shift, min(-(-end // size) * size, longest))
            for begin, end in ranges
            if begin < end and begin < longest
        ]
        return coalesce(whole, gap=0, most=len(whole) or 1)

    def _bins_of(self, reference: int) -> Iterator[Bin]:
        """The bins of a reference, but for the one that only counts."""
        data, at = self._data, self._bins[reference]
        csi = self.kind == "CSI"
        head = _CSI_BIN if csi else _BIN
        levels = [((1 << 3 * level) - 1) // 7 for level in range(self._depth + 2)]
        (count,) = _COUNT.unpack_from(data, at)
        at += 4
        for _ in range(count):
            if csi:
                number, first, chunks = head.unpack_from(data, at)
            else:
                number, chunks = head.unpack_from(data, at)
                first = 0
            at += head.size
            if number < levels[-1] and chunks:
                level = bisect_right(levels, number) - 1
                shift = self._shift + 3 * (self._depth - level)
                begin = number - levels[level] << shift
                yield Bin(number, begin, begin + (1 << shift), first, at, chunks)
            at += 16 * chunks

    def _chunks_of(self, one: Bin) -> Iterator[tuple[int, int]]:
        """The chunks of a bin: begin and end."""
        return _CHUNK.iter_unpack(memoryview(self._data)[one.at : one.at + 16 * one.chunks])

    def _earliest(self, reference: int, bins: Sequence[Bin], wanted: Sequence[tuple[int, int]]) -> list[int]:
        """For each range a pointer before which none of its records is."""
        if self.kind != "CSI":
            at = self._linear[reference]
            (count,) = _COUNT.unpack_from(self._data, at)
            offsets = struct.unpack_from(f"<{count}Q", self._data, at + 4)
            return [offsets[min(begin >> self._shift, count - 1)] if count else 0 for begin, _ in wanted]
        firsts = {one.number: one.first for one in bins}
        smallest = ((1 << 3 * self._depth) - 1) // 7
        return [_first_of(firsts, smallest + (begin >> self._shift)) for begin, _ in wanted]

    def _latest(self, bins: Sequence[Bin], wanted: Sequence[tuple[int, int]]) -> list[int]:
        """For each range a pointer after which none of its records is: there is one that begins beyond the range."""
        starts = sorted((one.begin, _POINTER.unpack_from(self._data, one.at)[0]) for one in bins)
        begins = [begin for begin, _ in starts]
        soonest = [_EVERYTHING] * (len(starts) + 1)
        for number in range(len(starts) - 1, -1, -1):
            soonest[number] = min(soonest[number + 1], starts[number][1])
        return [soonest[bisect_left(begins, end)] for _, end in wanted]


def _first_of(firsts: dict[int, int], number: int) -> int:
    """Where the records of a bin begin: the bin's own word, or that of the nearest one before or above it."""
    while number not in firsts and number:
        above = (number - 1) >> 3
        number = above if number == (above << 3) + 1 else number - 1
    return firsts.get(number, 0)


_COUNT = struct.Struct("<I")
_POINTER = struct.Struct("<Q")
_CHUNK = struct.Struct("<QQ")
_BIN = struct.Struct("<II")
_CSI_BIN = struct.Struct("<IQI")
_TABIX = struct.Struct("<8i")
_DEEPEST = 10
_WIDEST = 40


def read_bai(data: bytes) -> BinnedIndex:
    """A BAI. Damaged where it is none, or not whole."""
    return _read("BAI", data, 4, 14, 5, None)


def read_tbi(data: bytes) -> BinnedIndex:
    """A TBI, unpacked. Damaged where it is none, or not whole."""
    try:
        count, *_, length = _TABIX.unpack_from(data, 4)
    except struct.error:
        raise _short() from None
    names = _names(data[36 : 36 + max(length, 0)], length)
    if len(names) != count:
        raise Damaged(f"it names {len(names)} references and has {count}.")
    # What follows is a BAI: the number of references stands before the head of tabix.
    return _read("TBI", data, 36 + length, 14, 5, names, count)


def read_csi(data: bytes) -> BinnedIndex:
    """A CSI, unpacked. Damaged where it is none, or not whole."""
    try:
        shift, depth, length = struct.unpack_from("<iii", data, 4)
        if not (0 < shift <= _WIDEST and 0 <= depth <= _DEEPEST and 0 <= length <= len(data)):
            raise Damaged(f"its bins are impossible: {shift} bits, {depth} levels.")
        names = None
        if length >= 28:
            (size,) = struct.unpack_from("<i", data, 16 + 24)
            names = _names(data[16 + 28 : 16 + length], size)
    except struct.error:
        raise _short() from None
    return _read("CSI", data, 16 + length, shift, depth, names)


def _names(text: bytes, length: int) -> tuple[str, ...]:
    if length < 0 or length > len(text):
        raise _short()
    return tuple(name.decode("utf-8", "replace") for name in text[:length].split(b"\0")[:-1])


def _read(
    kind: str, data: bytes, at: int, shift: int, depth: int, names: tuple[str, ...] | None, count: int | None = None
) -> BinnedIndex:
    """Walk through the index once, to see that it is whole, and where each reference begins."""
    bins, linear = array("q"), array("q")
    csi = kind == "CSI"
    head = _CSI_BIN if csi else _BIN
    unpack, size = head.unpack_from, head.size
    try:
        if count is None:
            (count,) = _COUNT.unpack_from(data, at)
            at += 4
        for _ in range(count):
            bins.append(at)
            (number,) = _COUNT.unpack_from(data, at)
            at += 4
            for _ in range(number):
                at += size + 16 * unpack(data, at)[-1]
            if not csi:
                linear.append(at)
                at += 4 + 8 * _COUNT.unpack_from(data, at)[0]
    except struct.error:
        raise _short() from None
    if at > len(data):
        raise _short()
    return BinnedIndex(kind, names, data, shift, depth, bins, linear)


def _short() -> Damaged:
    return Damaged("it ends before its end.")
