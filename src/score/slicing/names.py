"""Names of the files that are written, as the reference's client makes them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

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


def distinct(inputs: Iterable[tuple[str, str]]) -> list[str]:
    """What outputs are named after, of inputs that are given as object id and name: the name, or
    ``<object id>-<name>`` where outputs of several would have the same names."""
    given = list(inputs)
    alike = Counter(_alike(name) for _, name in given)
    return [name if alike[_alike(name)] == 1 else f"{object_id}-{name}" for object_id, name in given]


def _alike(name: str) -> tuple[str, bool]:
    """Equal where outputs may be, whatever their format."""
    stem, ending = _split(name)
    return stem, ending.startswith((".vcf", ".bcf"))


def _split(name: str) -> tuple[str, str]:
    low = name.lower()
    ending = next((one for one in _SUFFIXES if low.endswith(one)), "")
    return name[: len(name) - len(ending)], ending


def output(name: str, what: Sequence[str], format: Format) -> str:
    """``sample.bam`` and the regions ``chr1:1-2`` and ``chr2`` give ``sample.chr1_1-2__chr2.bam``."""
    stem, _ = _split(name)
    middle = "__".join(encode(one) for one in what)
    full = f"{stem}.{middle}" if middle else stem
    if len(full) + len(suffix(format)) > LONGEST:
        full = full[: LONGEST - 1] + "~"
    return full + suffix(format)


def free(path: Path, format: Format, taken: Container[Path]) -> Path:
    """``path``, or one with a number in its name where it is taken: regions may be too long for a name, or differ in
    what it cannot show."""
    stem = path.name.removesuffix(suffix(format))
    number = 1
    while path in taken:
        number += 1
        path = path.with_name(f"{stem}~{number}{suffix(format)}")
    return path


def encode(region: str) -> str:
    """A region as a part of a name."""
    return "".join("_" if char in ":/\\*{}" or not char.isprintable() else char for char in region)
