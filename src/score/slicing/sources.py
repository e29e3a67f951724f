"""What is sliced: remote objects and local files alike, and what their first bytes say."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from score.errors import Integrity, Invalid
from score.genomics.damage import Damaged
from score.genomics.formats import ENOUGH, Format, Kind, Packing, recognise
from score.genomics.headers import Header, read_header
from score.protocol.parts import MIB, Span
from score.reading import ranges
from score.transfer.files import translated

LARGEST_HEADER = 64 * MIB
PIECE = MIB


class Bytes(Protocol):
    """Bytes to be read at any place; :class:`score.reading.remote.RemoteObject` is one."""

    name: str

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, fewer only at the end."""
        ...

    def stream(self, spans: Iterable[Span]) -> Iterator[tuple[int, bytes]]:
        """The bytes of ``spans`` in ascending order, each byte once, as pieces: offset and bytes."""
        ...


class LocalBytes:
    """A file on the disk. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises NotFound, Forbidden and the like where it cannot be opened."""
        self.name = str(path)
        self.path = path
        with translated(path):
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed with the object
            self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> LocalBytes:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read_at(self, offset: int, length: int) -> bytes:
        """See :class:`Bytes`."""
        found = bytearray()
        with translated(self.path):
            while len(found) < length and (
                data := os.pread(self._file.fileno(), length - len(found), offset + len(found))
            ):
                found += data
        return bytes(found)

    def stream(self, spans: Iterable[Span]) -> Iterator[tuple[int, bytes]]:
        """See :class:`Bytes`."""
        whole = Span(0, self.size)
        for span in ranges.coalesce(ranges.overlap(span, whole) for span in spans):
            for at in range(span.offset, span.end, PIECE):
                yield at, self.read_at(at, min(PIECE, span.end - at))


@dataclass(frozen=True)
class Input:
    """A file of reads or variants. ``prefix`` are its first bytes, all of the header at least where that is known.

    ``kind`` and ``header`` are None for SAM, which only htslib takes apart.
    """

    data: Bytes
    prefix: bytes
    kind: Kind | None
    header: Header | None

    @property
    def name(self) -> str:
        """For messages."""
        return self.data.name

    @property
    def variants(self) -> bool:
        """Whether it holds variants, not reads."""
        return self.kind is not None and self.kind.format in (Format.VCF, Format.BCF)

    @property
    def sliceable(self) -> bool:
        """Whether an index can lead into it."""
        return self.kind is not None and (self.kind.format is Format.CRAM or self.kind.packing is Packing.BLOCKS)


def look(data: Bytes) -> Input:
    """What a file is. Raises Invalid where it is none of reads or variants, Integrity where its header is broken."""
    length = ENOUGH
    prefix = data.read_at(0, length)
    if not prefix:
        raise Invalid(f"{data.name} is empty.", hint="Tell whoever submitted it.")
    kind = recognise(prefix)
    if kind is None:
        if not _is_sam(prefix):
            raise Invalid(f"{data.name} is no BAM, CRAM, SAM, VCF or BCF.", hint="Download it whole.")
        return Input(data, prefix, None, None)
    try:
        while True:
            header = read_header(prefix, kind, whole=len(prefix) == data.size, largest=LARGEST_HEADER)
            if header is not None:
                return Input(data, prefix, kind, header)
            length = min(2 * len(prefix), data.size)
            more = data.read_at(len(prefix), length - len(prefix))
            if not more:
                raise Damaged("it ends within its header, and was longer when it was opened.")
            prefix += more
    except Damaged as error:
        raise Integrity(f"{data.name}: {error.message}", hint="The file is damaged, or was cut short.") from None


def _is_sam(prefix: bytes) -> bool:
    """Whether a text, perhaps packed, may be SAM: header lines, or lines of eleven columns."""
    if prefix.startswith(b"\x1f\x8b"):
        with contextlib.suppress(zlib.error):
            prefix = zlib.decompressobj(31).decompress(prefix, ENOUGH)
    line = prefix.partition(b"\n")[0]
    if line[:1] == b"@":
        return len(line) > 3 and line[1:3].isalpha() and line[3:4] == b"\t"
    cells = line.split(b"\t")
    return len(cells) >= 11 and all(cells[at].isdigit() for at in (1, 3, 4))
