"""What a file is by its first bytes, and which names its index may have. Protocol, section 6."""

from __future__ import annotations

import zlib
from enum import StrEnum
from typing import NamedTuple

from score.genomics import cram
from score.genomics.bgzf import inflate, is_bgzf
from score.genomics.damage import Damaged


class Format(StrEnum):
    """The formats of reads and of variants."""

    BAM = "BAM"
    CRAM = "CRAM"
    VCF = "VCF"
    BCF = "BCF"


class Packing(StrEnum):
    """How the bytes of a file are packed; only what is in blocks can be cut."""

    BLOCKS = "BGZF"
    GZIP = "gzip"
    NONE = "none"


class Kind(NamedTuple):
    """What a file is."""

    format: Format
    packing: Packing

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes, with its place there."""
        return 500


INDEX_SUFFIXES = {
    Format.BAM: (".bai", ".csi"),
    Format.CRAM: (".crai",),
    Format.VCF: (".tbi", ".csi", ".idx"),
    Format.BCF: (".csi",),
}
"""What follows the name of a file in that of its index, the likeliest first."""
ENOUGH = 65536
"""Bytes from the beginning of a file that tell what it is."""
_BAM, _BCF = b"BAM\1", b"BCF\2"


def index_names(name: str, format: Format) -> list[str]:
    """The names, in lower case, that the index of a file may have in its analysis."""
    return [name.lower() + suffix for suffix in INDEX_SUFFIXES[format]]


def recognise(prefix: bytes) -> Kind | None:
    """What a file is that begins with ``prefix`` (:data:`ENOUGH` bytes, or all of it); None for other formats."""
    if prefix.startswith(cram.MAGIC):
        return Kind(Format.CRAM, Packing.NONE)
    packing, content = _unpacked(prefix)
    if content.startswith(_BAM):
        return Kind(Format.BAM, packing) if packing is Packing.BLOCKS else None
    if content.startswith(_BCF):
        return Kind(Format.BCF, packing) if packing is Packing.BLOCKS else None
    return Kind(Format.VCF, packing) if content.startswith(b"##fileformat=VCF") else None


def _unpacked(prefix: bytes) -> tuple[Packing, bytes]:
    """The first bytes of the content."""
    try:
        if is_bgzf(prefix):
            block = inflate(prefix)
            return Packing.BLOCKS, block.data if block else b""
    except Damaged:
        pass
    if prefix.startswith(b"\x1f\x8b"):
        try:
            return Packing.GZIP, zlib.decompressobj(31).decompress(prefix, 256)
        except zlib.error:
            return Packing.GZIP, b""
    return Packing.NONE, prefix
