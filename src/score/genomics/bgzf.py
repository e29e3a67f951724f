"""BGZF: gzip in blocks, each of which can be read by itself. SAM specification, section 4.1."""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from score.genomics.damage import Damaged
from score.protocol.parts import Span

LARGEST_BLOCK = 65536
"""Bytes of a block in the file at most, and of its data."""
EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends a file."""

_DATA = 0xFF00
"""Bytes of data that fit into a block, however badly they compress."""
_HEAD = struct.Struct("<4sIBBH")
_TAIL = struct.Struct("<II")
_MAGIC = b"\x1f\x8b\x08\x04"


class Block(NamedTuple):
    """A block: its bytes in the file, and the data in it."""

    size: int
    data: bytes


class Chunk(NamedTuple):
    """Records from the pointer ``begin`` to before the pointer ``end``."""

    begin: int
    end: int


def pointer(block: int, within: int) -> int:
    """The pointer to a byte of the data of the block at the offset ``block``."""
    return block << 16 | within


def parts(at: int) -> tuple[int, int]:
    """The offset of the block that a pointer leads to, and that of the byte within the data."""
    return at >> 16, at & 0xFFFF


def is_bgzf(data: bytes) -> bool:
    """Whether a block may begin here."""
    return data[:4] == _MAGIC and _size(memoryview(data)) is not None


def inflate(data: bytes, at: int = 0) -> Block | None:
    """The block that begins at ``at``; None where it is not there to its end. Damaged where no block begins there."""
    view = memoryview(data)[at:]
    size = _size(view)
    if size is None or len(view) < size:
        return None
    (extra,) = struct.unpack_from("<H", view, 10)
    crc, length = _TAIL.unpack_from(view, size - _TAIL.size)
    try:
        content = zlib.decompressobj(-15).decompress(view[12 + extra : size - _TAIL.size], LARGEST_BLOCK + 1)
    except zlib.error:
        raise Damaged("it has a block that cannot be unpacked.") from None
    if len(content) != length or zlib.crc32(content) != crc:
        raise Damaged("it has a block whose checksum is wrong.")
    return Block(size, content)


def _size(view: memoryview) -> int | None:
    """Bytes of the block that begins here, None where its head is not there to its end."""
    if len(view) < _HEAD.size:
        if bytes(view[:4]) != _MAGIC[: len(view)]:
            raise Damaged("no block of BGZF begins there.")
        return None
    magic, _, _, _, extra = _HEAD.unpack_from(view)
    if magic != _MAGIC:
        raise Damaged("no block of BGZF begins there.")
    at, end = 12, 12 + extra
    if len(view) < end:
        return None
    while at + 4 <= end:
        name, length = struct.unpack_from("<2sH", view, at)
        if name == b"BC" and length == 2 and at + 6 <= end:
            size = int(struct.unpack_from("<H", view, at + 4)[0]) + 1
            if size < end + _TAIL.size:
                raise Damaged("it has a block that is shorter than its own head.")
            return size
        at += 4 + length
    raise Damaged("it is gzip, but not in blocks (BGZF).")


def deflate(data: bytes, level: int = 1) -> bytes:
    """``data`` in blocks, packed as hard as ``level`` of zlib says; no block for no data."""
    packed = bytearray()
    for at in range(0, len(data), _DATA):
        piece = data[at : at + _DATA]
        squeeze = zlib.compressobj(level, zlib.DEFLATED, -15)
        body = squeeze.compress(piece) + squeeze.flush()
        packed += _HEAD.pack(_MAGIC, 0, 0, 0xFF, 6) + struct.pack("<2sHH", b"BC", 2, len(body) + 25)
        packed += body + _TAIL.pack(zlib.crc32(piece), len(piece))
    return bytes(packed)


class Opening:
    """The beginning of a file, unpacked as far as it goes: at most ``largest`` bytes of data, and a block.

    ``consumed``: bytes of the whole blocks among them.
    """

    def __init__(self, prefix: bytes, largest: int) -> None:
        self.data = bytearray()
        self._starts: list[int] = []
        self._offsets: list[int] = []
        at = 0
        while at < len(prefix) and len(self.data) <= largest:
            block = inflate(prefix, at)
            if block is None:
                break
            self._starts.append(len(self.data))
            self._offsets.append(at)
            self.data += block.data
            at += block.size
        self.consumed = at

    def pointer(self, position: int) -> int:
        """The pointer to the byte at ``position`` of the data, or to what follows the data."""
        if position >= len(self.data):
            # An empty block stays where it is: what follows it is the end of the file.
            last = len(self._starts) - 1
            while last >= 0 and self._starts[last] == position:
                last -= 1
            following = last + 1
            return pointer(self._offsets[following] if following < len(self._offsets) else self.consumed, 0)
        number = bisect_right(self._starts, position) - 1
        return pointer(self._offsets[number], position - self._starts[number])


def edges(chunk: Chunk) -> list[int]:
    """The offsets of the blocks that have to be read to cut a chunk out: those of which it holds a part."""
    return sorted({block for block, within in map(parts, chunk) if within})


def cut_out(chunk: Chunk, blocks: Mapping[int, Block]) -> list[bytes | Span]:
    """A chunk as pieces of BGZF: spans of the file, and between them new blocks out of parts of its own.

    ``blocks`` has those at the :func:`edges`. Damaged where a pointer leads beyond the data of its block.
    """
    (first, skipped), (last, kept) = map(parts, chunk)
    if chunk.end < chunk.begin:
        raise Damaged(f"records from byte {first} cannot end at byte {last}.")
    if first == last:
        data = _within(blocks, first, kept)[skipped:kept] if kept else b""
        return [deflate(data)] if data else []
    pieces: list[bytes | Span] = []
    begin, end, rest = first, last, b""
    if skipped:
        if tail := _within(blocks, first, skipped)[skipped:]:
            pieces.append(deflate(tail))
        begin += blocks[first].size
    if kept:
        data = _within(blocks, last, kept)
        if kept == len(data):
            end += blocks[last].size
        else:
            rest = data[:kept]
    if begin > end:
        raise Damaged(f"no block of BGZF begins at byte {end}.")
    if begin < end:
        pieces.append(Span(begin, end - begin))
    return [*pieces, deflate(rest)] if rest else pieces


def _within(blocks: Mapping[int, Block], offset: int, within: int) -> bytes:
    data = blocks[offset].data
    if within > len(data):
        raise Damaged(f"the block at byte {offset} has {len(data)} bytes of data, and not {within}.")
    return data
