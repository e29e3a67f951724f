"""Part arithmetic against the words of protocol.md, section 3."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from score.protocol.parts import (
    LARGEST_OBJECT,
    MIB,
    MOST_PARTS,
    SMALLEST_PART,
    Span,
    covers,
    cut,
    part_size,
    plan_upload,
)

SIZES = st.one_of(
    st.integers(0, LARGEST_OBJECT),
    st.integers(0, 100 * MIB),
    st.integers(1, 5_000).map(lambda parts: parts * SMALLEST_PART),
    st.integers(1, 5_000).map(lambda parts: parts * SMALLEST_PART + 1),
)
WANTED = st.one_of(st.integers(1, 1024 * MIB), st.sampled_from([1, 20_000_000, 20 * MIB, SMALLEST_PART]))
FLOORS = st.sampled_from([SMALLEST_PART, 20 * MIB])


@given(SIZES, WANTED, FLOORS)
@example(LARGEST_OBJECT, 20_000_000, SMALLEST_PART)
@example(MOST_PARTS * SMALLEST_PART, 1, SMALLEST_PART)
@example(MOST_PARTS * SMALLEST_PART - 1, 1, SMALLEST_PART)
@example(MOST_PARTS * SMALLEST_PART + 1, 1, SMALLEST_PART)
def test_the_size_of_parts_is_the_formula_of_the_protocol(total: int, wanted: int, floor: int) -> None:
    assert part_size(total, wanted, floor) == max(max(wanted, floor), total // 10_000 + 1)


@given(SIZES, WANTED, FLOORS)
@example(0, 1, SMALLEST_PART)
@example(1, 1, SMALLEST_PART)
@example(SMALLEST_PART, 1, SMALLEST_PART)
@example(SMALLEST_PART + 1, 1, SMALLEST_PART)
@example(LARGEST_OBJECT, 1, SMALLEST_PART)
def test_an_upload_has_parts_of_one_size_from_end_to_end(total: int, wanted: int, floor: int) -> None:
    parts = plan_upload(total, wanted, floor)
    size = part_size(total, wanted, floor)
    assert 1 <= len(parts) <= 10_000
    assert parts[0].offset == 0
    assert parts[-1].end == total
    assert all(before.end == after.offset for before, after in itertools.pairwise(parts))
    assert {part.length for part in parts[:-1]} <= {size}
    assert total == 0 or 0 < parts[-1].length <= size
    assert all(part.length >= floor for part in parts[:-1])


@given(SIZES, SIZES, st.integers(1, 1024 * MIB))
def test_a_range_is_cut_from_its_offset(offset: int, length: int, least: int) -> None:
    span = Span(offset, length)
    size = max(least, length // 1_000 + 1)
    pieces = cut(span, size)
    assert len(pieces) == -(-length // size)
    assert covers(pieces, span)
    assert all(piece.length == size for piece in pieces[:-1])


def test_an_empty_object_has_one_part_and_an_empty_range_none() -> None:
    assert plan_upload(0, 20_000_000) == [Span(0, 0)]
    assert cut(Span(5, 0), SMALLEST_PART) == []


@pytest.mark.parametrize(
    ("total", "sizes"),
    [
        (45_000_000, [20_971_520, 20_971_520, 3_056_960]),
        (20_971_520, [20_971_520]),
        (10, [10]),
        (200_000_000, [20_971_520] * 9 + [11_256_320]),
    ],
)
def test_parts_are_those_of_the_recordings(total: int, sizes: list[int]) -> None:
    """The reference's settings: parts of 20,000,000 bytes, raised to its floor of 20 MiB."""
    assert [part.length for part in plan_upload(total, 20_000_000, floor=20 * MIB)] == sizes


@pytest.mark.parametrize(
    ("span", "header"),
    [
        (Span(0, 20_971_520), "bytes=0-20971519"),
        (Span(41_943_040, 3_056_960), "bytes=41943040-44999999"),
        (Span(100, 1000), "bytes=100-1099"),
        (Span(7, 1), "bytes=7-7"),
    ],
)
def test_ranges_are_written_as_recorded(span: Span, header: str) -> None:
    assert span.http_range == header


@given(st.integers(0, 1000), st.lists(st.integers(0, 50), max_size=12), st.randoms(use_true_random=False))
def test_parts_cover_a_span_in_any_order(offset: int, lengths: list[int], random: object) -> None:
    parts, at = [], offset
    for length in lengths:
        parts.append(Span(at, length))
        at += length
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert covers(parts, Span(offset, at - offset))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.data())
def test_gaps_overlaps_and_surplus_cover_nothing(lengths: list[int], data: st.DataObject) -> None:
    parts = [Span(sum(lengths[:i]), length) for i, length in enumerate(lengths)]
    whole = Span(0, sum(lengths))
    victim = data.draw(st.integers(0, len(parts) - 1))
    shift = data.draw(st.sampled_from([-1, 1]))
    part = parts[victim]
    assert not covers([*parts[:victim], *parts[victim + 1 :]], whole)
    assert not covers([*parts, Span(whole.end, 1)], whole)
    assert not covers([*parts[:victim], Span(part.offset + shift, part.length), *parts[victim + 1 :]], whole)
    assert not covers([*parts[:victim], Span(part.offset, part.length + shift), *parts[victim + 1 :]], whole)
    assert not covers([Span(0, -1)], Span(0, -1))
