"""Blocks of BGZF: unpacked, made, and cut out of a file at any byte."""

from __future__ import annotations

import gzip
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score.genomics import bgzf
from score.genomics.bgzf import Block, Chunk, Opening
from score.genomics.damage import Damaged
from score.protocol.parts import Span

DATA = random.Random(1).randbytes(40_000) + b"a" * 200_000 + b"".join(b"%d\n" % one for one in range(20_000))


def packed(sizes: list[int]) -> tuple[bytes, list[int]]:
    """:data:`DATA` in blocks of these sizes, over and over; and where each begins."""
    file, starts, at = bytearray(), [], 0
    for number in range(10**6):
        starts.append(len(file))
        file += bgzf.deflate(DATA[at : at + sizes[number % len(sizes)]])
        at += sizes[number % len(sizes)]
        if at >= len(DATA):
            return bytes(file) + bgzf.EOF, starts
    raise AssertionError


@given(data=st.binary(max_size=200_000))
def test_what_is_packed_is_gzip_in_small_blocks(data: bytes) -> None:
    file = bgzf.deflate(data)
    assert gzip.decompress(file + bgzf.EOF) == data
    at = 0
    while at < len(file):
        block = bgzf.inflate(file, at)
        assert block is not None
        assert block.size <= bgzf.LARGEST_BLOCK
        at += block.size


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1000, 60_000), min_size=1, max_size=4),
    where=st.tuples(st.integers(0, len(DATA)), st.integers(0, len(DATA))).map(sorted),
)
def test_any_chunk_can_be_cut_out(sizes: list[int], where: list[int]) -> None:
    file, _ = packed(sizes)
    opening = Opening(file, 10**7)
    assert bytes(opening.data) == DATA
    chunk = Chunk(*map(opening.pointer, where))
    blocks = {at: bgzf.inflate(file, at) for at in bgzf.edges(chunk)}
    pieces = bgzf.cut_out(chunk, {at: block for at, block in blocks.items() if block})
    joined = b"".join(piece if isinstance(piece, bytes) else file[piece.offset : piece.end] for piece in pieces)
    assert gzip.decompress(joined + bgzf.EOF) == DATA[slice(*where)]
    assert sum(isinstance(piece, Span) for piece in pieces) <= 1


def test_a_block_that_is_kept_whole_is_not_made_anew() -> None:
    file, starts = packed([10_000])
    second = bgzf.inflate(file, starts[1])
    assert second is not None
    chunk = Chunk(starts[0] << 16, starts[1] << 16 | 10_000)
    assert bgzf.cut_out(chunk, {starts[1]: second}) == [Span(0, starts[2])]


FILE = bgzf.deflate(DATA[:50_000])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"BAM\1" + bytes(60), "no block of BGZF begins there"),
        (b"x", "no block of BGZF begins there"),
        (gzip.compress(b"abc", mtime=0), "no block of BGZF begins there"),
        (FILE[:40] + bytes([FILE[40] ^ 1]) + FILE[41:], "checksum is wrong|cannot be unpacked"),
        (FILE[:-4] + bytes(4), "checksum is wrong"),
        (FILE[:16] + b"\x05\x00" + FILE[18:], "shorter than its own head"),
        (FILE[:12] + b"XX" + FILE[14:], "not in blocks"),
    ],
    ids=["BAM", "a letter", "gzip", "changed", "length", "short", "no size"],
)
def test_what_is_no_block_is_said(data: bytes, problem: str) -> None:
    with pytest.raises(Damaged, match=problem):
        bgzf.inflate(data)


@pytest.mark.parametrize("kept", [0, 3, 11, 17, 30, len(FILE) - 1])
def test_half_a_block_is_none_yet(kept: int) -> None:
    assert bgzf.inflate(FILE[:kept]) is None


@pytest.mark.parametrize(
    ("begin", "end"),
    [((0, 5), (0, 11)), ((0, 11), (100, 0)), ((0, 0), (100, 11)), ((100, 0), (0, 5)), ((0, 5), (2, 0))],
)
def test_pointers_that_lead_nowhere(begin: tuple[int, int], end: tuple[int, int]) -> None:
    blocks = {0: Block(100, b"0123456789"), 100: Block(100, b"0123456789")}
    with pytest.raises(Damaged):
        bgzf.cut_out(Chunk(bgzf.pointer(*begin), bgzf.pointer(*end)), blocks)
