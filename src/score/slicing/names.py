"""Names of the files that are written, as the reference's client makes them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from score.slicing.records import Format

LONGEST = 120
"""Characters of a name, about."""
_SUFFIXES = (".bam", ".cram", ".sam.gz", ".sam", ".vcf.gz", ".vcf.bgz", ".vcf", ".bcf")


def suffix(format: Format) -> str:
    """What a name ends with; VCF is packed, so that it can have an index."""
    return ".vcf.gz" if format is Format.VCF else f".{format}"


def sliceable(name: str) -> bool:
    """Whether a name is that of a file of reads or variants."""
    return name.lower().endswith(_SUFFIXES)


def output(name: str, what: Sequence[str], format: Format) -> str:
    """``sample.bam`` and the regions ``chr1:1-2`` and ``chr2`` give ``sample.chr1_1-2__chr2.bam``."""
    low = name.lower()
    ending = next((one for one in _SUFFIXES if low.endswith(one)), "")
    stem = name[: len(name) - len(ending)]
    middle = "__".join(encode(one) for one in what)
    full = f"{stem}.{middle}" if middle else stem
    if len(full) + len(suffix(format)) > LONGEST:
        full = full[: LONGEST - 1] + "~"
    return full + suffix(format)


def encode(region: str) -> str:
    """A region as a part of a name."""
    return "".join("_" if char in ":/\\*{}" or not char.isprintable() else char for char in region)
