"""CRAM: containers, of which only the heads are read here; and CRAI, their index. CRAM specification v2.1 and v3."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from score.genomics.damage import Damaged
from score.genomics.spans import coalesce

MAGIC = b"CRAM"
FILE_HEAD = 26
"""Bytes before the first container."""
HEAD = 4096
"""Bytes that hold the head of a container."""
_EOF_3 = bytes.fromhex("0f000000ffffffff0fe0454f4600000000010005bdd94f0001000606010001000100ee63014b")
_EOF_2 = bytes.fromhex("0b000000ffffffff0fe0454f460000000001000001000606010001000100")
UNPLACED = -1
_SEVERAL = -2
_RAW, _GZIP, _BZIP2, _LZMA = range(4)


class Container(NamedTuple):
    """A container: bytes of its head, bytes of all of it, and the number of its reference (-1: none, -2: several)."""

    head: int
    size: int
    reference: int

    def may_hold(self, reference: int) -> bool:
        """Whether records of this reference may be in it."""
        return self.reference in (reference, _SEVERAL)


class Version(NamedTuple):
    """The version of a file."""

    major: int
    minor: int

    @property
    def end(self) -> bytes:
        """The container that ends a file; none before version 2.1."""
        return _EOF_3 if self.major == 3 else _EOF_2 if self >= (2, 1) else b""


def read_version(prefix: bytes) -> Version:
    """The version that a file begins with. Damaged where it is none that is known."""
    if len(prefix) < 6 or not prefix.startswith(MAGIC):
        raise Damaged("it does not begin as CRAM.")
    version = Version(prefix[4], prefix[5])
    if version.major not in (2, 3):
        raise Damaged(f"it is CRAM {version.major}.{version.minor}; versions 2 and 3 are known.")
    return version


def read_container(data: bytes, at: int, version: Version) -> Container | None:
    """The head of the container at ``at``; None where it is not there to its end. Damaged where none begins there."""
    reader = _Reader(data, at)
    try:
        length = reader.int32()
        reference = reader.itf8()
        for _ in range(3):
            reader.itf8()
        reader.skip_ltf8() if version.major == 3 else reader.itf8()
        reader.skip_ltf8()
        reader.itf8()
        landmarks = reader.itf8()
        if length < 0 or not 0 <= landmarks <= 1_000_000:
            raise Damaged(f"no container begins at byte {at}.")
        for _ in range(landmarks):
            reader.itf8()
        if version.major == 3:
            covered = data[at : reader.at]
            if reader.int32() & 0xFFFFFFFF != zlib.crc32(covered):
                raise Damaged("the head of a container has a wrong checksum.")
    except IndexError:
        return None
    return Container(reader.at - at, reader.at - at + length, reference)


def read_sam_header(data: bytes, version: Version, largest: int) -> tuple[str, int] | None:
    """The SAM header of a file that begins with ``data``, and the offset of the first container of records.

    None where it is not there to its end. Damaged where it is none, or has more than ``largest`` bytes.
    """
    container = read_container(data, FILE_HEAD, version)
    if container is None or len(data) < FILE_HEAD + container.size:
        return None
    reader = _Reader(data, FILE_HEAD + container.head)
    try:
        method = reader.byte()
        reader.byte()
        reader.itf8()
        packed, size = reader.itf8(), reader.itf8()
        if not 4 <= size <= largest or packed < 0:
            raise Damaged(f"its header cannot have {size} bytes.")
        content = _unpack(method, data[reader.at : reader.at + packed], size)
        (length,) = struct.unpack_from("<i", content)
    except (IndexError, struct.error, zlib.error, OSError, ValueError, lzma.LZMAError):
        raise Damaged("its header cannot be unpacked.") from None
    if not 0 <= length <= len(content) - 4:
        raise Damaged("its header ends before its end.")
    return content[4 : 4 + length].rstrip(b"\0").decode("utf-8", "replace"), FILE_HEAD + container.size


def _unpack(method: int, data: bytes, size: int) -> bytes:
    """The content of a block; never more than ``size`` bytes."""
    if method == _RAW:
        return data
    if method == _GZIP:
        return zlib.decompressobj(31).decompress(data, size)
    if method == _BZIP2:
        return bz2.BZ2Decompressor().decompress(data, size)
    if method == _LZMA:
        return lzma.LZMADecompressor().decompress(data, size)
    raise Damaged(f"its header is packed in a way that headers are not: method {method}.")


class _Reader:
    """Numbers as CRAM writes them. IndexError where the data end."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def int32(self) -> int:
        if self.at + 4 > len(self._data):
            raise IndexError
        (value,) = struct.unpack_from("<i", self._data, self.at)
        self.at += 4
        return int(value)

    def itf8(self) -> int:
        first = self.byte()
        if first < 0x80:
            return first
        if first < 0xC0:
            return (first & 0x3F) << 8 | self.byte()
        if first < 0xE0:
            return (first & 0x1F) << 16 | self.byte() << 8 | self.byte()
        if first < 0xF0:
            return (first & 0x0F) << 24 | self.byte() << 16 | self.byte() << 8 | self.byte()
        value = (first & 0x0F) << 28 | self.byte() << 20 | self.byte() << 12 | self.byte() << 4 | self.byte() & 0x0F
        return value - (1 << 32) if value >> 31 else value

    def skip_ltf8(self) -> None:
        first = self.byte()
        while first & 0x80:
            self.byte()
            first <<= 1


@dataclass(frozen=True, slots=True)
class ContainerIndex:
    """A CRAI: which container holds records of which reference, and where these lie on it."""

    _slices: dict[int, tuple[array[int], array[int], array[int]]]
    """For each reference begins and ends of the slices, and the offsets of their containers."""
    _containers: array[int]

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        return 8 * len(self._containers) + sum(24 * len(one[0]) + 300 for one in self._slices.values())

    def containers(self, reference: int, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """The offsets of the containers with records of a reference that overlap any of the ranges, and perhaps
        others. Ranges do not count for the reference -1, of records without a place."""
        wanted = coalesce(ranges, gap=0, most=len(ranges) or 1)
        begins, ends = [one[0] for one in wanted], [one[1] for one in wanted]
        found = set()
        for number in {reference, _SEVERAL}:
            for begin, end, container in zip(*self._slices.get(number, ((), (), ())), strict=True):
                if number < 0 or bisect_right(ends, begin) < bisect_left(begins, end):
                    found.add(container)
        return sorted(found)

    @property
    def last(self) -> int | None:
        """The offset of the last container that the index knows."""
        return self._containers[-1] if self._containers else None

    def after(self, container: int) -> int | None:
        """The offset of the container after this one, None for the last that the index knows."""
        following = bisect_right(self._containers, container)
        return self._containers[following] if following < len(self._containers) else None


def read_crai(text: bytes) -> ContainerIndex:
    """A CRAI, unpacked. Damaged where it is none."""
    slices: dict[int, tuple[array[int], array[int], array[int]]] = {}
    containers = set()
    for number, line in enumerate(BytesIO(text), 1):
        try:
            reference, begin, span, container, _, _ = map(int, line.split(b"\t"))
            columns = slices.setdefault(reference, (array("q"), array("q"), array("q")))
            columns[0].append(begin - 1)
            columns[1].append(begin - 1 + max(span, 1))  # what covers no base lies somewhere all the same
            columns[2].append(container)
        except (ValueError, OverflowError):
            raise Damaged(f"its line {number} is not of a CRAI.") from None
        if container < FILE_HEAD or reference < _SEVERAL:
            raise Damaged(f"its line {number} is impossible.")
        containers.add(container)
    return ContainerIndex(slices, array("q", sorted(containers)))
