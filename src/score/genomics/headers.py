"""Headers: where the records of a file begin, and the names of its references."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from score.genomics import cram
from score.genomics.bgzf import Chunk, Opening, cut_out, deflate, inflate, parts
from score.genomics.damage import Damaged
from score.genomics.formats import Format, Kind, Packing
from score.protocol.parts import Span

_CONTIG = re.compile(rb"^##contig=<(.*)>\s*$", re.MULTILINE)
_ID = re.compile(rb"(?:^|,)ID=([^,>]*)")
_NUMBER = re.compile(rb"(?:^|,)IDX=(\d{1,9})(?:,|$)")
_SEQUENCE = re.compile(r"^@SQ\t(?:.*\t)?SN:([^\t\n]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Header:
    """``end``: where the records begin, a pointer in files of blocks, else an offset, or -1 where only an unpacked
    file would tell. ``references``: number of each by its name. ``text`` of a VCF that is not in blocks."""

    kind: Kind
    end: int
    references: dict[str, int]
    version: cram.Version | None = None
    text: bytes = b""

    def pieces(self, prefix: bytes, inline: int) -> list[bytes | Span]:
        """The header as a file has it, cut out of the beginning of the file from which it was read: spans where they
        are longer than ``inline`` bytes, else the bytes. A text that was not in blocks is put into some."""
        pieces: list[bytes | Span]
        if self.kind.format is Format.CRAM:
            pieces = [Span(0, self.end)]
        elif self.kind.packing is Packing.BLOCKS:
            last, within = parts(self.end)
            block = inflate(prefix, last) if within else None
            pieces = cut_out(Chunk(0, self.end), {last: block} if block else {})
        else:
            pieces = [deflate(self.text)]
        return [
            prefix[one.offset : one.end] if isinstance(one, Span) and one.length <= inline else one for one in pieces
        ]


def read_header(prefix: bytes, kind: Kind, *, whole: bool, largest: int) -> Header | None:
    """The header of a file that begins with ``prefix``; None where more of it is needed.

    ``whole``: there is no more. Damaged where the header is broken, or has more than ``largest`` bytes unpacked.
    """
    try:
        found = _READERS[kind.format](prefix, kind, whole, largest)
    except (struct.error, IndexError):
        found = None
    if found is None and whole:
        raise Damaged("it ends within its header.")
    return found


def _too_large(largest: int) -> Damaged:
    return Damaged(f"its header has more than {largest} bytes.")


def _bam(prefix: bytes, kind: Kind, whole: bool, largest: int) -> Header | None:
    opening = Opening(prefix, largest)
    data = opening.data
    (length,) = struct.unpack_from("<i", data, 4)
    if length < 0 or length > largest:
        raise _too_large(largest)
    at = 8 + length
    try:
        (count,) = struct.unpack_from("<i", data, at)
        at += 4
        references: dict[str, int] = {}
        for number in range(count):
            (size,) = struct.unpack_from("<i", data, at)
            if size < 1 or at + 8 + size > len(data):
                raise IndexError
            references.setdefault(data[at + 4 : at + 3 + size].decode("utf-8", "replace"), number)
            at += 8 + size
    except (struct.error, IndexError):
        if len(data) > largest:
            raise _too_large(largest) from None
        return None
    return Header(kind, opening.pointer(at), references)


def _bcf(prefix: bytes, kind: Kind, whole: bool, largest: int) -> Header | None:
    opening = Opening(prefix, largest)
    data = opening.data
    (length,) = struct.unpack_from("<I", data, 5)
    if length > largest:
        raise _too_large(largest)
    end = 9 + length
    if len(data) < end:
        return None
    return Header(kind, opening.pointer(end), _contigs(bytes(data[9:end])))


def _vcf(prefix: bytes, kind: Kind, whole: bool, largest: int) -> Header | None:
    opening = Opening(prefix, largest) if kind.packing is Packing.BLOCKS else None
    if opening is not None:
        content = bytes(opening.data)
    elif kind.packing is Packing.GZIP:
        content = _gunzip(prefix, largest)
    else:
        content = prefix
    end = _end_of_lines(content, whole)
    if max(end or 0, len(content) if end is None else 0) > largest:
        raise _too_large(largest)
    if end is None:
        return None
    text = content[:end]
    where = opening.pointer(end) if opening else end if kind.packing is Packing.NONE else -1
    return Header(kind, where, _contigs(text), text=b"" if opening else text)


def _cram(prefix: bytes, kind: Kind, whole: bool, largest: int) -> Header | None:
    version = cram.read_version(prefix)
    found = cram.read_sam_header(prefix, version, largest)
    if found is None:
        return None
    text, end = found
    names: dict[str, int] = {}
    for number, name in enumerate(_SEQUENCE.findall(text)):
        names.setdefault(name, number)
    return Header(kind, end, names, version)


_READERS = {Format.BAM: _bam, Format.CRAM: _cram, Format.VCF: _vcf, Format.BCF: _bcf}


def _end_of_lines(text: bytes, whole: bool) -> int | None:
    """Where the first line begins that does not begin with ``#``; None while there is none yet."""
    at = 0
    while at < len(text):
        if text[at] != ord("#"):
            return at
        following = text.find(b"\n", at)
        if following < 0:
            break
        at = following + 1
    return len(text) if whole and at == len(text) else None


def _contigs(text: bytes) -> dict[str, int]:
    """The references of a VCF header; as BCF and its index number them."""
    names: dict[str, int] = {}
    for said in _CONTIG.findall(text):
        name, number = _ID.search(said), _NUMBER.search(said)
        if name is not None:
            names.setdefault(name[1].decode("utf-8", "replace"), int(number[1]) if number else len(names))
    return names


def _gunzip(prefix: bytes, largest: int) -> bytes:
    """What the beginning of a gzip file holds; of the first member alone."""
    try:
        return zlib.decompressobj(31).decompress(prefix, largest + 1)
    except zlib.error:
        raise Damaged("it cannot be unpacked.") from None
