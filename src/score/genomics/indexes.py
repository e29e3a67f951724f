"""Indexes of any kind, told apart by their content: names mislead, since ``.idx`` may hold a TBI."""

from __future__ import annotations

import gzip
import zlib
from io import BytesIO

from score.genomics.binned import BinnedIndex, read_bai, read_csi, read_tbi
from score.genomics.cram import ContainerIndex, read_crai
from score.genomics.damage import Damaged

Index = BinnedIndex | ContainerIndex


def read_index(data: bytes, largest: int) -> Index:
    """An index as it is stored. Damaged where it is none, not whole, or has more than ``largest`` bytes unpacked."""
    if data.startswith(b"\x1f\x8b"):
        data = _unpack(data, largest)
    match data[:4]:
        case b"BAI\1":
            return read_bai(data)
        case b"TBI\1":
            return read_tbi(data)
        case b"CSI\1":
            return read_csi(data)
        case b"TIDX":
            raise Damaged("it is a Tribble index, which does not lead to blocks; make a .tbi with tabix.")
    if not data or data[:1].isdigit() or data[:1] == b"-":
        return read_crai(data)
    raise Damaged("it is no BAI, CSI, TBI or CRAI.")


def _unpack(data: bytes, largest: int) -> bytes:
    try:
        content = gzip.GzipFile(fileobj=BytesIO(data)).read(largest + 1)
    except (EOFError, OSError, zlib.error):
        raise Damaged("it cannot be unpacked to its end.") from None
    if len(content) > largest:
        raise Damaged(f"it has more than {largest} bytes.")
    return content
