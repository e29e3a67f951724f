"""A look at the first bytes of a record: whether an index that led there can be of this file."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence

from score.genomics.formats import Format

UNPLACED = -1
"""The number of no reference."""
_BAM = struct.Struct("<ii")
_BCF = struct.Struct("<IIi")


def begin(data: bytes, format: Format, references: Collection[int], names: Sequence[str] | None) -> bool:
    """Whether a record of one of the references may begin with ``data``: too few bytes to tell count as yes.

    ``names`` of the references, by their numbers, are needed for VCF.
    """
    if format is Format.BAM:
        if len(data) < _BAM.size:
            return True
        size, reference = _BAM.unpack_from(data)
        return size >= 32 and reference in references
    if format is Format.BCF:
        return len(data) < _BCF.size or _BCF.unpack_from(data)[2] in references
    if format is Format.VCF and names is not None:
        starts = [names[number].encode() + b"\t" for number in references]
        return any(data[: len(start)] == start[: len(data)] for start in starts)
    return True
