"""From regions to the bytes of a small file that holds them: header, the records around the regions, and an end.

The result is a valid file of the same format. It may hold records beside the regions, which whoever reads it leaves
out; it holds every record of them.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator

from score.errors import Integrity
from score.genomics import bgzf, cram, records
from score.genomics.bgzf import EOF, LARGEST_BLOCK, Chunk, deflate, inflate, parts
from score.genomics.binned import BinnedIndex
from score.genomics.cram import ContainerIndex
from score.genomics.damage import Damaged
from score.genomics.fitting import agree, ending
from score.genomics.formats import Format
from score.genomics.indexes import Index
from score.genomics.records import UNPLACED
from score.genomics.spans import coalesce
from score.protocol.parts import Span
from score.slicing.regions import Wanted
from score.slicing.sources import Input

GAP = 64 * 1024
"""Bytes between two chunks that are read along; at least a block, so that two chunks share none."""
_MOST = 1 << 20


def header_only(file: Input) -> Iterator[bytes]:
    """The header, and an end. For files whose header is known."""
    assert file.header is not None
    assert file.kind is not None
    if file.kind.format is Format.CRAM:
        assert file.header.version is not None
        yield file.prefix[: file.header.end]
        yield file.header.version.end
    elif file.sliceable:
        yield from _trim(Chunk(0, file.header.end), iter([file.prefix]))
        yield EOF
    else:
        yield file.header.text


def header_text(file: Input) -> bytes:
    """The header of a VCF, word for word."""
    assert file.header is not None
    if not file.sliceable:
        return file.header.text
    return gzip.decompress(b"".join(header_only(file)))


def whole(file: Input) -> Iterator[bytes]:
    """All of it, as it is."""
    for _, data in file.data.stream([Span(0, file.data.size)]):
        yield data


def is_whole(file: Input) -> bool:
    """Whether a file in blocks, or in containers, ends as it has to; True for others, which say nothing about it."""
    if not file.sliceable or file.header is None:
        return True
    end = file.header.version.end if file.header.version is not None else EOF
    return file.data.read_at(max(0, file.data.size - len(end)), len(end)) == end


def contigs(file: Input, index: Index | None) -> dict[str, int]:
    """The numbers of the contigs by which the index knows them. ``file`` has a header."""
    assert file.header is not None
    names = index.names if isinstance(index, BinnedIndex) else None
    if names is not None:
        return {name: number for number, name in enumerate(names)}
    return file.header.references


def require_fit(file: Input, index: Index) -> None:
    """Raises Integrity where the index shows before any record is read that it is not one of this file."""
    assert file.header is not None
    try:
        agree(file.header, index)
    except Damaged as error:
        raise _foreign(file, error.message) from None


def sliced(file: Input, index: Index, wanted: Wanted) -> Iterator[bytes]:
    """The records around the wanted regions. Raises Integrity where the index, which has passed :func:`require_fit`,
    is not one of this file."""
    numbers = contigs(file, index)
    try:
        if isinstance(index, ContainerIndex):
            yield from _containers(file, index, wanted, numbers)
        else:
            yield from _blocks(file, index, wanted, numbers)
    except Damaged as error:
        raise _foreign(file, error.message) from None


def _foreign(file: Input, why: str) -> Integrity:
    return Integrity(
        f"{file.name} and its index do not fit: {why}",
        hint="The index is of another file or of an older version of this one, or the file was cut short. "
        "Make the index anew.",
    )


def _check_end(file: Input, index: Index) -> None:
    """See that the index knows of all of the file. To be called where nothing else would tell that it does not: no
    record is looked at, or there may be others after those that it knows."""
    assert file.header is not None
    end = ending(file.header, index)
    end.check(file.data.read_at(end.offset, end.length), file.data.size)


def _blocks(file: Input, index: BinnedIndex, wanted: Wanted, numbers: dict[str, int]) -> Iterator[bytes]:
    assert file.kind is not None
    assert file.header is not None
    chunks: list[tuple[int, int]] = []
    references = set()
    certain = True
    for contig, spans in wanted.ranges.items():
        number = numbers.get(contig)
        found = index.chunks(number, spans) if number is not None else []
        if number is not None:
            references.add(number)
        certain = certain and bool(found)
        chunks += found
    unseen = wanted.ranges and not (certain and index.knows_after(max(end for _, end in chunks)))
    if wanted.unplaced:
        references.add(UNPLACED)
        rest = file.data.size - (len(EOF) if is_whole(file) else 0)
        chunks.append((index.end_of_placed() or file.header.end, bgzf.pointer(rest, 0)))
        unseen = unseen or chunks[-1][0] >= chunks[-1][1]
    if unseen:
        _check_end(file, index)
    joined = [Chunk(*one) for one in coalesce((c for c in chunks if c[0] < c[1]), gap=2 * GAP, most=_MOST, shift=16)]
    names = sorted(numbers, key=numbers.__getitem__) if file.kind.format is Format.VCF else None
    yield from _trim(Chunk(0, file.header.end), iter([file.prefix]))
    pieces = _Pieces(file, [_span(chunk) for chunk in joined])
    for chunk in joined:
        yield from _trim(chunk, pieces.of(_span(chunk)), lambda data: _check(data, file, references, names))
    yield EOF


def _check(data: bytes, file: Input, references: set[int], names: list[str] | None) -> None:
    assert file.kind is not None
    if not records.begin(data, file.kind.format, references, names):
        raise Damaged("no record of the wanted contig begins where the index says so.")


def _span(chunk: Chunk) -> Span:
    """The bytes to be read to cut a chunk out."""
    (first, _), (last, kept) = map(parts, chunk)
    return Span(first, last - first + (LARGEST_BLOCK if kept else 0))


class _Pieces:
    """What comes for disjoint ascending spans, handed out span by span."""

    def __init__(self, file: Input, spans: list[Span]) -> None:
        self._coming = file.data.stream(spans)
        self._next: tuple[int, bytes] | None = next(self._coming, None)

    def of(self, span: Span) -> Iterator[bytes]:
        """The pieces of the next span; what of it is not asked for is passed over with the span after it."""
        while self._next is not None and self._next[0] < span.end:
            at, data = self._next
            if at + len(data) > span.end:
                raise AssertionError("pieces lie within spans")
            self._next = next(self._coming, None)
            if at >= span.offset:
                yield data


def _trim(
    chunk: Chunk, pieces: Iterator[bytes], check: Callable[[bytes], None] = lambda data: None
) -> Iterator[bytes]:
    """A chunk as BGZF of its own, out of the bytes that begin with its first block.

    The first and the last block are packed anew where only a part of them is in the chunk. ``check`` is given the
    first data.
    """
    (first, skipped), (last, kept) = map(parts, chunk)
    rest = bytearray()

    def block() -> bgzf.Block:
        while (found := inflate(bytes(rest[:LARGEST_BLOCK]))) is None:
            data = next(pieces, b"")
            if not data:
                raise Damaged("the file ends before the records that the index names.")
            rest.extend(data)
        return found

    at = first
    if first < last or kept:
        begin = block()
        if skipped > len(begin.data):
            raise Damaged(f"the block at byte {first} has {len(begin.data)} bytes of data, and not {skipped}.")
        check(begin.data[skipped:])
        if first == last:
            yield deflate(begin.data[skipped:kept])
            return
        if skipped:
            yield deflate(begin.data[skipped:])
            del rest[: begin.size]
            at += begin.size
    if at > last:
        raise Damaged(f"no block begins at byte {last}.")
    while at + len(rest) <= last:
        yield bytes(rest)
        at += len(rest)
        rest.clear()
        data = next(pieces, b"")
        if not data:
            break
        rest.extend(data)
    yield bytes(rest[: last - at])
    if at + len(rest) < last:
        raise Damaged("the file ends before the records that the index names.")
    if kept:
        del rest[: last - at]
        end = block()
        if kept > len(end.data):
            raise Damaged(f"the block at byte {last} has {len(end.data)} bytes of data, and not {kept}.")
        yield deflate(end.data[:kept])


def _containers(file: Input, index: ContainerIndex, wanted: Wanted, numbers: dict[str, int]) -> Iterator[bytes]:
    assert file.header is not None
    version = file.header.version
    assert version is not None
    found: set[int] = set()
    certain = True
    for contig, ranges in wanted.ranges.items():
        holding = index.containers(numbers[contig], ranges) if contig in numbers else []
        found.update(holding)
        certain = certain and bool(holding) and holding[-1] != index.last
    if wanted.unplaced:
        holding = index.containers(cram.UNPLACED, [])
        found.update(holding)
        certain = certain and index.last in holding  # after which all is read to the end of the file
    if not certain:
        _check_end(file, index)
    yield file.prefix[: file.header.end]
    pieces: list[Span] = []
    for begin in sorted(found):
        end = index.after(begin) or file.data.size
        if not file.header.end <= begin < end <= file.data.size:
            raise Damaged("it leads beyond the end of the file.")
        pieces.append(Span(begin, end - begin))
    tail = b""
    for at, data in file.data.stream(pieces):
        if at in found:
            head = data if len(data) >= cram.HEAD else file.data.read_at(at, cram.HEAD)
            if cram.read_container(head, 0, version) is None:
                raise Damaged(f"no container begins at byte {at}.")
        yield data
        tail = (tail + data)[-len(version.end) :] if version.end else b""
    if tail != version.end:
        yield version.end
