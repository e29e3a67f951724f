"""Regions as samtools and bcftools take them, and which records lie in them. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from score.errors import Invalid

FAR = 1 << 60
"""The end of a region that has none."""
UNPLACED = "*"
"""The region of reads without a place."""
_NEAR = 5
_NUMBER = r"(\d[\d,]*(?:\.\d+)?)([kKmMgG]?)"
_RANGE = re.compile(rf"(?:{_NUMBER})?(?:(-)(?:{_NUMBER})?)?\Z")
_SCALE = {"": 1, "k": 1000, "m": 1000_000, "g": 1000_000_000}


class Region(NamedTuple):
    """Bases of a contig from ``begin``, counted from 0, to before ``end``."""

    contig: str
    begin: int = 0
    end: int = FAR


class Missing(NamedTuple):
    """A region whose contig is not in the header."""

    text: str
    contig: str


def parse(text: str, contigs: Collection[str], *, single: bool = False) -> Region | Missing:
    """``chr1``, ``chr1:1000``, ``chr1:1000-``, ``chr1:1,000-2,000``, ``chr1:-2000``, ``{a:b:c}:1-2``, ``*``.

    ``chr1:1000`` goes to the end of the contig, as with samtools, or with ``single`` is that base alone, as with
    bcftools. Raises Invalid for what is no region.
    """
    name, range_ = _split(text, contigs)
    if name not in contigs and not (name == UNPLACED and not range_):
        return Missing(text, name)
    if not range_:
        return Region(name)
    found = _RANGE.match(range_)
    if found is None or range_ == "-":
        raise Invalid(f"{text!r} is no region.", hint="Expected contig:start-end, such as chr1:1000-2000.")
    first, scale, dash, last, other = found.groups()
    begin = max(_number(first, scale) - 1, 0) if first else 0
    end = _number(last, other) if last else 0
    if not dash and single:
        end = begin + 1
    if last and begin >= end:
        raise Invalid(
            f"{text!r} is no region: it ends before it starts.",
            hint="Positions count from 1; expected contig:start-end, such as chr1:1000-2000.",
        )
    return Region(name, begin, end or FAR)


def _split(text: str, contigs: Collection[str]) -> tuple[str, str]:
    """The name of a contig, and what follows its colon."""
    if text.startswith("{") and "}" in text:
        name, _, rest = text[1:].partition("}")
        if rest and not rest.startswith(":"):
            raise Invalid(f"{text!r} is no region.", hint="Expected {contig}:start-end.")
        return name, rest[1:]
    name, colon, range_ = text.rpartition(":")
    if not colon:
        return text, ""
    if text in contigs:
        if name in contigs and _RANGE.match(range_):
            raise Invalid(
                f"{text!r} may mean two things: there are contigs {name} and {text}.",
                hint=f"Write {{{text}}} or {{{name}}}:{range_}.",
            )
        return text, ""
    return (name, range_) if name in contigs or _RANGE.match(range_) else (text, "")


def _number(digits: str, scale: str) -> int:
    return int(Decimal(digits.replace(",", "")) * _SCALE[scale.lower()])  # a float would be one less for 1.001k


def read_bed(text: str, name: str) -> list[Region]:
    """The regions of a BED file: contig, begin counted from 0, end. Raises Invalid, naming the line that is wrong."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would end a line in the middle of some names
        if not line.strip() or line.startswith("#") or line.split(maxsplit=1)[0] in ("track", "browser"):
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        try:
            region = Region(cells[0], int(cells[1]), int(cells[2]))
        except (IndexError, ValueError):
            raise Invalid(
                f"{name}, line {number}: that is no line of a BED file.",
                hint="Expected contig, begin and end, separated by tabs.",
            ) from None
        if not 0 <= region.begin <= region.end:
            raise Invalid(
                f"{name}, line {number}: {region.begin} to {region.end} is no range.",
                hint="A range begins at 0 or after it, and ends after its begin.",
            )
        found.append(region)
    return found


def near(contig: str, contigs: Iterable[str]) -> list[str]:
    """The contigs that somebody may have meant: with or without ``chr``, in other case, M for MT, or similar."""

    def bare(name: str) -> str:
        low = name.lower().removeprefix("chr")
        return "m" if low == "mt" else low

    import difflib  # takes long to load, and is needed for this alone

    known = list(contigs)
    same = [name for name in known if bare(name) == bare(contig)]
    similar = difflib.get_close_matches(contig, known, _NEAR, 0.75)
    return list(dict.fromkeys([*same, *similar]))[:_NEAR]


def refuse(missing: Sequence[Missing], contigs: Collection[str], file: str) -> Invalid:
    """The error for contigs that the header does not have."""
    parts = []
    for contig in list(dict.fromkeys(one.contig for one in missing))[:_NEAR]:
        meant = near(contig, contigs)
        parts.append(f"{contig} (did you mean {', '.join(meant)}?)" if meant else contig)
    more = len({one.contig for one in missing}) - len(parts)
    few = list(contigs)[:_NEAR]
    known = f"It has {', '.join(few)}{' …' if len(contigs) > len(few) else ''}." if few else "It names no contigs."
    return Invalid(
        f"{file} has no contig {', '.join(parts)}{f' and {more} more' if more else ''}.",
        hint=f"{known} To go on without: --allow-missing-contig.",
    )


class Wanted:
    """Which records are wanted: those that overlap one of the regions or, with ``contained``, lie within one.

    Regions that overlap or touch are one.
    """

    def __init__(self, regions: Iterable[Region], *, contained: bool = False) -> None:
        self.contained = contained
        self.unplaced = False
        self.ranges: dict[str, list[tuple[int, int]]] = {}
        self._edges: dict[str, tuple[list[int], list[int]]] = {}
        for contig, begin, end in sorted(regions):
            if contig == UNPLACED:
                self.unplaced = True
                continue
            ranges = self.ranges.setdefault(contig, [])
            if ranges and begin <= ranges[-1][1]:
                ranges[-1] = ranges[-1][0], max(end, ranges[-1][1])
            elif begin < end:
                ranges.append((begin, end))
        for contig, ranges in self.ranges.items():
            self._edges[contig] = [begin for begin, _ in ranges], [end for _, end in ranges]

    def takes(self, contig: str | None, begin: int, end: int) -> bool:
        """Whether a record is wanted that covers the bases from ``begin`` to before ``end``; None: it has none."""
        if contig is None:
            return self.unplaced
        edges = self._edges.get(contig)
        if edges is None:
            return False
        begins, ends = edges
        if self.contained:
            at = bisect_right(begins, begin) - 1
            return at >= 0 and end <= ends[at]
        return bisect_right(ends, begin) < bisect_left(begins, end)
