"""The files that tickets are about: their headers and indexes, read within limits and remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from score.broker.downloads import Downloads, Located
from score.broker.htsget.memory import Memory
from score.broker.htsget.refusals import BadIndex, InvalidRange, UnsupportedFormat
from score.errors import NotFound
from score.genomics import cram
from score.genomics.binned import BinnedIndex
from score.genomics.cram import ContainerIndex
from score.genomics.damage import Damaged
from score.genomics.fitting import agree, ending
from score.genomics.formats import ENOUGH, INDEX_SUFFIXES, Format, Kind, Packing, index_names, recognise
from score.genomics.headers import Header, read_header
from score.genomics.indexes import Index, read_index
from score.metadata.base import Registry
from score.protocol.parts import MIB, Span, cut
from score.protocol.wire import Entity

_PIECE = 8 * MIB
"""Bytes that are read of a store at once."""
_KINDS_AT_ONCE = 32
INLINE = 256 * 1024
"""Bytes of a header that are kept as they are, and put into tickets."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes: ``header`` and ``index`` as they are stored, ``unpacked`` either of them unpacked, ``memory`` of all
    that is remembered. At most ``at_once`` headers or indexes are read at once, or searched."""

    header: int = 16 * MIB
    index: int = 64 * MIB
    unpacked: int = 128 * MIB
    memory: int = 128 * MIB
    at_once: int = 2


@dataclass(frozen=True, slots=True)
class File:
    """A file of reads or variants, or an index of one."""

    entity: Entity
    found: Located

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.entity.file_name[:200] or self.entity.id

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.found.stat.size

    @property
    def version(self) -> tuple[str, str, int, float]:
        """Another one when the object was replaced."""
        stat = self.found.stat
        return self.entity.id, stat.etag, stat.size, stat.last_modified.timestamp()

    async def read(self, offset: int, length: int) -> bytes:
        """Bytes of it; fewer where it ends before, none beyond its end."""
        span = Span(offset, min(length, self.size - offset))
        if span.length <= 0:
            return b""
        return b"".join([await self.found.store.read(self.found.key, piece) for piece in cut(span, _PIECE)])


@dataclass(frozen=True, slots=True)
class Head:
    """The header of a file, and what of a ticket it is."""

    header: Header
    pieces: Sequence[bytes | Span]

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        kept = sum(len(one) for one in self.pieces if isinstance(one, bytes))
        return 1000 + kept + len(self.header.text) + sum(150 + len(name) for name in self.header.references)


class Files:
    """Opens files, and reads their headers and indexes. Its errors: those of the registry and the store, and the
    refusals that each method names."""

    def __init__(self, registry: Registry, downloads: Downloads, limits: Limits | None = None) -> None:
        self._registry = registry
        self._downloads = downloads
        self._limits = limits or Limits()
        self._memory = Memory(self._limits.memory, self._limits.at_once)
        self._kinds = Memory(MIB, _KINDS_AT_ONCE)
        self._turn = asyncio.Semaphore(self._limits.at_once)

    async def open(self, entity: Entity) -> File:
        """The stored object of a registered file. NotFound, Conflict."""
        return File(entity, await self._downloads.locate(entity.id))

    async def kind(self, file: File) -> Kind:
        """What the file is. UnsupportedFormat where it is nothing that is known here."""

        async def read() -> Kind:
            kind = recognise(await file.read(0, ENOUGH))
            if kind is None:
                raise UnsupportedFormat(f"{file.name} is no BAM, CRAM, VCF or BCF.", hint="Download it whole.")
            return kind

        return await self._kinds.get(file.version, Kind, read)

    async def head(self, file: File, kind: Kind) -> Head:
        """Its header. UnsupportedFormat where that is broken or larger than is read here."""
        return await self._memory.get(("head", *file.version), Head, lambda: self._read_head(file, kind))

    async def index(self, file: File, header: Header) -> tuple[File, Index]:
        """Its index, by the rules of the protocol, section 6. InvalidRange where there is none, BadIndex where it is
        none of this file."""
        kind = header.kind
        if kind.packing is not Packing.BLOCKS and kind.format is not Format.CRAM:
            raise InvalidRange(
                f"{file.name} is not packed in blocks (BGZF), so that no region of it can be given.",
                hint="Ask for all of it, or have it packed with bgzip and indexed.",
            )
        place = await self._find_index(file, kind)
        kept = await self._memory.get(("index", *place.version), _Kept, lambda: self._read_index(place))
        fitting = ContainerIndex if kind.format is Format.CRAM else BinnedIndex
        if not isinstance(kept.index, fitting):
            raise BadIndex(f"{place.name} is no index of a {kind.format} file.", hint=_ANEW)
        both = ("both", *file.version, *place.version)
        await self._memory.get(both, _Fits, lambda: self._compare(file, header, place, kept.index))
        return place, kept.index

    async def search(self, work: Callable[[], T]) -> T:
        """What a search in an index finds, in a thread; others wait for their turn, since it may take memory."""
        async with self._turn:
            return await asyncio.to_thread(work)

    async def _read_head(self, file: File, kind: Kind) -> Head:
        size, prefix = 2 * ENOUGH, b""
        try:
            while True:
                prefix += await file.read(len(prefix), size - len(prefix))
                whole = len(prefix) == file.size
                header = await asyncio.to_thread(
                    read_header, prefix, kind, whole=whole, largest=self._limits.unpacked
                )
                if header is not None:
                    return Head(header, await asyncio.to_thread(header.pieces, prefix, INLINE))
                if len(prefix) >= self._limits.header:
                    raise Damaged(f"its header does not end within {self._limits.header} bytes.")
                size = min(4 * size, self._limits.header)
        except Damaged as error:
            raise UnsupportedFormat(
                f"{file.name} cannot be cut: {error}", hint="Ask for all of it, or have it uploaded anew."
            ) from None

    async def _find_index(self, file: File, kind: Kind) -> File:
        """The first of the possible indexes that is registered and stored."""
        names = index_names(file.entity.file_name, kind.format)
        bundle = await self._registry.bundle(file.entity.gnos_id)
        registered = {one.file_name.lower(): one for one in bundle if one.file_name.lower() in names}
        for name in names:
            if name in registered:
                try:
                    return await self.open(registered[name])
                except NotFound:
                    continue
        wanted = " or ".join(file.entity.file_name + suffix for suffix in INDEX_SUFFIXES[kind.format])
        why = "and it is not in the store" if registered else "and there is none in its analysis"
        raise InvalidRange(
            f"A region of {file.name} needs its index, {wanted}, {why}.",
            hint="Ask for all of it, or have its index registered and uploaded.",
        )

    async def _read_index(self, place: File) -> _Kept:
        limits = self._limits
        if place.size > limits.index:
            raise BadIndex(f"{place.name} has {place.size} bytes; indexes up to {limits.index} are read here.")
        try:
            data = await place.read(0, place.size)
            return _Kept(await asyncio.to_thread(read_index, data, limits.unpacked))
        except Damaged as error:
            raise BadIndex(f"{place.name} cannot be read: {error}", hint=_ANEW) from None

    async def _compare(self, file: File, header: Header, place: File, index: Index) -> _Fits:
        """See that the index goes to the end of the file, as that of another or an older file does not. BadIndex."""
        try:
            agree(header, index)
            end = await self.search(lambda: ending(header, index))
            end.check(await file.read(end.offset, end.length), file.size)
        except Damaged as error:
            raise misled(place, file, error) from None
        return _Fits()


async def container_at(file: File, offset: int, version: cram.Version) -> cram.Container:
    """The head of the container at an offset. Damaged where none begins there."""
    container = cram.read_container(await file.read(offset, cram.HEAD), 0, version)
    if container is None:
        raise Damaged(f"no container begins at byte {offset}.")
    return container


def misled(place: File, file: File, error: Damaged) -> BadIndex:
    """The refusal of an index that does not fit its file."""
    return BadIndex(
        f"{place.name} does not lead to records of {file.name}: {error}",
        hint="It is of another or an older file: have the index made anew and uploaded.",
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """An index in memory."""

    index: Index

    @property
    def weight(self) -> int:
        return self.index.weight


@dataclass(frozen=True, slots=True)
class _Fits:
    """That an index is of its file."""

    weight: int = 1000


_ANEW = "Have the index made anew and uploaded."
