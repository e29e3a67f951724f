"""``view``: parts of files, to standard output or to files of their own. Protocol, section 9."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from score.errors import Integrity, Invalid, NotFound
from score.genomics import formats
from score.genomics.indexes import Index
from score.slicing import indexes, merging, names, spans
from score.slicing.feed import Feed
from score.slicing.records import STDOUT, Format, Task, copy_reads, pysam
from score.slicing.regions import FAR, UNPLACED, Missing, Region, Wanted, parse, refuse
from score.slicing.sources import Input
from score.slicing.variants import Undeclared, copy_variants
from score.transfer.files import TEMPORARY, translated

Judge = Callable[[Sequence[str]], None]
_BAI_MOST = 1 << 29
"""Bases of a contig that BAI and TBI can hold."""


class OutputType(StrEnum):
    """How slices become files: one for each input with all regions, one of all inputs, or one for each input and
    each region."""

    TRIMMED = "trimmed"
    MERGED = "merged"
    CROSS = "cross"


@dataclass(frozen=True)
class Request:
    """What is wanted of every input. ``bed`` are the regions of a BED file, called ``bed_name``, in the place of
    ``queries``; ``scan``: without an index, read all; ``format`` None: SAM, or VCF for variants."""

    queries: tuple[str, ...] = ()
    bed: tuple[Region, ...] | None = None
    bed_name: str = ""
    contained: bool = False
    header_only: bool = False
    original_header: bool = False
    format: Format | None = None
    type: OutputType = OutputType.TRIMMED
    output_dir: Path | None = None
    output_index: bool = False
    reference: Path | None = None
    allow_missing: bool = False
    scan: bool = False
    command: str = "score-client view"
    version: str = ""

    @property
    def sliced(self) -> bool:
        """Whether regions are wanted, not all of a file."""
        return not self.header_only and (self.bed is not None or bool(self.queries))


@dataclass(frozen=True)
class Item:
    """One input. ``name`` is that of the file without folders, ``index`` finds what belongs to it, None where there
    is none; ``note`` tells something about it; ``check`` may raise to stop; outputs are named after ``label``, or the
    name where there is none."""

    name: str
    file: Input
    index: Callable[[], Index | None]
    note: Callable[[str], None]
    check: Callable[[], None] = field(default=lambda: None)
    label: str = ""


@dataclass(frozen=True)
class Written:
    """A slice that was written, and its number of records. ``path`` is ``-`` for standard output."""

    path: Path
    records: int


def view(item: Item, request: Request, taken: set[Path] | None = None) -> list[Written]:
    """Write what is wanted of one input, trimmed or cross. ``taken`` are the files that this run wrote before: none
    of them is written again, and those of this input are added.

    Raises Invalid (regions, formats), NotFound (no index), Integrity (damaged, or index and file do not fit),
    Misconfigured (a reference is missing), NoSpace, BrokenPipeError (standard output was closed), and what reading
    raises.
    """
    format = _format(item.file, request)
    taken = set() if taken is None else taken
    return [_write(item, request, format, one, taken) for one in _slices(item, request)]


@dataclass(frozen=True)
class _Slice:
    """One file that is to be written of an input: ``what`` of it, for its name; the ``pieces`` of bytes that hold it,
    and which of the records in them are ``wanted``, None for all. ``judge`` looks at the names of all contigs of a
    file that did not tell them before."""

    what: list[str]
    pieces: Callable[[], Iterator[bytes]]
    wanted: Wanted | None = None
    judge: Judge = lambda contigs: None


def _slices(item: Item, request: Request) -> list[_Slice]:
    file = item.file
    if request.header_only:
        return [_Slice(["header"], lambda: spans.header_only(file) if file.header else spans.whole(file))]
    if not request.sliced:
        _note_end(item)
        return [_Slice([], lambda: spans.whole(file))]
    index = _find_index(item, request)
    regions, judge = _regions(item, request, index)
    if index is None or any(region.contig == UNPLACED for region in regions):
        _note_end(item)

    def slice_(what: list[str], some: list[Region]) -> _Slice:
        wanted = Wanted(some, contained=request.contained)
        pieces = lambda: spans.whole(file) if index is None else spans.sliced(file, index, wanted)  # noqa: E731
        return _Slice(what, pieces, wanted, judge)

    if request.type is OutputType.CROSS:
        return [slice_([_text(region)], [region]) for region in dict.fromkeys(regions)]
    return [slice_(_said(request), regions)]


def _note_end(item: Item) -> None:
    """For what is read to the end of a file: no index tells where that is."""
    if not spans.is_whole(item.file):
        item.note("it has no end-of-file mark; it may have been cut short")


def view_merged(opens: Sequence[Callable[[], AbstractContextManager[Item]]], request: Request) -> Written:
    """Write what is wanted of all inputs as one file, sorted. See :func:`view`; Invalid where they do not fit.

    One input is open at a time: each holds its index, and there may be a thousand.
    """
    if not opens:
        raise Invalid("There is nothing to merge.", hint="Name at least one file.")
    with translated(request.output_dir or TEMPORARY):
        if request.output_dir is not None:
            request.output_dir.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".score-view-", dir=request.output_dir)
    with scratch as folder:
        paths: list[Path] = []
        first, count = "", 0
        for open_ in opens:
            with open_() as item:
                if not paths:
                    first, format = item.name, _format(item.file, request)
                    between = Format.BCF if format.variants else Format.BAM
                elif _format(item.file, request) is not format:
                    raise Invalid(
                        f"{item.name} and {first} cannot be merged: one holds reads, the other variants.",
                        hint="Merge them apart.",
                    )
                (one,) = _slices(item, request)
                paths.append(Path(folder) / f"{len(paths):06}.{between}")
                count += _copy(item, request, between, paths[-1], one)
        target = STDOUT
        if request.output_dir is not None:
            what = ["header"] if request.header_only else _said(request)
            target = request.output_dir / names.output("merged", what, format)
        with _in_place(target, request, format) as path:
            merging.merge(paths, path, format, request.reference)
    return Written(target, count)


def _format(file: Input, request: Request) -> Format:
    format = request.format or (Format.VCF if file.variants else Format.SAM)
    if format.variants != file.variants:
        holds, fit = ("variants", "vcf or bcf") if file.variants else ("reads", "sam, bam or cram")
        raise Invalid(f"{file.name} holds {holds}, and cannot be written as {format}.", hint=f"--output-format {fit}")
    if request.output_index and format is Format.SAM:
        raise Invalid("SAM has no index.", hint="--output-format bam or cram")
    return format


def _find_index(item: Item, request: Request) -> Index | None:
    """The index, None where the file is read from beginning to end instead."""
    if not item.file.sliceable:
        item.note("no index leads into a text: all of it is read")
        return None
    try:
        index = item.index()
        if index is not None:
            spans.require_fit(item.file, index)
    except (Integrity, Invalid, NotFound) as error:
        if not request.scan:
            raise
        item.note(f"{error.message.removesuffix('.')}: all of it is read")
        return None
    if index is not None:
        return index
    if request.scan:
        item.note("no index: all of it is read")
        return None
    assert item.file.kind is not None
    expected = ", ".join(formats.index_names(item.name, item.file.kind.format))
    raise NotFound(
        f"{item.name} has no index, so that its regions cannot be found.",
        hint=f"Its analysis would have to hold {expected}. To read all of the file for them: --scan.",
    )


def _regions(item: Item, request: Request, index: Index | None) -> tuple[list[Region], Judge]:
    """The wanted regions, and who judges them when all was read."""
    contigs = _contigs(item, index)
    found = _parse(item, request, contigs)
    if index is not None or not item.file.variants:
        return _allow(item, request, contigs, found), lambda known: None
    # A VCF need not declare its contigs: which there are is known when all of it was read.
    some = _parse(item, request, {*contigs, *(one.contig for one in found)})

    def judge(known: Sequence[str]) -> None:
        _allow(item, request, known, _parse(item, request, known))

    return [one for one in some if isinstance(one, Region)], judge


def _parse(item: Item, request: Request, contigs: Collection[str]) -> list[Region | Missing]:
    if request.bed is None:
        return [parse(text, contigs, single=item.file.variants) for text in request.queries]
    return [region if region.contig in contigs else Missing(region.contig, region.contig) for region in request.bed]


def _allow(item: Item, request: Request, contigs: Collection[str], found: list[Region | Missing]) -> list[Region]:
    """The regions of contigs that there are. Raises Invalid where there are others, or only says so."""
    missing = [one for one in found if isinstance(one, Missing)]
    if missing:
        error = refuse(missing, contigs, item.name)
        if not request.allow_missing:
            raise error
        item.note(error.message)
    return [one for one in found if isinstance(one, Region)]


def _contigs(item: Item, index: Index | None) -> list[str]:
    """The names of the contigs, in the order of the header."""
    if item.file.header is not None:
        more = spans.contigs(item.file, index) if index is not None else {}
        return list({**item.file.header.references, **more})
    library = pysam()
    with Feed(spans.whole(item.file)) as feed:
        try:
            source = library.AlignmentFile(feed.fd, "r", check_sq=False)
        except (OSError, ValueError):
            raise Invalid(f"{item.name} is no SAM file.", hint="Check how it was made.") from None
        finally:
            feed.close()
        with source:
            return [*source.references]


def _said(request: Request) -> list[str]:
    return [request.bed_name] if request.bed is not None else list(request.queries)


def _text(region: Region) -> str:
    if region.end == FAR:
        return region.contig if not region.begin else f"{region.contig}:{region.begin + 1}-"
    return f"{region.contig}:{region.begin + 1}-{region.end}"


def _write(item: Item, request: Request, format: Format, slice_: _Slice, taken: set[Path]) -> Written:
    if request.output_dir is None:
        return Written(STDOUT, _copy(item, request, format, STDOUT, slice_))
    target = request.output_dir / names.output(item.label or item.name, slice_.what, format)
    target = names.free(target, format, taken)
    taken.add(target)
    with _in_place(target, request, format) as path:
        return Written(target, _copy(item, request, format, path, slice_))


def _copy(item: Item, request: Request, format: Format, target: Path, slice_: _Slice) -> int:
    """Write a slice; gives the number of records."""
    file = item.file
    task = Task(
        name=item.name,
        target=target,
        format=format,
        wanted=slice_.wanted,
        header_only=request.header_only,
        original=request.original_header,
        reference=request.reference,
        command=_one_line(request.command),
        version=request.version,
        text=spans.header_text(file) if file.kind and file.kind.format is formats.Format.VCF else b"",
        judge=slice_.judge,
    )
    try:
        return _feed(item, slice_, task)
    except Undeclared as error:
        return _feed(item, slice_, replace(task, declared=error.lines))


def _one_line(text: str) -> str:
    """What ends a line of a header, or a cell of one, is a blank."""
    return "".join(char if char.isprintable() else " " for char in text)


def _feed(item: Item, slice_: _Slice, task: Task) -> int:
    copy = copy_variants if task.format.variants else copy_reads
    with Feed(slice_.pieces()) as feed:
        return copy(feed.fd, feed.close, task, item.check)


@contextlib.contextmanager
def _in_place(target: Path, request: Request, format: Format) -> Iterator[Path]:
    """Where to write what is to become ``target``: nobody sees it there before it is whole, index and all."""
    if target == STDOUT:
        yield target
        return
    with translated(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # a folder that is ours alone: nobody can have put a link there
        folder = tempfile.TemporaryDirectory(prefix=".score-view-", dir=target.parent)
    with folder as name:
        unfinished, index = Path(name) / target.name, Path(name) / "index"
        yield unfinished
        suffix = _index(unfinished, index, format) if request.output_index else ""
        with translated(target):
            os.replace(unfinished, target)
            if suffix:
                os.replace(index, target.with_name(target.name + suffix))


def _index(path: Path, made: Path, format: Format) -> str:
    """Index what was written; gives the suffix of the index."""
    library = pysam()
    kind = formats.Format(format.upper())
    if format is Format.CRAM:
        indexes.build(path, made, kind)
        return ".crai"
    if format is Format.BAM:
        with library.AlignmentFile(str(path), "rb", check_sq=False) as file:
            long = any(length > _BAI_MOST for length in file.lengths)
    else:
        # by a name it would look for an index, and complain that there is none
        with path.open("rb") as opened, library.VariantFile(opened) as file:
            long = any((contig.length or 0) > _BAI_MOST for contig in file.header.contigs.values())
    indexes.build(path, made, kind, long=long)
    return ".csi" if long or format is Format.BCF else ".bai" if format is Format.BAM else ".tbi"
