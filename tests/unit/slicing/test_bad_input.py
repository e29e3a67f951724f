"""Files, indexes and regions that are not right: every one is told, none gives a wrong answer."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysam
import pysam.bcftools
import pytest

from score.errors import Integrity, Invalid, Misconfigured, NotFound
from score.genomics.bgzf import EOF
from score.slicing.sources import LocalBytes, look
from score.slicing.view import Written

Slice = Callable[..., list[Written]]


def copy(
    path: Path, folder: Path, data: bytes | None = None, index: bytes | None = None, suffix: str = ".bai"
) -> Path:
    """A file with an index beside it."""
    made = folder / path.name
    made.write_bytes(path.read_bytes() if data is None else data)
    if index is None:
        index = path.with_name(path.name + suffix).read_bytes()
    made.with_name(made.name + suffix).write_bytes(index)
    return made


@pytest.mark.parametrize("kind", ["bam", "straddling", "tbi", "bcf", "cram"])
def test_a_file_that_was_cut_short(kind: str, files: Any, slice_file: Slice, tmp_path: Path) -> None:
    whole = files.of(kind)
    suffix = {"tbi": ".tbi", "bcf": ".csi", "cram": ".crai"}.get(kind, ".bai")
    (before,) = slice_file(whole, "chr1:1-3000")
    assert before.records
    cut = copy(whole, tmp_path, whole.read_bytes()[: whole.stat().st_size * 2 // 3], suffix=suffix)
    for regions in (("6",), ()):
        with pytest.raises(Integrity, match=r"do not fit|cannot be read to its end|cut short|cannot be unpacked"):
            slice_file(cut, *regions)
    assert not list((tmp_path / "out").glob(".*")), "nothing unfinished is left"
    if kind == "cram":  # the index of so small a BAM tells all of a contig's reads as one chunk
        (after,) = slice_file(cut, "chr1:1-3000")
        assert after.records == before.records, "what is there can be had"


def test_a_file_without_an_end(files: Any, slice_file: Slice, tmp_path: Path, notes: list[str]) -> None:
    made = copy(files.of("bam"), tmp_path, files.of("bam").read_bytes().removesuffix(EOF))
    (all_of_it,) = slice_file(made)
    assert all_of_it.records == int(pysam.view("-c", str(files.of("bam"))))
    assert notes == ["it has no end-of-file mark; it may have been cut short"]
    (unplaced,) = slice_file(made, "*")
    assert unplaced.records == 50
    assert len(notes) == 2, "reads without a place are all that is left of the file, wherever that ends"
    slice_file(made, "chr1:1-3000")
    assert len(notes) == 2


def test_all_of_a_file_without_an_end_is_read_for_regions(
    files: Any, slice_file: Slice, tmp_path: Path, notes: list[str]
) -> None:
    made = copy(files.of("tbi"), tmp_path, files.of("tbi").read_bytes().removesuffix(EOF), b"none", suffix=".tbi")
    slice_file(made, "chr2:1-3000", scan=True)
    assert "it has no end-of-file mark; it may have been cut short" in notes


@pytest.mark.parametrize("kind", ["bam", "straddling", "csi"])
def test_reads_without_a_place_of_a_file_that_was_cut_short_before_them(
    kind: str, files: Any, slice_file: Slice, tmp_path: Path
) -> None:
    data = files.of(kind).read_bytes()
    cut = copy(files.of(kind), tmp_path, data[: len(data) // 2], suffix=".csi" if kind == "csi" else ".bai")
    with pytest.raises(Integrity, match=r"do not fit: byte .* is beyond its end"):
        slice_file(cut, "*")


@pytest.mark.parametrize("kind", ["bam", "cram"])
def test_reads_without_a_place_by_an_index_that_does_not_know_them(
    kind: str, files: Any, slice_file: Slice, tmp_path: Path
) -> None:
    """That of the file as it was before they were added; and the other way round."""
    older = first_contigs(files.of(kind), tmp_path, files.reference, "chr1")
    suffix = SUFFIXES.get(kind, ".bai")
    index, newer = older.with_name(older.name + suffix), files.of(kind)
    for path, wrong in ((newer, index), (older, newer.with_name(newer.name + suffix))):
        with pytest.raises(Integrity, match="and its index do not fit"):
            slice_file(path, "*", index=wrong)
    (none,) = slice_file(older, "*", index=index)
    assert none.records == 0, "and of its own file it says the truth"


def test_a_file_that_shrinks_while_its_header_is_read(files: Any, tmp_path: Path) -> None:
    path = tmp_path / "shrinking.vcf"
    path.write_bytes(files.of("vcf").read_bytes())
    with LocalBytes(path) as data:
        os.truncate(path, 40)
        with pytest.raises(Integrity, match="was longer when it was opened"):
            look(data)


def test_a_damaged_block(files: Any, slice_file: Slice, tmp_path: Path) -> None:
    data = bytearray(files.of("straddling").read_bytes())
    data[len(data) // 2] ^= 0xFF
    made = copy(files.of("straddling"), tmp_path, bytes(data))
    with pytest.raises(Integrity):
        slice_file(made)


@pytest.mark.parametrize("index", [b"", b"BAI\1", b"nonsense", b"BAI\1" + bytes(range(200)), os.urandom(5000)])
def test_an_index_that_is_none(index: bytes, files: Any, slice_file: Slice, tmp_path: Path) -> None:
    made = copy(files.of("bam"), tmp_path, index=index)
    with pytest.raises(Integrity, match="index"):
        slice_file(made, "chr1:1-3000")


def test_an_index_of_another_format(files: Any, slice_file: Slice) -> None:
    crai = files.of("cram").with_name("reads.cram.crai")
    with pytest.raises(Integrity, match="do not fit: it is one of another format"):
        slice_file(files.of("bam"), "chr1", index=crai)


def test_an_index_that_cannot_be_used_where_all_may_be_read(
    files: Any, slice_file: Slice, tmp_path: Path, notes: list[str]
) -> None:
    """One of another format, one of a file of other contigs, and one that an unsorted file cannot have."""
    (expected,) = slice_file(files.of("bam"), "chr2:100-5000")
    crai = files.of("cram").with_name("reads.cram.crai")
    mixed = unsorted(tmp_path)
    few = reads_of(tmp_path / "few.bam", 1)
    for index in (crai, few.with_name("few.bam.bai")):
        (found,) = slice_file(files.of("bam"), "chr2:100-5000", index=index, scan=True)
        assert found.records == expected.records > 0
        assert "reads.bam and its index do not fit: it " in notes[-1]
        assert notes.pop().endswith(": all of it is read")
    (found,) = slice_file(mixed, "c:1-10", scan=True)
    assert found.records == 1
    assert notes.pop() == f"{mixed} cannot be indexed: all of it is read"


def test_an_index_of_another_file(files: Any, slice_file: Slice, tmp_path: Path) -> None:
    """The same reads in other blocks: every pointer of the index leads astray."""
    other = files.of("straddling").with_name("straddling.bam.bai").read_bytes()
    made = copy(files.of("bam"), tmp_path, index=other)
    for region in ("chr1:200000-300000", "chr2", "6:1-2000"):
        with pytest.raises(Integrity, match="and its index do not fit"):
            slice_file(made, region)


def reads_of(path: Path, *counts: int) -> Path:
    """A BAM with an index: so many reads of the contigs c0, c1 and so on, all of one length, in one block."""
    text = "".join(f"@SQ\tSN:c{number}\tLN:1000\n" for number in range(len(counts)))
    for number, count in enumerate(counts):
        text += f"r\t0\tc{number}\t9\t60\t4M\t*\t0\t0\tACGT\tFFFF\n" * count
    path.with_suffix(".sam").write_text(text)
    pysam.view("-b", "--no-PG", "-o", str(path), str(path.with_suffix(".sam")), catch_stdout=False)
    pysam.index(str(path))
    return path


def test_an_index_of_the_same_blocks_with_other_records(slice_file: Slice, tmp_path: Path) -> None:
    """Every block begins where it says so, and holds other contigs there."""
    few, many = reads_of(tmp_path / "few.bam", 5, 15), reads_of(tmp_path / "many.bam", 10, 10)
    with pytest.raises(Integrity, match="no record of the wanted contig begins where the index says so"):
        slice_file(many, "c1", index=few.with_name("few.bam.bai"))


def test_an_index_of_more_contigs(files: Any, slice_file: Slice, tmp_path: Path) -> None:
    text = "@SQ\tSN:chr1\tLN:600000\nr\t0\tchr1\t5\t60\t4M\t*\t0\t0\tACGT\tFFFF\n"
    (tmp_path / "one.sam").write_text(text)
    one = tmp_path / "one.bam"
    pysam.view("-b", "-o", str(one), str(tmp_path / "one.sam"), catch_stdout=False)
    with pytest.raises(Integrity, match="it has 5 contigs, the file 1"):
        slice_file(one, "chr1", index=files.of("bam").with_name("reads.bam.bai"))


def first_contigs(path: Path, folder: Path, reference: Path, *contigs: str) -> Path:
    """The records of some contigs of a file, with an index: as the file was before the others came."""
    made = folder / path.name
    if path.suffix in (".bam", ".cram"):
        options = ["-b"] if path.suffix == ".bam" else ["-O", f"cram,seqs_per_slice=300,reference={reference}"]
        pysam.view("--no-PG", *options, "-o", str(made), str(path), *contigs, catch_stdout=False)
        pysam.index(str(made))
    else:
        options = ["-Ob" if path.suffix == ".bcf" else "-Oz", "-r", ",".join(contigs)]
        pysam.bcftools.view("--no-version", *options, "-o", str(made), str(path), catch_stdout=False)
        pysam.bcftools.index("-c" if path.suffix == ".bcf" else "-t", str(made))
    return made


SUFFIXES = {"tbi": ".tbi", "bcf": ".csi", "cram": ".crai"}


@pytest.mark.parametrize("kind", ["bam", "cram", "tbi", "bcf"])
@pytest.mark.parametrize("region", ["chr2", "6", "chr1", "chr1:590000-600000"])
def test_an_index_that_knows_less_than_there_is(
    kind: str, region: str, files: Any, slice_file: Slice, tmp_path: Path
) -> None:
    """That of the file as it was before records were added: it has nothing to show for them, and does not say so."""
    older = first_contigs(files.of(kind), tmp_path, files.reference, "chr1")
    index = older.with_name(older.name + SUFFIXES.get(kind, ".bai"))
    with pytest.raises(Integrity, match="and its index do not fit"):
        slice_file(files.of(kind), region, index=index)
    (right,) = slice_file(older, region, index=index)
    assert bool(right.records) == region.startswith("chr1"), "and of its own file it says the truth"


@pytest.mark.parametrize("kind", ["bam", "cram", "tbi", "bcf"])
def test_an_index_of_other_contigs_has_nothing_to_show(
    kind: str, files: Any, slice_file: Slice, tmp_path: Path
) -> None:
    other = first_contigs(files.of(kind), tmp_path, files.reference, "chr1", "6")
    index = other.with_name(other.name + SUFFIXES.get(kind, ".bai"))
    with pytest.raises(Integrity, match="and its index do not fit"):
        slice_file(files.of(kind), "chr2", index=index)


def test_an_index_of_fewer_contigs(files: Any, slice_file: Slice, tmp_path: Path) -> None:
    (tmp_path / "one.sam").write_text("@SQ\tSN:chr1\tLN:600000\nr\t0\tchr1\t5\t60\t4M\t*\t0\t0\tACGT\tFFFF\n")
    one = tmp_path / "one.bam"
    pysam.view("-b", "-o", str(one), str(tmp_path / "one.sam"), catch_stdout=False)
    pysam.index(str(one))
    for region in ("chr1", "chr2"):
        with pytest.raises(Integrity, match="it has 1 contigs, the file 5"):
            slice_file(files.of("bam"), region, index=one.with_name("one.bam.bai"))


def test_contigs_in_another_order_than_that_of_the_header(slice_file: Slice, tmp_path: Path) -> None:
    """The index of a BCF numbers them by the header, and their records may stand in any order."""
    text = "##fileformat=VCFv4.2\n" + "".join(f"##contig=<ID={name},length=90000>\n" for name in ("a", "b", "c"))
    text += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    text += "".join(f"{name}\t{at}\t.\tA\tC\t5\tPASS\t.\n" for name in ("b", "a") for at in range(5, 80_000, 9))
    (tmp_path / "mixed.vcf").write_text(text)
    mixed = tmp_path / "mixed.bcf"
    pysam.bcftools.view("-Ob", "-o", str(mixed), str(tmp_path / "mixed.vcf"), catch_stdout=False)
    pysam.bcftools.index(str(mixed))
    counts = [slice_file(mixed, region)[0].records for region in ("a", "b", "c", "a:1-100", "b:70000-80000")]
    assert counts == [8889, 8889, 0, 11, 1111]


def test_an_index_older_than_its_file(files: Any, slice_file: Slice, tmp_path: Path, notes: list[str]) -> None:
    made = copy(files.of("bam"), tmp_path)
    os.utime(made.with_name("reads.bam.bai"), (1_000_000_000, 1_000_000_000))
    slice_file(made, "chr1:1-3000")
    assert notes == ["the index reads.bam.bai is older than the file"]


@pytest.mark.parametrize("kind", ["bam", "tbi", "bcf", "cram"])
def test_an_index_is_built_where_there_is_none(
    kind: str, files: Any, slice_file: Slice, tmp_path: Path, notes: list[str]
) -> None:
    alone = tmp_path / files.of(kind).name
    alone.write_bytes(files.of(kind).read_bytes())
    (expected,) = slice_file(files.of(kind), "chr2:100-5000")
    (found,) = slice_file(alone, "chr2:100-5000")
    assert found.records == expected.records > 0
    assert notes == ["no index beside it: one is built for this run"]
    assert {path.name for path in tmp_path.iterdir()} == {alone.name, "out"}, "and left nowhere"


def test_without_a_folder_of_temporary_files_none_is_built(
    files: Any, slice_file: Slice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = tmp_path / "alone.bam"
    alone.write_bytes(files.of("bam").read_bytes())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(NotFound, match=r"TMPDIR: No such file or directory"):
        slice_file(alone, "chr2:100-5000")


def unsorted(folder: Path) -> Path:
    """A BAM of two reads, the later one first."""
    rows = [f"r{at}\t0\tc\t{at}\t60\t4M\t*\t0\t0\tACGT\tFFFF" for at in (50, 5)]
    (folder / "mixed.sam").write_text("\n".join(["@SQ\tSN:c\tLN:100", *rows]) + "\n")
    mixed = folder / "mixed.bam"
    pysam.view("-b", "-o", str(mixed), str(folder / "mixed.sam"), catch_stdout=False)
    return mixed


def test_a_file_that_is_not_sorted_gets_none(slice_file: Slice, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not sorted"):
        slice_file(unsorted(tmp_path), "c:1-10")


def test_cram_without_its_reference(
    files: Any, slice_file: Slice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REF_PATH", str(tmp_path / "nothing/%s"))
    bare = tmp_path / "bare.cram"
    with pysam.AlignmentFile(str(files.of("bam"))) as source:
        header = source.header
        with pysam.AlignmentFile(str(bare), "wc", header=header, reference_filename=str(files.reference)) as sink:
            for read in source.fetch("chr2"):
                sink.write(read)
    hidden = tmp_path / "hidden.fa"
    files.reference.rename(hidden)  # the header says where it was
    try:
        with pytest.raises(Misconfigured, match="--reference-file, or set REF_PATH"):
            slice_file(bare, reference=None)
        (found,) = slice_file(bare, reference=hidden)
        assert found.records
    finally:
        hidden.rename(files.reference)


def test_cram_with_another_reference(files: Any, slice_file: Slice, tmp_path: Path) -> None:
    other = tmp_path / "other.fa"
    dice = random.Random(99)
    other.write_text(
        "".join(
            f">{name}\n{''.join(dice.choices('ACGT', k=length))}\n"
            for name, length in (("chr1", 600_000), ("chr2", 90_000))
        )
    )
    pysam.faidx(str(other))
    with pytest.raises(Integrity, match="cannot be unpacked with the reference"):
        slice_file(files.of("cram"), "chr2:1-5000", reference=other)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello", "is no BAM, CRAM, SAM, VCF or BCF"),
        (b"\x1f\x8bxxxx", "is no BAM, CRAM, SAM, VCF or BCF"),
        (b"@read1\nACGT\n+\nFFFF\n", "is no BAM, CRAM, SAM, VCF or BCF"),
        (os.urandom(3000), "is no BAM, CRAM, SAM, VCF or BCF"),
    ],
)
def test_files_of_other_kinds(content: bytes, said: str, slice_file: Slice, tmp_path: Path) -> None:
    path = tmp_path / "file.bam"
    path.write_bytes(content)
    with pytest.raises(Invalid, match=said):
        slice_file(path)


def test_broken_headers(files: Any, slice_file: Slice, tmp_path: Path) -> None:
    for kind in ("bam", "cram", "bcf", "tbi"):
        path = tmp_path / files.of(kind).name
        path.write_bytes(files.of(kind).read_bytes()[:100])
        with pytest.raises((Integrity, Invalid)):
            slice_file(path)
    with pytest.raises(NotFound):
        slice_file(tmp_path / "nothing.bam")


@pytest.mark.parametrize("region", ["chr1:5-1", "chr1:2-1", "chr1:0-0", "chr1:-", "{chr1}5"])
def test_what_is_no_region(region: str, files: Any, slice_file: Slice) -> None:
    with pytest.raises(Invalid, match="is no region"):
        slice_file(files.of("bam"), region)


@pytest.mark.parametrize("kind", ["bam", "cram", "tbi", "bcf"])
@pytest.mark.parametrize("region", ["chr1:700000-800000", "chr1:99999999999-", "chrEmpty", "chr1:1-1"])
def test_regions_without_records(region: str, kind: str, files: Any, slice_file: Slice) -> None:
    (found,) = slice_file(files.of(kind), region)
    assert found.records == 0
    assert found.path.stat().st_size > 0, "a header all the same"


def test_contigs_with_colons(files: Any, slice_file: Slice) -> None:
    counts = [slice_file(files.of("bam"), text)[0].records for text in ("HLA-A*01:01", "{HLA-A*01:01}:1-3000")]
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(
    ("asked", "meant"), [("1", "chr1"), ("chr6", "6"), ("CHR2", "chr2"), ("chrEmty", "chrEmpty")]
)
def test_contigs_that_somebody_may_have_meant(asked: str, meant: str, files: Any, slice_file: Slice) -> None:
    with pytest.raises(Invalid, match=rf"reads\.bam has no contig {asked} \(did you mean {meant}"):
        slice_file(files.of("bam"), f"{asked}:1-100")


def test_missing_contigs_can_be_allowed(files: Any, slice_file: Slice, notes: list[str]) -> None:
    (both,) = slice_file(files.of("bam"), "chr1:1-3000", "nowhere:5", allow_missing=True)
    (one,) = slice_file(files.of("bam"), "chr1:1-3000")
    assert both.records == one.records > 0
    assert "has no contig nowhere" in notes[0]
    (none,) = slice_file(files.of("bam"), "nowhere", allow_missing=True)
    assert none.records == 0


@pytest.mark.parametrize(("kind", "format"), [("bam", "vcf"), ("cram", "bcf"), ("tbi", "bam"), ("bcf", "sam")])
def test_formats_that_do_not_fit(kind: str, format: str, files: Any, slice_file: Slice) -> None:
    from score.slicing.records import Format

    with pytest.raises(Invalid, match="cannot be written as"):
        slice_file(files.of(kind), format=Format(format))


def test_sam_has_no_index(files: Any, slice_file: Slice) -> None:
    with pytest.raises(Invalid, match="SAM has no index"):
        slice_file(files.of("bam"), output_index=True)
