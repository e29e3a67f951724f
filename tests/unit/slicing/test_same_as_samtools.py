"""Regions mean what they mean to samtools and bcftools on the local file: random ones, over every format."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysam
import pytest

from score.errors import Invalid, NotFound
from score.slicing.sources import LocalBytes, look
from score.slicing.view import Item, Request, Written, view

CONTIGS = {"chr1": 600_000, "chr2": 90_000, "chrEmpty": 5_000, "6": 40_000}
READS = ("bam", "straddling", "csi", "cram")
VARIANTS = ("tbi", "vcf-csi", "vcf-straddling", "bcf")
EACH = 125
"""Regions for each of eight files: a thousand."""


def some_region(dice: random.Random) -> str:
    name, length = dice.choice([*CONTIGS.items()])
    begin = dice.randrange(1, length + 2000)
    width = dice.choice((1, 50, 1000, 1000, 20_000, 300_000))
    return dice.choice([f"{name}:{begin}-", f"{name}:-{begin}", name] + [f"{name}:{begin:,}-{begin + width}"] * 7)


def samtools(path: Path, reference: Path, *regions: str) -> list[str]:
    if len(regions) > 1:  # with -M it takes neither chr1:-5 nor chr1:5- as it does without
        regions = tuple(re.sub("-$", "-1000000", region.replace(":-", ":1-")) for region in regions)
    command = ["samtools", "view", "-T", str(reference), *(["-M"] if len(regions) > 1 else []), str(path), *regions]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def bcftools(path: Path, *regions: str) -> list[str]:
    text = ",".join(region.replace(",", "") for region in regions)
    # it has no word for "from the first base to this one"
    text = text.replace(":-", ":1-")
    command = ["bcftools", "view", "-H", "-r", text, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def written(outputs: list[Written]) -> list[str]:
    (one,) = outputs
    if one.path.name.endswith(".sam"):
        found = [line for line in one.path.read_text().splitlines() if line[0] != "@"]
    else:
        with pysam.BGZFile(str(one.path)) as file:
            found = [line for line in file.read().decode().splitlines() if line[0] != "#"]
    assert len(found) == one.records
    return found


def plain(lines: list[str]) -> list[str]:
    """Reads with their tags in order, which CRAM does not keep, and without those that it adds."""
    found = []
    for line in lines:
        cells = line.split("\t")
        found.append("\t".join(cells[:11] + sorted(c for c in cells[11:] if c[:2] not in ("MD", "NM"))))
    return found


@pytest.mark.needs("samtools")
@pytest.mark.parametrize("kind", READS)
def test_reads_of_random_regions(kind: str, files: Any, slice_file: Callable[..., list[Written]]) -> None:
    dice = random.Random(kind)
    path = files.of(kind)
    some = 0
    for _ in range(EACH):
        regions = [some_region(dice) for _ in range(dice.choice((1, 1, 1, 2, 5)))]
        expected = samtools(path, files.reference, *(region.replace(",", "") for region in regions))
        assert plain(written(slice_file(path, *regions))) == plain(expected), regions
        some += len(expected)
    assert some > 500


@pytest.mark.needs("samtools")
@pytest.mark.parametrize("shift", [10, 14, 18])
def test_a_read_that_begins_far_before_the_region(
    shift: int, files: Any, slice_file: Callable[..., list[Written]], tmp_path: Path
) -> None:
    """The smallest bins around its end are empty: a CSI tells only by those before them where its records begin."""
    contig, made = 2_000_000_000, tmp_path / "long.bam"
    text = f"@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:c\tLN:{contig}\n"
    for at, cigar in ((5, "4M"), (100, "2M100000000N2M"), (contig - 3, "4M")):
        text += f"r\t0\tc\t{at}\t60\t{cigar}\t*\t0\t0\tACGT\tFFFF\n"
    (tmp_path / "long.sam").write_text(text)
    pysam.view("-b", "-o", str(made), str(tmp_path / "long.sam"), catch_stdout=False)
    pysam.index("-c", "-m", str(shift), str(made))
    for region, count in (
        ("c:100000102-100000103", 1),
        ("c:100000104-100000104", 0),
        (f"c:{contig}-{contig}", 1),
        ("c:1-8", 1),
        ("c:9-99", 0),
    ):
        found = written(slice_file(made, region))
        assert found == samtools(made, files.reference, region), region
        assert len(found) == count


@pytest.mark.needs("bcftools")
@pytest.mark.parametrize("kind", VARIANTS)
def test_variants_of_random_regions(kind: str, files: Any, slice_file: Callable[..., list[Written]]) -> None:
    dice = random.Random(kind)
    path = files.of(kind)
    order = [*CONTIGS]
    some = 0
    for _ in range(EACH):
        regions = [some_region(dice) for _ in range(dice.choice((1, 1, 1, 2, 5)))]
        regions.sort(key=lambda region: order.index(region.partition(":")[0]))  # it takes contigs in the order given
        expected = bcftools(path, *regions)
        assert written(slice_file(path, *regions)) == expected, regions
        some += len(expected)
    assert some > 500


@pytest.mark.needs("samtools")
@pytest.mark.parametrize("kind", READS)
def test_thousands_of_regions(
    kind: str, files: Any, slice_file: Callable[..., list[Written]], tmp_path: Path
) -> None:
    dice = random.Random(5)
    bed = tmp_path / "panel.bed"
    rows = [
        (name, at, at + 20)
        for name, at in ((dice.choice(["chr1", "chr2"]), dice.randrange(600_000)) for _ in range(3000))
    ]
    bed.write_text("track name=panel\n#x\n" + "".join(f"{c}\t{b}\t{e}\tname\n" for c, b, e in rows))
    from score.slicing.regions import read_bed

    regions = tuple(read_bed(bed.read_text(), "panel.bed"))
    found = slice_file(files.of(kind), bed=regions, bed_name="panel.bed")
    command = ["samtools", "view", "-M", "-T", str(files.reference), "-L", str(bed), str(files.of(kind))]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert plain(written(found)) == plain(expected)
    assert found[0].path.name == f"{files.of(kind).stem}.panel.bed.sam"


@pytest.mark.needs("samtools")
@pytest.mark.parametrize("kind", READS)
def test_reads_without_a_place(kind: str, files: Any, slice_file: Callable[..., list[Written]]) -> None:
    expected = samtools(files.of(kind), files.reference, "*")
    assert len(expected) == 50
    assert plain(written(slice_file(files.of(kind), "*"))) == plain(expected)


@pytest.mark.needs("samtools")
@pytest.mark.parametrize("kind", [*READS, "sam"])
def test_all_of_a_file(kind: str, files: Any, slice_file: Callable[..., list[Written]]) -> None:
    expected = samtools(files.of(kind), files.reference)
    assert plain(written(slice_file(files.of(kind)))) == plain(expected)


def test_contained(files: Any, slice_file: Callable[..., list[Written]]) -> None:
    begin, end = 10_000, 60_000
    with pysam.AlignmentFile(str(files.of("bam"))) as file:
        reads = list(file.fetch("chr1", begin - 1, end))
    inside = [r.query_name for r in reads if r.reference_start >= begin - 1 and (r.reference_end or r.pos + 1) <= end]
    assert 0 < len(inside) < len(reads)
    found = written(slice_file(files.of("bam"), f"chr1:{begin}-{end}", contained=True))
    assert [line.split("\t")[0] for line in found] == inside


def test_texts_are_searched_from_beginning_to_end(
    files: Any, slice_file: Callable[..., list[Written]], notes: list[str]
) -> None:
    assert written(slice_file(files.of("sam"), "chr2:100-5000")) == written(
        slice_file(files.of("bam"), "chr2:100-5000")
    )
    assert written(slice_file(files.of("vcf"), "chr2:100-5000")) == written(
        slice_file(files.of("tbi"), "chr2:100-5000")
    )
    assert notes == ["no index leads into a text: all of it is read"] * 2


@pytest.mark.parametrize("kind", [*READS, *VARIANTS])
def test_without_an_index_all_is_read_for_the_same_records(
    kind: str, files: Any, slice_file: Callable[..., list[Written]], tmp_path: Path, notes: list[str]
) -> None:
    dice = random.Random(kind)
    path = files.of(kind)
    draws = [[some_region(dice) for _ in range(dice.choice((1, 3)))] for _ in range(5)]
    draws += [["*", "chr2"]] if kind in READS else []
    some = 0
    with LocalBytes(path) as data:
        item = Item(path.name, look(data), lambda: None, notes.append)
        given: dict[str, Any] = {"output_dir": tmp_path / "scanned", "reference": files.reference}
        for regions in draws:
            found = written(view(item, Request(queries=tuple(regions), scan=True, **given)))
            assert found == written(slice_file(path, *regions)), regions
            some += len(found)
        assert notes == ["no index: all of it is read"] * len(draws)
        with pytest.raises(NotFound, match=r"has no index.*To read all of the file for them: --scan"):
            view(item, Request(queries=("chr2",), **given))
        with pytest.raises(Invalid, match=r"has no contig 2 \(did you mean chr2"):
            view(item, Request(queries=("2",), scan=True, **given))
    assert some > 500


def lonely_cram(files: Any, folder: Path, options: str) -> Path:
    """A CRAM with its index, and no trace of the reference that it was made with."""
    reference, made = folder / "reference.fa", folder / "reads.cram"
    reference.write_bytes(files.reference.read_bytes())
    words = ("-O", f"cram,seqs_per_slice=300,reference={reference}{options}", "-o", str(made), str(files.of("bam")))
    pysam.view(*words, catch_stdout=False)
    pysam.index(str(made))
    for path in folder.glob("reference.fa*"):
        path.unlink()
    return made


@pytest.mark.parametrize("options", [",embed_ref=1", ",no_ref=1"])
def test_cram_that_brings_its_reference(
    options: str,
    files: Any,
    slice_file: Callable[..., list[Written]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REF_PATH", str(tmp_path / "nothing/%s"))
    made = lonely_cram(files, tmp_path, options)
    found = written(slice_file(made, "chr2:100-9000", reference=None))
    assert plain(found) == plain(written(slice_file(files.of("bam"), "chr2:100-9000")))
    assert found


def test_cram_whose_reference_is_found_by_its_md5(
    files: Any, slice_file: Callable[..., list[Written]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = lonely_cram(files, tmp_path, "")
    monkeypatch.setenv("REF_PATH", str(tmp_path / "cache" / "%s"))
    (tmp_path / "cache").mkdir()
    with pysam.FastaFile(str(files.reference)) as fasta:
        for name in fasta.references:
            text = fasta.fetch(name)
            (tmp_path / "cache" / hashlib.md5(text.encode()).hexdigest()).write_text(text)
    found = written(slice_file(made, "chr2:100-9000", reference=None))
    assert plain(found) == plain(written(slice_file(files.of("bam"), "chr2:100-9000")))
    assert found


@pytest.mark.parametrize("kind", [*READS, *VARIANTS])
def test_contained_in_any_of_several_regions(kind: str, files: Any, slice_file: Callable[..., list[Written]]) -> None:
    """Regions that touch are one: what lies across their border lies within it."""
    regions = {"chr1": [(9_999, 60_000), (60_000, 90_000), (200_000, 240_000)], "chr2": [(0, 30_000)]}
    queries = [f"{name}:{begin + 1}-{end}" for name, ranges in regions.items() for begin, end in ranges]
    within = {"chr1": [(9_999, 90_000), (200_000, 240_000)], "chr2": [(0, 30_000)]}

    def lies_within(name: str, begin: int, end: int) -> bool:
        return any(first <= begin and end <= last for first, last in within[name])

    if kind in READS:
        with pysam.AlignmentFile(str(files.of(kind)), reference_filename=str(files.reference)) as file:
            expected = [
                [read.query_name, str(read.flag)]
                for name in regions
                for read in file.fetch(name)
                if lies_within(name, read.reference_start, read.reference_end or read.reference_start + 1)
            ]
    else:
        with pysam.VariantFile(str(files.of(kind))) as calls:
            expected = [
                [one.chrom, str(one.pos)]
                for name in regions
                for one in calls.fetch(name)
                if lies_within(name, one.start, one.stop)
            ]
    found = [line.split("\t")[:2] for line in written(slice_file(files.of(kind), *queries, contained=True))]
    assert found == expected
    assert 0 < len(found) < len(written(slice_file(files.of(kind), *queries)))
