"""Names of blocks, and what they say of an unfinished upload."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.protocol.blocks import (
    LARGEST_BLOCK,
    MOST_BLOCKS,
    FinishedBlock,
    block_id,
    block_size,
    lay,
    read_block,
)
from score.protocol.parts import LARGEST_OBJECT, Span, covers

MD5 = "d41d8cd98f00b204e9800998ecf8427e"


@given(st.integers(0, LARGEST_OBJECT), st.integers(1, LARGEST_BLOCK))
def test_a_name_says_what_the_block_is(offset: int, size: int) -> None:
    name = block_id(offset, MD5)
    assert read_block(name, size) == FinishedBlock(Span(offset, size), MD5)
    assert len(name) == len(block_id(0, MD5))
    assert len(base64.b64decode(name)) <= 64  # the most that Azure takes


@pytest.mark.parametrize("name", ["", "MDAx", "?", "é", block_id(5, MD5)[:-4], base64.b64encode(b"x" * 49).decode()])
def test_names_of_other_programs(name: str) -> None:
    assert read_block(name, 5) is None


@given(st.integers(0, LARGEST_OBJECT), st.integers(1, LARGEST_BLOCK))
def test_there_are_never_too_many_blocks(total: int, wanted: int) -> None:
    size = block_size(total, wanted)
    assert min(wanted, LARGEST_BLOCK) <= size <= LARGEST_BLOCK
    assert total / size <= MOST_BLOCKS / 2


BLOCKS = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 40)), max_size=8)


@given(BLOCKS, st.integers(0, 100))
def test_blocks_and_gaps_are_the_object(found: list[tuple[int, int]], total: int) -> None:
    blocks = [FinishedBlock(Span(*one), MD5) for one in found]
    spans = lay(blocks, total)
    assert covers((span for span, _ in spans), Span(0, total))
    assert [span.offset for span, _ in spans] == sorted(span.offset for span, _ in spans)
    assert {FinishedBlock(span, MD5) for span, md5 in spans if md5} <= set(blocks)


def test_gaps_are_named() -> None:
    blocks = [FinishedBlock(Span(20, 10), "b" * 32), FinishedBlock(Span(5, 5), "a" * 32)]
    assert lay(blocks, 40) == [
        (Span(0, 5), None),
        (Span(5, 5), "a" * 32),
        (Span(10, 10), None),
        (Span(20, 10), "b" * 32),
        (Span(30, 10), None),
    ]
    assert lay(blocks, 30)[-1] == (Span(20, 10), "b" * 32)
    assert lay([], 0) == [(Span(0, 0), None)]
