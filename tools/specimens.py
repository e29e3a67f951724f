"""Makes real genomics files of random reads: FASTQ, a sorted BAM with its index, a bgzipped VCF with its index.

What lies in one region is counted while the files are written, so that what is read of the downloaded files can be
checked.
"""

from __future__ import annotations

import array
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pysam

READ = 150
"""Bases of a read."""
CONTIGS = {"chr1": 8_000_000, "chr2": 6_000_000, "chrX": 4_000_000}
REGION = ("chr2", 1_000_000, 1_250_000)
"""Contig, start and end, half-open, from 0."""
BLOCK = 4096
"""Reads whose bases are made once and used over and over: random bases are the costly part."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a BAM or VCF holds: in all, and in :data:`REGION`."""

    total: int
    in_region: int


def _bases(dice: random.Random, reads: int) -> list[str]:
    text = "".join(dice.choices("ACGT", k=READ * reads))
    return [text[at : at + READ] for at in range(0, len(text), READ)]


def _qualities(dice: random.Random, reads: int) -> list[str]:
    text = "".join(dice.choices("#,:F", weights=(1, 3, 10, 86), k=READ * reads))
    return [text[at : at + READ] for at in range(0, len(text), READ)]


def _records(dice: random.Random, mate: int) -> Iterator[bytes]:
    """Blocks of FASTQ records; every read has a name of its own."""
    bodies = [
        f" {mate}:N:0:ACGTAC\n{bases}\n+\n{quality}\n".encode()
        for bases, quality in zip(_bases(dice, BLOCK), _qualities(dice, BLOCK), strict=True)
    ]
    tile = 1101
    while True:
        names = [f"@DEMO:7:HXXXXXXXX:1:{tile}:{number}:1000".encode() for number in range(BLOCK)]
        yield b"".join([piece for pair in zip(names, bodies, strict=True) for piece in pair])
        tile += 1


def write_fastq(path: Path, size: int, seed: int, mate: int = 1) -> None:
    """A FASTQ file of about ``size`` bytes of text; compressed where the name ends with ``.gz``."""
    written = 0
    with pysam.BGZFile(str(path), "wb", None) if path.suffix == ".gz" else open(path, "wb") as file:
        for block in _records(random.Random(seed), mate):
            file.write(block)
            written += len(block)
            if written >= size:
                return


def _positions(dice: random.Random, count: int) -> Iterator[tuple[str, int]]:
    """Places on all contigs, sorted, spread evenly."""
    total = sum(CONTIGS.values())
    for contig, length in CONTIGS.items():
        share = count * length // total
        for position in sorted(dice.sample(range(length - READ), share)):
            yield contig, position


def write_bam(path: Path, reads: int, seed: int) -> Counts:
    """A BAM of about ``reads`` aligned reads, sorted by coordinate, and its index beside it (``.bai``)."""
    dice = random.Random(seed)
    header = {
        "HD": {"VN": "1.6", "SO": "coordinate"},
        "SQ": [{"SN": contig, "LN": length} for contig, length in CONTIGS.items()],
        "RG": [{"ID": "1", "SM": path.stem, "PL": "ILLUMINA"}],
    }
    bases = _bases(dice, BLOCK)
    quality = array.array("B", [37] * READ)
    contig_wanted, start, end = REGION
    total = in_region = 0
    with pysam.AlignmentFile(str(path), "wb", header=header) as file:
        read = pysam.AlignedSegment(file.header)
        read.flag, read.mapping_quality, read.cigartuples = 0, 60, [(pysam.CMATCH, READ)]
        for contig, position in _positions(dice, reads):
            read.query_name = f"read{total}"
            read.query_sequence = bases[total % BLOCK]
            read.query_qualities = quality
            read.reference_name, read.reference_start = contig, position
            file.write(read)
            total += 1
            in_region += contig == contig_wanted and position < end and position + READ > start
    pysam.index(str(path))
    return Counts(total, in_region)


def write_vcf(path: Path, variants: int, seed: int) -> Counts:
    """A bgzipped VCF (``path`` ends with ``.vcf.gz``) and its index beside it (``.tbi``)."""
    dice = random.Random(seed)
    contig_wanted, start, end = REGION
    lines = ["##fileformat=VCFv4.2", *(f"##contig=<ID={name},length={length}>" for name, length in CONTIGS.items())]
    lines += [
        '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    ]
    total = in_region = 0
    for contig, position in _positions(dice, variants):
        reference, other = dice.sample("ACGT", 2)
        lines.append(f"{contig}\t{position + 1}\t.\t{reference}\t{other}\t60\tPASS\tDP={dice.randint(10, 90)}")
        total += 1
        in_region += contig == contig_wanted and start <= position < end
    with pysam.BGZFile(str(path), "wb", None) as file:
        file.write(("\n".join(lines) + "\n").encode())
    pysam.tabix_index(str(path), preset="vcf", force=True)
    return Counts(total, in_region)
