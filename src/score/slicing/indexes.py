"""The index that belongs to a file: from the registry, from beside a local file, or built for one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from score.errors import Integrity, Invalid, NotFound
from score.genomics.damage import Damaged
from score.genomics.formats import INDEX_SUFFIXES, Format
from score.genomics.indexes import Index, read_index
from score.protocol.parts import MIB
from score.slicing.records import pysam, refusal
from score.slicing.sources import Bytes, Input, LocalBytes
from score.transfer.files import TEMPORARY, translate, translated

LARGEST = 512 * MIB
"""Bytes of an index, packed or not."""
Note = Callable[[str], None]


def load(data: Bytes) -> Index:
    """An index out of its file. Raises Integrity where it is none."""
    if data.size > LARGEST:
        raise Integrity(
            f"{data.name} has {data.size:,} bytes; no index is that large.", hint="Tell whoever submitted it."
        )
    try:
        return read_index(data.read_at(0, data.size), LARGEST)
    except Damaged as error:
        raise Integrity(f"{data.name} is no usable index: {error.message}", hint="Make the index anew.") from None


def local(file: Input, path: Path, given: Path | None, note: Note) -> Index:
    """The index of a local file: the ``given`` one, else the one beside it, else one that is built for this run.

    Raises NotFound, Integrity, and Invalid where the file is not sorted by coordinate.
    """
    assert file.kind is not None
    found = given or beside(path, file.kind.format)
    if found is None:
        note("no index beside it: one is built for this run")
        return _build(file, path)
    with LocalBytes(found) as data:
        if found.stat().st_mtime < path.stat().st_mtime:
            note(f"the index {found.name} is older than the file")
        return load(data)


def beside(path: Path, format: Format) -> Path | None:
    """The index beside a file: ``a.bam.bai``, or ``a.bai``."""
    names = [path.name + suffix for suffix in INDEX_SUFFIXES[format]]
    names += [path.stem + suffix for suffix in INDEX_SUFFIXES[format]]
    return next((there for name in names if os.path.isfile(there := path.with_name(name))), None)


def _build(file: Input, path: Path) -> Index:
    assert file.kind is not None
    with translated(TEMPORARY):
        scratch = tempfile.TemporaryDirectory(prefix="score-index-")
    with scratch as folder:
        made = Path(folder) / "index"
        build(path, made, file.kind.format)
        with LocalBytes(made) as data:
            return load(data)


def build(path: Path, target: Path, format: Format, *, long: bool = False) -> None:
    """Index a file; CSI where BAI and TBI cannot hold its contigs (``long``). Raises Invalid where it is unsorted,
    NoSpace or Refused where ``target`` cannot be written."""
    library = pysam()
    try:
        if format in (Format.VCF, Format.BCF):
            kind = "-t" if format is Format.VCF and not long else "-c"
            library.bcftools.index(kind, "-f", "-o", str(target), str(path))
        else:
            kind = "-c" if long and format is Format.BAM else "-b"
            library.samtools.index(*([kind] if format is Format.BAM else []), "-o", str(target), str(path))
    except library.utils.SamtoolsError:
        if (reason := refusal(target)) is not None:
            raise translate(reason, target) from None
        raise Invalid(
            f"{path} cannot be indexed.", hint="It is not sorted by coordinate, or it is damaged. Sort it first."
        ) from None
    if not target.is_file():
        raise NotFound(f"{path} got no index.", hint="Make one with samtools index or bcftools index.")
