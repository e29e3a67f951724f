"""Tickets: who may have one, and what stands in it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from score.broker import audit
from score.broker.access import Access
from score.broker.downloads import Downloads
from score.broker.htsget.files import File, Files, Limits, container_at, misled
from score.broker.htsget.query import UNPLACED, Datatype, Query, Region
from score.broker.htsget.refusals import UnsupportedFormat
from score.errors import NotFound
from score.genomics import bgzf, cram, records
from score.genomics.bgzf import Block, Chunk
from score.genomics.binned import BinnedIndex
from score.genomics.cram import ContainerIndex
from score.genomics.damage import Damaged
from score.genomics.formats import Format
from score.genomics.headers import Header
from score.genomics.spans import coalesce
from score.metadata.base import Registry
from score.protocol.digests import to_hex
from score.protocol.ids import is_uuid
from score.protocol.parts import MIB, Span, cut

Piece = bytes | Span
HEADER, BODY = "header", "body"

_NEAR = bgzf.LARGEST_BLOCK
"""Bytes between two spans below which they are fetched as one: about what a piece of a block costs in the ticket."""
_MOST = 200
"""Spans of a ticket at most, before they are cut into blocks of data."""
_AT_ONCE = 8
"""Reads of the store at once for one ticket."""
_SMALLEST_BLOCK, _LARGEST_BLOCK, _BLOCKS = 128 * MIB, 1024 * MIB, 1000
"""Bytes of the blocks of data into which long spans are cut, and how many of them there should be."""


@dataclass(frozen=True, slots=True)
class Url:
    """A place of bytes: a URL with the ``Range`` to send, or a ``data:`` URI."""

    url: str = field(repr=False)
    range: str = ""
    of: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where the bytes of an answer are, in order. ``md5`` (hex) of all of them, empty where unknown."""

    format: Format
    urls: Sequence[Url]
    md5: str = ""


class Tickets:
    """Tickets for the objects of ``downloads``.

    ``bound``: URLs work with their own range only, where the store can do that.
    """

    def __init__(
        self,
        access: Access,
        registry: Registry,
        downloads: Downloads,
        *,
        bound: bool = True,
        limits: Limits | None = None,
    ) -> None:
        self._access = access
        self._downloads = downloads
        self._files = Files(registry, downloads, limits)
        self._bound = bound

    async def ticket(self, token: str | None, datatype: Datatype, object_id: str, query: Query) -> Ticket:
        """A ticket for the owner of the token. Raises what a download raises, and the refusals of htsget."""
        if not is_uuid(object_id):
            raise NotFound(f"{object_id[:60]!r} is no object id.", hint="Ids are the object ids of Score, UUIDs.")
        await self._access.download(token, object_id)
        file = await self._files.open(await self._access.entity(object_id))
        kind = await self._files.kind(file)
        if kind.format not in datatype.formats:
            other = Datatype.READS if datatype is Datatype.VARIANTS else Datatype.VARIANTS
            raise NotFound(f"{file.name} holds no {datatype}, but {other} ({kind.format}).", hint=f"Ask for {other}.")
        if query.format not in (None, kind.format):
            raise UnsupportedFormat(
                f"{file.name} is {kind.format}, and is not converted to {query.format}.",
                hint=f"Ask for format={kind.format}, or for none.",
            )
        if query.regions is None and not query.header_only:
            md5 = to_hex(file.found.md5) or ""
            return Ticket(kind.format, self._urls(file, [("", Span(0, file.size))]), md5)
        head = await self._files.head(file, kind)
        header = head.header
        pieces: list[tuple[str, Piece]] = [(HEADER, piece) for piece in head.pieces]
        open_end = False
        if query.regions is not None:
            regions = [
                region for region in query.regions if region.reference != UNPLACED or datatype is Datatype.VARIANTS
            ]
            unplaced = len(regions) < len(query.regions)
            if kind.format is Format.CRAM:
                body = await self._containers(file, header, regions, unplaced=unplaced)
            else:
                body, open_end = await self._chunks(file, header, regions, unplaced=unplaced)
            pieces += [(BODY, piece) for piece in body]
        if not open_end:
            pieces.append((BODY, header.version.end if header.version else bgzf.EOF))
        return Ticket(kind.format, self._urls(file, pieces))

    async def _chunks(
        self, file: File, header: Header, regions: Sequence[Region], *, unplaced: bool
    ) -> tuple[list[Piece], bool]:
        """The regions of a file in blocks, and whether they go to its end."""
        place, index = await self._files.index(file, header)
        assert isinstance(index, BinnedIndex)
        wanted = _by_reference(file, regions, _numbers(header, index), index.longest)
        found = await self._files.search(
            lambda: [(one, chunk) for one, ranges in wanted.items() for chunk in index.chunks(one, ranges)]
        )
        ranges = [(chunk.begin, chunk.end) for _, chunk in found]
        owners: dict[int, set[int]] = {}
        for reference, chunk in found:
            owners.setdefault(chunk.begin, set()).add(reference)
        if unplaced:
            last = await self._files.search(index.end_of_placed) or header.end
            ranges.append((last, bgzf.pointer(file.size, 0)))
            owners.setdefault(last, set()).add(records.UNPLACED)
        chunks = [Chunk(*one) for one in coalesce(ranges, gap=_NEAR, most=_MOST, shift=16)]
        names = index.names if header.kind.format is Format.VCF else None
        try:
            blocks = await _edges(file, chunks)
            for begin in {chunk.begin for chunk in chunks}:
                offset, within = bgzf.parts(begin)
                start = blocks[offset].data[within:] if offset in blocks else b""
                if not records.begin(start, header.kind.format, owners[begin], names):
                    raise Damaged(f"at byte {offset} there is no record of that reference.")
            cut = await asyncio.to_thread(lambda: [piece for one in chunks for piece in bgzf.cut_out(one, blocks)])
        except Damaged as error:
            raise misled(place, file, error) from None
        return cut, unplaced

    async def _containers(
        self, file: File, header: Header, regions: Sequence[Region], *, unplaced: bool
    ) -> list[Piece]:
        """The regions of a CRAM."""
        place, index = await self._files.index(file, header)
        assert isinstance(index, ContainerIndex)
        assert header.version is not None
        wanted = _by_reference(file, regions, header.references, 1 << 62)
        if unplaced:
            wanted[cram.UNPLACED] = []
        found = await self._files.search(
            lambda: [(one, at) for one, ranges in wanted.items() for at in index.containers(one, ranges)]
        )
        owners: dict[int, set[int]] = {}
        for reference, container in found:
            owners.setdefault(container, set()).add(reference)
        try:
            ends = {one: await self._end(file, index, one, header.version) for one in owners}
            spans = coalesce(ends.items(), gap=_NEAR, most=_MOST)
            for begin, end in spans:
                if end > file.size or end <= begin:
                    raise Damaged(f"byte {end} is beyond its end, which is at {file.size}.")
            for at in range(0, len(spans), _AT_ONCE):
                await asyncio.gather(
                    *[
                        self._check(file, begin, owners[begin], header.version)
                        for begin, _ in spans[at : at + _AT_ONCE]
                    ]
                )
        except Damaged as error:
            raise misled(place, file, error) from None
        return [Span(begin, end - begin) for begin, end in spans]

    async def _end(self, file: File, index: ContainerIndex, container: int, version: cram.Version) -> int:
        """Where a container ends: where the next one begins, or by its own word."""
        following = index.after(container)
        if following is not None:
            return following
        return container + (await container_at(file, container, version)).size

    async def _check(self, file: File, offset: int, references: set[int], version: cram.Version) -> None:
        """See that a container begins there which may hold records of one of these references."""
        container = await container_at(file, offset, version)
        if not any(container.may_hold(reference) for reference in references):
            raise Damaged(f"the container at byte {offset} holds records of another reference.")

    def _urls(self, file: File, pieces: Sequence[tuple[str, Piece]]) -> list[Url]:
        """The pieces as URLs: inline ones of a class that follow one another as one, long spans in blocks of data."""
        urls: list[Url] = []
        spans: list[tuple[int, Span]] = []
        total = 0
        for (of, inline), group in groupby(pieces, lambda one: (one[0], isinstance(one[1], bytes))):
            if inline:
                data = b"".join(piece for _, piece in group if isinstance(piece, bytes))
                if data:
                    urls.append(Url(f"data:;base64,{base64.b64encode(data).decode()}", of=of))
                continue
            for _, span in group:
                assert isinstance(span, Span)
                total += span.length
                for one in cut(span, max(_SMALLEST_BLOCK, min(_LARGEST_BLOCK, span.length // _BLOCKS + 1))):
                    spans.append((len(urls), one))
                    urls.append(Url("", one.http_range, of))
        signed = self._downloads.sign(file.found, [span if self._bound else None for _, span in spans])
        for (number, span), url in zip(spans, signed, strict=True):
            urls[number] = Url(url, span.http_range, urls[number].of)
        audit.note("download", file.entity.id, parts=len(spans), bytes=total, by="htsget")
        return urls or [Url("data:;base64,")]


def _numbers(header: Header, index: BinnedIndex) -> dict[str, int | None]:
    """The number of each reference in the index; None for one that is only in the header, and has no records."""
    if header.kind.format is not Format.VCF or index.names is None:
        return dict(header.references)
    return dict.fromkeys(header.references) | {name: number for number, name in enumerate(index.names)}


def _by_reference(
    file: File, regions: Sequence[Region], numbers: Mapping[str, int | None], longest: int
) -> dict[int, list[tuple[int, int]]]:
    """The ranges of each reference, by its number. NotFound where the file has no reference of that name."""
    wanted: dict[int, list[tuple[int, int]]] = {}
    for region in regions:
        if region.reference not in numbers:
            raise NotFound(
                f"{file.name} has no reference {region.reference[:100]!r}.{_near(region.reference, numbers)}"
            )
        number = numbers[region.reference]
        end = longest if region.end is None else min(region.end, longest)
        if number is not None and region.start < end:
            wanted.setdefault(number, []).append((region.start, end))
    return wanted


def _near(name: str, known: Collection[str]) -> str:
    """A hint at a name that may be meant: ``chr6`` for ``6``."""
    other = name.removeprefix("chr") if name.startswith("chr") else f"chr{name}"
    return f" Is {other!r} meant?" if other in known else ""


async def _edges(file: File, chunks: Sequence[Chunk]) -> dict[int, Block]:
    """The blocks in which chunks begin, and those in the middle of which they end."""
    for chunk in chunks:
        last, within = bgzf.parts(chunk.end)
        if last > file.size or (within and last == file.size):
            raise Damaged(f"byte {last} is beyond its end, which is at {file.size}.")
    wanted = {offset for one in chunks for offset in (bgzf.parts(one.begin)[0], *bgzf.edges(one))}
    offsets = sorted(wanted - {file.size})
    blocks: dict[int, Block] = {}
    for at in range(0, len(offsets), _AT_ONCE):
        some = offsets[at : at + _AT_ONCE]
        read = await asyncio.gather(*[file.read(offset, bgzf.LARGEST_BLOCK) for offset in some])
        blocks |= await asyncio.to_thread(_blocks, some, read)
    return blocks


def _blocks(offsets: Sequence[int], read: Sequence[bytes]) -> dict[int, Block]:
    return {offset: _block(data, offset) for offset, data in zip(offsets, read, strict=True)}


def _block(data: bytes, offset: int) -> Block:
    try:
        block = bgzf.inflate(data)
    except Damaged as error:
        raise Damaged(f"at byte {offset}, {error}") from None
    if block is None:
        raise Damaged(f"at byte {offset}, it ends within a block.")
    return block
