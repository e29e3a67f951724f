"""Whether an index is of a file: what it knows has to end where the records of the file do. Pure: others read."""

from __future__ import annotations

from dataclasses import dataclass

from score.genomics import cram, records
from score.genomics.bgzf import LARGEST_BLOCK, Opening, parts
from score.genomics.binned import BinnedIndex
from score.genomics.cram import ContainerIndex
from score.genomics.damage import Damaged
from score.genomics.formats import Format
from score.genomics.headers import Header
from score.genomics.indexes import Index

_A_RECORD = 64


@dataclass(frozen=True, slots=True)
class Ending:
    """Where the records end that an index knows. ``offset`` and ``length``: the bytes of the file that tell whether
    others follow; the file may end before or within them.

    ``within``: bytes of the block at ``offset`` that are known; in CRAM a container that is known begins there.
    """

    header: Header
    offset: int
    length: int
    within: int = 0
    empty: bool = False

    def check(self, data: bytes, size: int) -> None:
        """Raises Damaged where the index cannot be of this file, which has ``size`` bytes, and ``data`` there."""
        if self.header.version is not None:
            self._check_containers(data, size, self.header.version)
        else:
            self._check_blocks(data, size)

    def _check_blocks(self, data: bytes, size: int) -> None:
        """After the last record with a place there are those without, and then nothing."""
        offset, within, format = self.offset, self.within, self.header.kind.format
        if offset > size or (within and offset == size):
            raise _beyond(offset, size)
        opening = Opening(data, LARGEST_BLOCK)
        rest = opening.data
        if within > len(rest) or (not opening.consumed and offset < size):
            raise Damaged(f"at byte {offset} no block begins that has {within} bytes.")
        following = bytes(rest[within : within + _A_RECORD])
        unplaced = format is Format.BAM and records.begin(following, format, [records.UNPLACED], None)
        if following and not unplaced:
            raise _unknown(offset)

    def _check_containers(self, data: bytes, size: int, version: cram.Version) -> None:
        """After the last container there is the one that ends the file, and then nothing."""
        end = self.offset
        if not self.empty:
            container = cram.read_container(data, 0, version)
            if container is None:
                raise Damaged(f"no container begins at byte {end}.")
            end += container.size
        if end > size:
            raise _beyond(end, size)
        if size - end not in (0, len(version.end)):
            raise _unknown(end)


def agree(header: Header, index: Index) -> None:
    """Raises Damaged where an index is of another format than its file, or of other contigs. Reads nothing."""
    if isinstance(index, ContainerIndex) != (header.kind.format is Format.CRAM):
        raise Damaged("it is one of another format.")
    if isinstance(index, BinnedIndex) and header.kind.format is Format.BAM and len(index) != len(header.references):
        raise Damaged(f"it has {len(index)} contigs, the file {len(header.references)}.")


def ending(header: Header, index: Index) -> Ending:
    """What an index knows of the end of its file, which begins with ``header``: takes long for a large index."""
    if isinstance(index, ContainerIndex):
        last = index.last
        return Ending(header, header.end if last is None else last, cram.HEAD, empty=last is None)
    offset, within = parts(index.end_of_placed() or header.end)
    return Ending(header, offset, 2 * LARGEST_BLOCK, within)


def _beyond(offset: int, size: int) -> Damaged:
    return Damaged(f"byte {offset} is beyond its end, which is at {size}.")


def _unknown(offset: int) -> Damaged:
    return Damaged(f"after byte {offset} there are records that it does not know.")
